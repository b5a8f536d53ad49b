// Talking to the server: JSON both ways; whatever goes wrong becomes a Failure with a sentence for the person at the page.

export const LOST = 0, GONE = 404, BUSY = 503;

export class Failure extends Error {
  constructor(text, status) {
    super(text);
    this.status = status;
  }
}

async function answer(path, options) {
  let response;
  try {
    response = await fetch(path, options);
  } catch {
    throw new Failure("The server does not answer. Your edits are kept here; trying again…", LOST);
  }
  if (response.ok) return response;
  const told = await response.json().catch(() => ({}));
  throw new Failure(told.error ?? `The server answers ${response.status}.`, response.status);
}

const query = (values) => new URLSearchParams(values).toString();

export const models = async () => (await answer("/api/models")).json();

export const about = async (model) => (await answer(`/api/model?${query({ model })}`)).json();

export const gallery = async (model) => (await answer(`/api/gallery?${query({ model })}`)).json();

export const upload = async (content, model) => (await answer(`/api/scenes?${query({ model })}`, { method: "POST", body: content })).json();

// A random one, or the one of an index.
export const testScene = async (model, index = null) =>
  (await answer(`/api/scenes/random?${query(index === null ? { model } : { model, index })}`, { method: "POST" })).json();

const ask = (id, what, values) =>
  answer(`/api/scenes/${encodeURIComponent(id)}/${what}`, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(values) });

export const view = async (id, edits, raw) => (await ask(id, "view", { edits, raw })).json();

export const strip = async (id, edits, object, part, dimension) =>
  (await ask(id, "strip", { edits, object, part, dimension })).json();

export const pieces = async (id, edits, object) => (await ask(id, "pieces", { edits, object })).json();

export const copyOf = async (id, edits, object) => (await ask(id, "copy", { edits, object })).json();

export const animation = async (id, edits) => (await ask(id, "gif", { edits })).blob();

// What is exported at the size of the picture's file, which goes along: its first line is what is asked for.
export async function exported(id, kind, values, file) {
  const body = new Blob([JSON.stringify(values), "\n", file]);
  return (await answer(`/api/scenes/${id}/export/${kind}`, { method: "POST", body })).blob();
}

export const bytes = (base64) => Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));

export const png = (base64) => new Blob([bytes(base64)], { type: "image/png" });

export const source = (base64) => `data:image/png;base64,${base64}`;
