// The page: what each control does, and what is shown of the session. The other modules send it, draw it or change it.

import * as api from "./api.js";
import { listen, openPicture } from "./arrivals.js";
import { Editing } from "./editing.js";
import { saveAnimation, saveAtFullSize, saveEdits, saveOriginal, savePicture } from "./exports.js";
import { showGallery } from "./gallery.js";
import { keep, kept } from "./keep.js";
import { onKeys } from "./keys.js";
import { listObjects, listPictures } from "./lists.js";
import { Panel } from "./panel.js";
import { Preview } from "./preview.js";
import { Session } from "./session.js";
import { Stage } from "./stage.js";
import { busy, say } from "./status.js";

const $ = (id) => document.getElementById(id);
const STRIPS_AFTER = 250; // ms
const VIEWS = ["picture", "masks"];
const FULL = ["picture", "masks", "coco", "cutouts"]; // what is exported at the size of the picture's file
const HAS_CODES = "Drag it, pull a corner, or move a slider.";
const NO_CODES = "Drag it or pull a corner. This model has no codes: its objects can't be recoloured or given other shapes.";
let strips = 0;

const session = new Session({ shown, said: say, busy, went });
const editing = new Editing(session, buttons);
const preview = new Preview(() => stage.previews && stage.draw());
const stage = new Stage($("stage"), $("picture"), $("overlay"), preview, {
  hover,
  pick: select,
  drag: (object, dx, dy, time) => editing.live({ edit: "move", object, dx, dy }, time),
  stretch: (object, factor, time) => editing.live({ edit: "scale", object, factor }, time),
  release: () => editing.release(),
  cancel: () => editing.cancel(),
});
const panel = new Panel($("sliders"), {
  slide: (part, dimension, value, time) =>
    editing.live({ edit: "set_code", object: part === "background" ? null : session.current.selected, part, dimension, value }, time),
  release: () => editing.release(),
  strip: (part, dimension) => session.strip(part, dimension),
  unfolded: fillStrips,
});

// Showing.

function select(number) {
  const { current } = session;
  if (editing.swapping && number !== null && number !== current.selected) {
    editing.add({ edit: "swap_texture", object: current.selected, other: number });
    number = current.selected;
  }
  editing.swap(false);
  current.selected = number;
  if (number !== null) preview.want(current, number, false);
  shown(current);
}

function hover(number) {
  stage.hovered = number;
  if (stage.scene) stage.drawOverlay();
  if (number !== null && session.idle) preview.want(session.current, number, true);
}

function shown(picture) {
  const { view, model } = picture;
  if (!view || picture !== session.current) return;
  picture.first ??= view.objects.length + 1; // the number that the first pasted object gets
  // An object that was just pasted is not in an answer to what was asked before.
  if (session.newest && !view.objects.some(({ number, empty }) => number === picture.selected && !empty)) picture.selected = null;
  stage.selected = picture.selected;
  stage.show({ width: model.width, height: model.height, ...view }, picture.bitmap, session.newest);
  const found = editing.chosen;
  const codes = found
    ? { shape: [found.shape, found.shape_kl], texture: [found.texture, found.texture_kl] }
    : { background: [view.background, view.background_kl] };
  panel.show(`${session.pictures.indexOf(picture)} ${picture.selected}`, model.has_codes ? codes : {}, model.words);
  $("subject").textContent = found ? `Object ${picture.labels.get(found.number)}` : "Background";
  if (found && document.activeElement !== $("colour")) $("colour").value = found.colour;
  $("hint").textContent = found ? (model.has_codes ? HAS_CODES : NO_CODES)
    : `${view.objects.some(({ empty }) => !empty) ? "Select an object to change it" : "There are no objects in sight"}${model.has_codes ? "; these sliders change what is behind all." : "."}`;
  lists();
  buttons();
  fillStrips();
  if (found && session.idle) preview.want(picture, found.number, true);
}

function lists() {
  if (session.current?.view) listObjects($("objects"), session.current, stage.mode === "masks", { pick: select, hover });
  listPictures($("pictures"), session.pictures, session.current, (other) => session.go(other));
}

