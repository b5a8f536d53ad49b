// Edits of the current picture: what the controls and keys do to its history.

import * as api from "./api.js";
import { say } from "./status.js";

const CLIPBOARD = "intarsia-object";
const LARGEST = 8; // factor of one edit

export class Editing {
  #copying = Promise.resolve(); // until the server has given the copy

  // `changed()` is called when a history has changed, or what can be pasted.
  constructor(session, changed) {
    Object.assign(this, { session, changed, swapping: false });
  }

  get chosen() {
    const { current } = this.session;
    return current?.view?.objects.find(({ number }) => number === current.selected);
  }

  live(edit, time) {
    if (!this.session.settled) return;
    this.session.current.history.live = [edit];
    this.session.refresh(time);
  }

  release() {
    const { history } = this.session.current;
    if (!history.live.length) return;
    history.settle();
    this.changed();
    this.session.refresh();
  }

  cancel() {
    this.session.current.history.live = [];
    this.session.refresh();
  }

  add(...edits) {
    this.session.current.history.add(...edits);
    this.session.refresh();
  }

  step(way) {
    if (!this.session.settled) return;
    this.session.current.history[way]();
    this.session.refresh();
  }

  remove() {
    this.add({ edit: "remove", object: this.session.current.selected });
  }

  nudge(dx, dy) {
    const { history, selected: object } = this.session.current;
    history.press({ edit: "move", object, dx, dy }, (a, b) => ({ ...a, dx: a.dx + b.dx, dy: a.dy + b.dy }));
    this.session.refresh();
  }

  grow(factor) {
    const { history, selected: object } = this.session.current, most = (value) => Math.min(LARGEST, Math.max(1 / LARGEST, value));
    history.press({ edit: "scale", object, factor }, (a, b) => ({ ...a, factor: most(a.factor * b.factor) }));
    this.session.refresh();
  }

  // One layer to the front or back, past the objects that are to be seen.
  layer(way) {
    const { objects } = this.session.current.view;
    let place = objects.indexOf(this.chosen) + way;
    while (objects[place]?.empty) place += way;
    if (objects[place]) this.add({ edit: "order", object: this.session.current.selected, place });
  }

  swap(on) {
    if (this.swapping && !on) say("");
    this.swapping = on;
    document.getElementById("swap").setAttribute("aria-pressed", on);
    if (on) say("Choose the object to exchange textures with; Esc leaves it.");
  }

  copy() {
    const { chosen } = this, { current } = this.session;
    if (!chosen) return;
    this.#copying = api.copyOf(current.id, current.history.edits(), chosen.number).then(
      (paste) => {
        localStorage.setItem(CLIPBOARD, JSON.stringify({ model: current.model.model_sha256, paste }));
        say(`Copied object ${current.labels.get(chosen.number)}.`);
        this.changed();
      },
      (failure) => say(failure.message, true),
    );
  }

  // What was copied, if it is an object of the model at hand.
  get copied() {
    const held = JSON.parse(localStorage.getItem(CLIPBOARD) ?? "null");
    return held?.model === this.session.current?.model.model_sha256 ? held?.paste : null;
  }

  // A pasted object lies a little beside the one it was copied from.
  paste() {
    const { copied: found } = this, { current } = this.session;
    if (!found || !this.session.settled) return;
    const edits = current.history.edits(), gone = edits.filter((each) => each.edit === "remove").map((each) => each.object);
    const object = current.first + edits.filter((each) => each.edit === "paste").length;
    const shift = Math.round(current.model.width / 16), place = ({ shape, transform }) => JSON.stringify([shape, transform]);
    const twin = current.view.objects.some((each) => place(each) === place(found) && !gone.includes(each.number));
    current.selected = object;
    this.add(found, ...(twin ? [{ edit: "move", object, dx: shift, dy: shift }] : []));
    say("Pasted. Drag it to its place.");
  }

  // Once the copy has come.
  pasteSoon() {
    this.#copying.then(() => (this.copied ? this.paste() : say("There is no picture and no copied object to paste.", true)));
  }
}
