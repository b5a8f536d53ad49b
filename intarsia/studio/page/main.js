// The page: what each control does. State is in `session`; the rest of the modules draw it or send it.

import * as api from "./api.js";
import { readEdits, saveAnimation, saveAtFullSize, saveEdits, saveOriginal, savePicture } from "./exports.js";
import { keep, kept } from "./keep.js";
import { listObjects, listPictures } from "./lists.js";
import { Panel } from "./panel.js";
import { Session } from "./session.js";
import { Stage } from "./stage.js";

const $ = (id) => document.getElementById(id);
const CLIPBOARD = "intarsia-object", BUSY_AFTER = 150, STRIPS_AFTER = 250, VIEWS = ["picture", "masks", "raw"]; // ms
const FULL = ["picture", "masks", "coco", "cutouts"]; // what is exported at the size of the picture's file
let model = null, swapping = false, strips = 0, busyTimer = 0, told = "";

const session = new Session({ shown, said: say, busy, went });
const stage = new Stage($("stage"), $("picture"), $("overlay"), {
  hover,
  pick: select,
  drag: (object, dx, dy, time) => live({ edit: "move", object, dx, dy }, time),
  stretch: (object, factor, time) => live({ edit: "scale", object, factor }, time),
  release,
  cancel: () => { session.current.history.live = []; session.refresh(); },
});
const panel = new Panel($("sliders"), {
  slide: (part, dimension, value, time) =>
    live({ edit: "set_code", object: part === "background" ? null : session.current.selected, part, dimension, value }, time),
  release,
  strip: (part, dimension) => session.strip(part, dimension),
  unfolded: fillStrips,
});

// Edits.

function live(edit, time) {
  if (!session.settled) return;
  session.current.history.live = [edit];
  session.refresh(time);
}

function release() {
  const { history } = session.current;
  if (!history.live.length) return;
  history.settle();
  buttons();
  session.refresh();
}

function edit(...edits) {
  session.current.history.add(...edits);
  session.refresh();
}

function nudge(dx, dy) {
  const { history, selected: object } = session.current;
  history.press({ edit: "move", object, dx, dy }, (a, b) => ({ ...a, dx: a.dx + b.dx, dy: a.dy + b.dy }));
  session.refresh();
}

function grow(factor) {
  const { history, selected: object } = session.current;
  history.press({ edit: "scale", object, factor }, (a, b) => ({ ...a, factor: Math.min(8, Math.max(0.125, a.factor * b.factor)) }));
  session.refresh();
}

const chosen = () => session.current?.view?.objects.find(({ number }) => number === session.current.selected);

// One layer to the front or back, past the objects that are to be seen.
function layer(way) {
  const { objects } = session.current.view, from = objects.indexOf(chosen());
  let place = from + way;
  while (objects[place]?.empty) place += way;
  if (objects[place]) edit({ edit: "order", object: session.current.selected, place });
}

let copying = Promise.resolve(); // until the server has given the copy

function copy() {
  const found = chosen(), { current } = session;
  if (!found) return;
  copying = api.copyOf(current.id, current.history.edits(), found.number).then(
    (paste) => {
      localStorage.setItem(CLIPBOARD, JSON.stringify({ model: model.model_sha256, paste }));
      say(`Copied object ${found.number}.`);
      buttons();
    },
    (failure) => say(failure.message, true),
  );
}

const copied = () => {
  const held = JSON.parse(localStorage.getItem(CLIPBOARD) ?? "null");
  return held?.model === model?.model_sha256 ? held?.paste : null;
};

// A pasted object lies a little beside the one it was copied from.
function paste() {
  const found = copied(), { current } = session;
  if (!found || !session.settled) return;
  const edits = current.history.edits(), gone = edits.filter((each) => each.edit === "remove").map((each) => each.object);
  const taken = edits.filter((each) => each.edit === "paste").length;
  const object = current.first + taken;
  const shift = Math.round(model.width / 16), place = ({ shape, transform }) => JSON.stringify([shape, transform]);
  const twin = current.view.objects.some((each) => place(each) === place(found) && !gone.includes(each.number));
  current.selected = object;
  edit(found, ...(twin ? [{ edit: "move", object, dx: shift, dy: shift }] : []));
  say("Pasted. Drag it to its place.");
}

function select(number) {
  const { current } = session;
  if (swapping && number !== null && number !== current.selected) {
    edit({ edit: "swap_texture", object: current.selected, other: number });
    number = current.selected;
  }
  setSwapping(false);
  current.selected = number;
  shown(current);
}