// Another picture is the current one, though not yet in sight; or none, and one is to be chosen.
function went() {
  const { current, model } = session;
  stage.gesture = stage.moving = null;
  editing.swap(false);
  $("model").value = model.name;
  $("stage").style.setProperty("--shape", model.width / model.height);
  document.body.classList.toggle("home", !current);
  $("stage").hidden = !current;
  $("start").hidden = Boolean(current);
  $("objects").hidden = !current;
  showNotices(current);
  $("about").textContent = `Trained on ${model.dataset}: ${model.width}×${model.height} pixels, up to ${model.room} objects. Weights ${model.model_sha256.slice(0, 12)}, Intarsia ${model.version}.`;
  for (const id of ["swap", "swatch", "raw-choice"]) $(id).hidden = !model.has_codes;
  if (!current) {
    panel.show("", {}, model.words);
    $("subject").textContent = "Nothing is open";
    $("hint").textContent = model.no_random_scene || "Open a scene or a picture; its objects can be changed here.";
    for (const id of ["random", "random-2"]) $(id).hidden = Boolean(model.no_random_scene);
    showGallery($("gallery"), model, (index) => openScene(index));
    lists();
  }
  buttons();
}

// What there is to say about a picture. One that the model does not know can be opened with another model, if its file is at hand.
function showNotices(picture) {
  $("notices").replaceChildren(...(picture?.notices ?? []).map((text) => Object.assign(document.createElement("p"), { textContent: text })));
  if (!picture?.instead || !picture.file) return;
  const button = Object.assign(document.createElement("button"), { id: "instead", textContent: `Open it with ${picture.instead}` });
  button.onclick = () => openWith(picture.instead, picture.file);
  $("notices").append(button);
}

function buttons() {
  const { current } = session, found = editing.chosen, history = current?.history;
  const present = current?.view?.objects.filter(({ empty }) => !empty) ?? [];
  const disabled = {
    undo: !history?.steps.length, redo: !history?.undone.length, reset: !history?.steps.length,
    forward: !found || found === present[0], backward: !found || found === present.at(-1), swap: !found || present.length < 2,
    paste: !current?.view || !editing.copied,
  };
  for (const id of ["remove", "colour", "smaller", "larger", "copy"]) disabled[id] = !found;
  for (const id of ["compare", "view", "raw", ...[...$("export").querySelectorAll("button")].map((each) => each.id)]) disabled[id] = !current?.view;
  for (const [id, off] of Object.entries(disabled)) $(id).disabled = off;
  $("export").firstElementChild.setAttribute("aria-disabled", !current?.view);
  $("scenes").disabled = !current;
}

// Strips wait until nothing else is to be done, and nothing is being dragged or slid.
let stripTimer = 0;
function fillStrips() {
  strips++;
  clearTimeout(stripTimer);
  stripTimer = setTimeout(() => {
    if (!session.current?.history.live.length) panel.fill(strips);
  }, STRIPS_AFTER);
}

function compare(on) {
  if (!session.current?.view || stage.comparing === on) return;
  stage.comparing = on;
  $("compare").setAttribute("aria-pressed", on);
  stage.draw();
}

function setView(mode) {
  $("view").value = stage.mode = mode;
  stage.draw();
  lists();
}

function setRaw(raw) {
  session.raw = stage.raw = raw;
  session.refresh();
}

// Models and scenes.

const openScene = (index = null) => {
  const { model } = session;
  return session.open(() => api.testScene(model.name, index), index === null ? `random scene ${session.pictures.length + 1}` : `scene ${index}`, model);
};

async function exportAtFullSize(kind) {
  const { file, model } = session.current;
  say("Drawing it at its own size…");
  try {
    await saveAtFullSize(session.current, kind);
    say(file ? "Saved." : `Saved at the model's size, ${model.width}×${model.height} pixels: the page holds no file of this picture.`);
  } catch (error) {
    say(error.message, true);
  }
}

// The pictures that are open stay with the model that took them apart.
async function switchModel(name) {
  busy(true);
  try {
    session.model = await api.about(name);
    session.go(null);
    say(`The model is ${name} now.`);
  } catch (error) {
    $("model").value = session.model.name;
    say(error.message, true);
  } finally {
    busy(!session.idle);
  }
}

