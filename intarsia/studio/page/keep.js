// What a reload must not lose: the open pictures and their edits. The browser holds them, for this tab alone.

const KEY = "intarsia-session";

export function keep(session) {
  const pictures = session.pictures.map(({ model, labels, history: { steps, undone }, bitmap, view, file, ...plain }) =>
    ({ ...plain, labels: [...labels], model: model.name, model_sha256: model.model_sha256, steps, undone }));
  const held = { model: session.model.name, current: session.pictures.indexOf(session.current), pictures };
  try {
    sessionStorage.setItem(KEY, JSON.stringify(held));
  } catch {
    sessionStorage.removeItem(KEY); // more than the browser has room for
  }
}

export const kept = () => JSON.parse(sessionStorage.getItem(KEY) ?? "null") ?? { model: null, current: -1, pictures: [] };