function setSwapping(on) {
  if (swapping && !on) say("");
  swapping = on;
  $("swap").setAttribute("aria-pressed", on);
  if (on) say("Choose the object to exchange textures with; Esc leaves it.");
}

function step(way) {
  if (!session.settled) return;
  session.current.history[way]();
  session.refresh();
}

// Showing.

function shown(picture) {
  const { view } = picture;
  if (!view || picture !== session.current) return;
  picture.first ??= view.objects.length + 1; // the number that the first pasted object gets
  // An object that was just pasted is not in an answer to what was asked before.
  if (session.newest && !view.objects.some(({ number, empty }) => number === picture.selected && !empty)) picture.selected = null;
  stage.selected = picture.selected;
  stage.show({ width: model.width, height: model.height, ...view }, picture.bitmap);
  $("empty").hidden = true;
  const found = chosen();
  const codes = found
    ? { shape: [found.shape, found.shape_kl], texture: [found.texture, found.texture_kl] }
    : { background: [view.background, view.background_kl] };
  panel.show(`${session.pictures.indexOf(picture)} ${picture.selected}`, codes);
  $("subject").textContent = found ? `Object ${found.number}` : "Background";
  if (found && document.activeElement !== $("colour")) $("colour").value = found.colour;
  const present = view.objects.filter(({ empty }) => !empty);
  $("hint").textContent = found ? "Drag it, pull a corner, or move a slider."
    : `${present.length ? "Select an object to change it" : "There are no objects in sight"}; these sliders change what is behind all.`;
  listObjects($("objects"), present, picture.selected, { pick: select, hover });
  listPictures($("pictures"), session.pictures, picture, (other) => session.go(other));
  buttons();
  fillStrips();
}

// Another picture is the current one, though not yet in sight.
function went() {
  stage.gesture = null;
  setSwapping(false);
  buttons();
}

function hover(number) {
  stage.hovered = number;
  stage.drawOverlay();
}

