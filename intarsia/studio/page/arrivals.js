// Pictures and edits that come in: chosen, pasted or dropped.

import * as api from "./api.js";
import { cropped } from "./crop.js";
import { readEdits } from "./exports.js";
import { say } from "./status.js";

const $ = (id) => document.getElementById(id);

// Opens a picture file with a model: the part that is chosen, if it has other proportions.
export function openPicture(session, file, model) {
  return session.open(async () => {
    const part = await cropped(file, model);
    return part && { ...(await api.upload(part.content, model.name)), file, region: part.region };
  }, file.name || "pasted picture", model);
}

export function listen(session, editing) {
  async function openFiles(files) {
    for (const file of files) {
      if (file.type === "application/json" || file.name.endsWith(".json")) {
        try {
          editing.add(...(await readEdits(file, session.current)));
        } catch (error) {
          say(error.message, true);
        }
      } else await openPicture(session, file, session.model);
    }
  }

  $("file").onchange = () => { openFiles([...$("file").files]); $("file").value = ""; };
  addEventListener("paste", (event) => {
    const files = [...event.clipboardData.files];
    if (files.length) openFiles(files);
    else editing.pasteSoon();
  });
  for (const kind of ["dragenter", "dragover"]) addEventListener(kind, (event) => { event.preventDefault(); $("work").classList.add("dropping"); });
  addEventListener("dragleave", (event) => { if (!event.relatedTarget) $("work").classList.remove("dropping"); });
  addEventListener("drop", (event) => {
    event.preventDefault();
    $("work").classList.remove("dropping");
    const files = [...event.dataTransfer.files];
    if (files.length) openFiles(files);
    else say("What was dropped is no file; save the picture first, and drop that.", true);
  });
}
