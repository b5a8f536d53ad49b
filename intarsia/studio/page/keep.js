// What a reload must not lose: the open pictures and their edits. The browser holds them, for this tab alone.

const KEY = "intarsia-session";

export function keep(session, model) {
  const pictures = session.pictures.map(({ id, picture, name, selected, first, history: { steps, undone } }) =>
    ({ id, picture, name, selected, first, steps, undone }));
  try {
    sessionStorage.setItem(KEY, JSON.stringify({ model, current: session.pictures.indexOf(session.current), pictures }));
  } catch {
    sessionStorage.removeItem(KEY); // more than the browser has room for
  }
}

// What was kept of this model's pictures, or nothing.
export function kept(model) {
  const held = JSON.parse(sessionStorage.getItem(KEY) ?? "null");
  return held?.model === model ? held : { pictures: [] };
}