function buttons() {
  const { current } = session, found = chosen(), history = current?.history;
  const present = current?.view?.objects.filter(({ empty }) => !empty) ?? [];
  $("undo").disabled = !history?.steps.length;
  $("redo").disabled = !history?.undone.length;
  $("reset").disabled = !history?.steps.length;
  for (const id of ["compare", "view", "export-png", "export-gif", "export-json", "export-original", ...FULL.map((kind) => `export-${kind}`)]) $(id).disabled = !current?.view;
  $("actions").hidden = !found;
  $("forward").disabled = found === present[0];
  $("backward").disabled = found === present.at(-1);
  $("swap").disabled = present.length < 2;
  $("paste").hidden = !current?.view || !copied();
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

function say(text, bad = false) {
  told = text;
  $("status").textContent = text;
  $("status").classList.toggle("bad", bad);
}

function busy(on) {
  clearTimeout(busyTimer);
  $("stage").setAttribute("aria-busy", on);
  if (!on) {
    document.body.classList.remove("busy");
    if ($("status").textContent === "Working…") $("status").textContent = told;
  } else {
    busyTimer = setTimeout(() => {
      document.body.classList.add("busy");
      if (!$("status").classList.contains("bad")) $("status").textContent = "Working…";
    }, BUSY_AFTER);
  }
}

function compare(on) {
  if (!session.current?.view || stage.comparing === on) return;
  stage.comparing = on;
  $("compare").setAttribute("aria-pressed", on);
  stage.draw();
}

function setView(mode) {
  $("view").value = stage.mode = mode;
  const raw = mode === "raw";
  if (raw === session.raw) return stage.draw();
  session.raw = raw;
  session.refresh();
}

// Pictures that come in.

async function openFiles(files) {
  for (const file of files) {
    if (file.type === "application/json" || file.name.endsWith(".json")) {
      try {
        edit(...(await readEdits(file, session.current, model.model_sha256)));
      } catch (error) {
        say(error.message, true);
      }
    } else await session.open(() => api.upload(file), file.name || "pasted picture", file);
  }
}

const openRandom = () => session.open(api.randomScene, `random scene ${session.pictures.length + 1}`);

async function exportAtFullSize(kind) {
  say("Drawing it at its own size…");
  try {
    await saveAtFullSize(session.current, kind);
    say(session.current.file ? "Saved." : `Saved at the model's size, ${model.width}×${model.height} pixels: the page holds no file of this picture.`);
  } catch (error) {
    say(error.message, true);
  }
}

// Controls.

for (const id of ["open", "open-2"]) $(id).onclick = () => $("file").click();
for (const id of ["random", "random-2"]) $(id).onclick = openRandom;
$("file").onchange = () => { openFiles([...$("file").files]); $("file").value = ""; };
for (const way of ["undo", "redo", "reset"]) $(way).onclick = () => step(way);
$("view").onchange = () => setView($("view").value);
$("compare").onpointerdown = () => compare(true);
$("compare").onkeydown = ({ key }) => compare(key === " " || key === "Enter");
for (const event of ["pointerup", "pointercancel", "blur"]) addEventListener(event, () => compare(false));
$("colour").oninput = (event) => live({ edit: "recolour", object: session.current.selected, colour: $("colour").value }, event.timeStamp);
$("colour").onchange = release;
$("forward").onclick = () => layer(-1);
$("backward").onclick = () => layer(1);
$("smaller").onclick = () => grow(1 / 1.1);
$("larger").onclick = () => grow(1.1);
$("swap").onclick = () => setSwapping(!swapping);
$("copy").onclick = copy;
$("paste").onclick = paste;
$("remove").onclick = () => edit({ edit: "remove", object: session.current.selected });
$("export-png").onclick = () => savePicture(session.current, $("picture"));
$("export-original").onclick = () => saveOriginal(session.current);
$("export-json").onclick = () => saveEdits(session.current, model.model_sha256);
$("export-gif").onclick = () => saveAnimation(session.current).catch((error) => say(error.message, true));
for (const kind of FULL) $(`export-${kind}`).onclick = () => exportAtFullSize(kind);
$("export").onclick = (event) => { if (event.target.tagName === "BUTTON") $("export").open = false; };
addEventListener("click", (event) => { if (!$("export").contains(event.target)) $("export").open = false; });

const STEPS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

addEventListener("keydown", (event) => {
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key, command = event.ctrlKey || event.metaKey;
  const own = event.target.matches?.(key in STEPS ? "input[type=range], select" : "select"), found = session.settled && chosen();
  const does = command
    ? { z: () => step(event.shiftKey ? "redo" : "undo"), y: () => step("redo") }[key]
    : own || event.altKey ? null
    : { o: () => $("file").click(), b: () => compare(true), Escape: escape, v: () => setView(VIEWS[(VIEWS.indexOf(stage.mode) + 1) % 3]) }[key]
      ?? (found && {
        Delete: $("remove").onclick, Backspace: $("remove").onclick, "+": () => grow(1.1), "=": () => grow(1.1), "-": () => grow(1 / 1.1),
        "]": () => layer(-1), "[": () => layer(1), t: () => setSwapping(!swapping),
        ...(STEPS[key] && { [key]: () => nudge(...STEPS[key].map((part) => part * (event.shiftKey ? 5 : 1))) }),
      }[key]);
  if (!does) return;
  event.preventDefault();
  does();
});
addEventListener("keyup", () => compare(false));

function escape() {
  if ($("export").open) {
    $("export").open = false;
    return $("export").querySelector("summary").focus();
  }
  if (stage.stop() || !session.current) return;
  if (swapping) return setSwapping(false);
  select(null);
}

addEventListener("copy", (event) => {
  if (!chosen() || getSelection().toString()) return;
  event.clipboardData.setData("text/plain", "An object of Intarsia Studio"); // in place of a picture that may be there
  event.preventDefault();
  copy();
});
addEventListener("paste", (event) => {
  const files = [...event.clipboardData.files];
  if (files.length) openFiles(files);
  else copying.then(() => (copied() ? paste() : say("There is no picture and no copied object to paste.", true)));
});
for (const kind of ["dragenter", "dragover"]) addEventListener(kind, (event) => { event.preventDefault(); $("stage").classList.add("dropping"); });
addEventListener("dragleave", (event) => { if (!event.relatedTarget) $("stage").classList.remove("dropping"); });
addEventListener("drop", (event) => {
  event.preventDefault();
  $("stage").classList.remove("dropping");
  const files = [...event.dataTransfer.files];
  if (files.length) openFiles(files);
  else say("What was dropped is no file; save the picture first, and drop that.", true);
});
addEventListener("storage", buttons);

async function begin() {
  try {
    model = await api.about();
  } catch (error) {
    say(error.message, true);
    return setTimeout(begin, 1500);
  }
  $("about").textContent = `${model.dataset}, ${model.width}×${model.height} pixels, up to ${model.room} objects`;
  $("stage").style.setProperty("--shape", model.width / model.height);
  for (const id of ["random", "random-2"]) $(id).hidden = Boolean(model.no_random_scene);
  $("hint").textContent = model.no_random_scene || "Open a picture or a random scene; its objects can be changed here.";
  buttons();
  await session.restore(kept(model.model_sha256));
  document.body.dataset.ready = "yes";
}

addEventListener("pagehide", () => { if (model) keep(session, model.model_sha256); });

begin();
