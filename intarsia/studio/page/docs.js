// openapi.json for people: a part for each route. References to schemas are filled in where they stand.

const api = await (await fetch("/openapi.json")).json();

function filledIn(value) {
  if (Array.isArray(value)) return value.map(filledIn);
  if (typeof value !== "object" || value === null) return value;
  if (value.$ref) return filledIn(value.$ref.split("/").slice(1).reduce((at, name) => at[name], api));
  return Object.fromEntries(Object.entries(value).map(([name, inner]) => [name, filledIn(inner)]));
}

function element(kind, ...content) {
  const made = document.createElement(kind);
  made.append(...content);
  return made;
}

const folded = (title, value) => element("details", element("summary", title), element("pre", JSON.stringify(filledIn(value), null, 2)));

for (const [path, methods] of Object.entries(api.paths)) {
  for (const [method, route] of Object.entries(methods)) {
    const part = element("article", element("h2", element("b", method.toUpperCase()), ` ${path}`), element("p", route.description ?? route.summary));
    if (route.parameters) part.append(folded("Parameters", route.parameters));
    if (route.requestBody) part.append(folded("Body", route.requestBody.content));
    part.append(folded("Answer", route.responses["200"].content ?? {}));
    document.getElementById("routes").append(part);
  }
}