async function openWith(name, file) {
  await switchModel(name);
  if (session.model.name === name) openPicture(session, file, session.model);
}

// Controls.

for (const id of ["open", "open-2"]) $(id).onclick = () => $("file").click();
for (const id of ["random", "random-2"]) $(id).onclick = () => openScene();
$("model").onchange = () => switchModel($("model").value);
$("scenes").onclick = () => session.go(null);
for (const way of ["undo", "redo", "reset"]) $(way).onclick = () => editing.step(way);
$("view").onchange = () => setView($("view").value);
$("raw").onchange = () => setRaw($("raw").checked);
$("compare").onpointerdown = () => compare(true);
$("compare").onkeydown = ({ key }) => compare(key === " " || key === "Enter");
for (const event of ["pointerup", "pointercancel", "blur"]) addEventListener(event, () => compare(false));
$("colour").oninput = (event) => editing.live({ edit: "recolour", object: session.current.selected, colour: $("colour").value }, event.timeStamp);
$("colour").onchange = () => editing.release();
$("forward").onclick = () => editing.layer(-1);
$("backward").onclick = () => editing.layer(1);
$("smaller").onclick = () => editing.grow(1 / 1.1);
$("larger").onclick = () => editing.grow(1.1);
$("swap").onclick = () => editing.swap(!editing.swapping);
$("copy").onclick = () => editing.copy();
$("paste").onclick = () => editing.paste();
$("remove").onclick = () => editing.remove();
$("export-png").onclick = () => savePicture(session.current, $("picture"));
$("export-original").onclick = () => saveOriginal(session.current);
$("export-json").onclick = () => saveEdits(session.current);
$("export-gif").onclick = () => saveAnimation(session.current).catch((error) => say(error.message, true));
for (const kind of FULL) $(`export-${kind}`).onclick = () => exportAtFullSize(kind);
$("export").onclick = (event) => {
  if (event.target.tagName === "BUTTON") $("export").open = false;
  else if (!session.current?.view) event.preventDefault();
};
addEventListener("click", (event) => { if (!$("export").contains(event.target)) $("export").open = false; });
addEventListener("keyup", () => compare(false));
addEventListener("copy", (event) => {
  if (!editing.chosen || getSelection().toString()) return;
  event.clipboardData.setData("text/plain", "An object of Intarsia Studio"); // in place of a picture that may be there
  event.preventDefault();
  editing.copy();
});
addEventListener("storage", buttons);
addEventListener("pagehide", () => { if (session.model) keep(session); });

onKeys({
  undo: () => editing.step("undo"),
  redo: () => editing.step("redo"),
  open: () => $("file").click(),
  compare: () => compare(true),
  view: () => session.current && setView(VIEWS[(VIEWS.indexOf(stage.mode) + 1) % VIEWS.length]),
  escape() {
    if ($("export").open) {
      $("export").open = false;
      return $("export").querySelector("summary").focus();
    }
    if (stage.stop() || !session.current) return;
    if (editing.swapping) return editing.swap(false);
    select(null);
  },
  remove: () => editing.remove(),
  grow: (factor) => editing.grow(factor),
  layer: (way) => editing.layer(way),
  swap: () => session.model.has_codes && editing.swap(!editing.swapping),
  nudge: (dx, dy) => editing.nudge(dx, dy),
}, () => session.settled && editing.chosen);
listen(session, editing);

async function begin() {
  const held = kept();
  try {
    const names = await api.models(), wanted = new Set([held.model, ...held.pictures.map(({ model }) => model)]);
    const models = new Map();
    for (const name of names) if (wanted.has(name)) models.set(name, await api.about(name));
    session.model = models.get(held.model) ?? await api.about(names[0]);
    $("model").replaceChildren(...names.map((name) => new Option(name)));
    went();
    await session.restore(held, models);
  } catch (error) {
    say(error.message, true);
    return setTimeout(begin, 1500);
  }
  document.body.dataset.ready = "yes";
}

begin();
