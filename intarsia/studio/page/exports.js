// Files for the person at the page, and edits that come back from one.

import * as api from "./api.js";

const VERSION = 1;

function save(content, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(content);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

const stem = (picture) => picture.name.replace(/\.[^.]*$/, "").replace(/[^\w-]+/g, "-") || "picture";

// As a canvas shows it: edited, its masks, or the raw fusion.
export const savePicture = (picture, canvas) => canvas.toBlob((content) => save(content, `${stem(picture)}-edited.png`));

export const saveOriginal = (picture) => save(api.png(picture.picture), `${stem(picture)}.png`);

const EXPORTED = { picture: "edited-full.png", masks: "masks.png", coco: "masks.json", cutouts: "cutouts.zip" };

// At the size of the file that was opened, of which `picture.region` (left, top, right, bottom) was taken. A page that was
// loaded again has no files any more; then it is the size of the model.
export async function saveAtFullSize(picture, kind) {
  const { file = api.png(picture.picture), region = null, name } = picture;
  const values = { edits: picture.history.edits(), name, region: picture.file ? region : null };
  save(await api.exported(picture.id, kind, values, file), `${stem(picture)}-${EXPORTED[kind]}`);
}

export async function saveAnimation(picture) {
  save(await api.animation(picture.id, picture.history.edits()), `${stem(picture)}-edits.gif`);
}

export function saveEdits(picture) {
  const history = { version: VERSION, picture_sha256: picture.picture_sha256, model_sha256: picture.model.model_sha256, edits: picture.history.edits() };
  save(new Blob([JSON.stringify(history, null, 2) + "\n"], { type: "application/json" }), `${stem(picture)}-edits.json`);
}

// The edits in a file, or an error with a sentence.
export async function readEdits(file, picture) {
  let history;
  try {
    history = JSON.parse(await file.text());
  } catch {
    throw new Error(`${file.name} is no JSON file.`);
  }
  if (history?.version !== VERSION || !Array.isArray(history.edits)) throw new Error(`${file.name} holds no edits.`);
  if (picture && history.model_sha256 !== picture.model.model_sha256) throw new Error(`The edits in ${file.name} are for another model.`);
  if (history.picture_sha256 !== picture?.picture_sha256) throw new Error(`The edits in ${file.name} are for another picture; open that first.`);
  return history.edits;
}
