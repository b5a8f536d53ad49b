// The open pictures, and the way from their edits to what is shown. One request is on its way at a time; what is asked for
// meanwhile waits, and only the newest of it is sent. So an answer is never older than the one that is shown.

import * as api from "./api.js";
import { History } from "./history.js";

const AGAIN = 1500; // ms before a server that does not answer is asked again

export class Session {
  pictures = []; // each with the model that takes it apart
  current = null; // none: a scene or a picture is to be chosen
  model = null; // for what is opened next
  raw = false;
  #wanted = 0; // requests so far: each one's number
  #shown = 0; // the newest one answered
  #asking = false;
  #since = null; // when the event came that the newest request is for
  #opening = 0; // pictures on their way

  // `on` has: shown(picture), said(text, bad), busy(whether), went() once another picture, or none, is the current one
  constructor(on) {
    this.on = on;
  }

  get idle() {
    return !this.#asking && this.newest;
  }

  // Whether what is shown is what was asked for last.
  get newest() {
    return this.#wanted === this.#shown;
  }

  // Whether the picture in sight is the one that an edit would change: not while another one is about to take its place.
  get settled() {
    return !this.#opening && Boolean(this.current?.view);
  }

  // Opens what `send` gets from the server, for a model; the picture is then the current one. It gets nothing if it was called off.
  async open(send, name, model) {
    this.#opening++;
    this.on.busy(true);
    try {
      const opened = await send();
      if (!opened) return this.on.said(`Did not open ${name}.`);
      const picture = await this.#add({ ...opened, name, model, history: new History(), selected: null, labels: [] });
      this.go(picture);
      this.on.said(`Opened ${name}.`);
    } catch (error) {
      this.on.said(error.message.replace("Your edits are kept here; trying again…", "Try again once it runs."), true);
    } finally {
      this.#opening--;
      this.on.busy(!this.idle);
    }
  }

  // Opens pictures as they were on a page that was left. The server may have forgotten them; it gets them again then. Those of
  // other models than `models` by name are left out.
  async restore({ pictures, current }, models) {
    for (const [place, { steps, undone, model_sha256, ...picture }] of pictures.entries()) {
      const model = models.get(picture.model);
      if (model?.model_sha256 !== model_sha256) continue;
      const added = await this.#add({ ...picture, model, history: new History(steps, undone) });
      if (place === current) this.go(added);
    }
  }

  async #add(given) {
    const picture = { ...given, labels: new Map(given.labels), bitmap: await createImageBitmap(api.png(given.picture)), view: null };
    this.pictures.push(picture);
    return picture;
  }

  // To a picture, or to none. What is under way on the one before becomes a step of it.
  go(picture) {
    this.current?.history.settle();
    this.current = picture;
    this.model = picture?.model ?? this.model;
    if (picture) this.refresh();
    else this.#shown = this.#wanted;
    this.on.went();
  }

  // Asks for the current picture as its edits make it. `since`: the time of the event behind it, to be measured from.
  refresh(since = null) {
    this.#wanted++;
    this.#since = since;
    if (this.#asking) return;
    this.on.said(""); // what was said before is over
    this.#ask();
  }

  async #ask() {
    this.#asking = true;
    this.on.busy(true);
    while (this.#shown < this.#wanted && this.current) {
      const number = this.#wanted, picture = this.current, since = this.#since;
      try {
        const view = await api.view(picture.id, picture.history.edits(), this.raw);
        const bitmap = await createImageBitmap(api.png(view.picture));
        this.#shown = number;
        if (picture !== this.current) continue;
        picture.view = { ...view, bitmap, labels: api.bytes(view.labels) };
        name(picture);
        this.on.shown(picture);
        if (since !== null) requestAnimationFrame((now) => performance.measure("edit-to-picture", { start: since, end: Math.max(now, since) }));
      } catch (error) {
        if (!(await this.#mend(error, picture))) this.#shown = number;
      }
    }
    this.#asking = false;
    this.on.busy(false);
  }

  // After a failure: whether to ask again.
  async #mend(error, picture) {
    if (error.status === api.GONE) {
      try {
        picture.id = (await api.upload(api.png(picture.picture), picture.model.name)).id;
        return true;
      } catch (second) {
        error = second;
      }
    }
    this.on.said(error.message, true);
    if (error.status === api.LOST || error.status === api.BUSY) {
      await new Promise((done) => setTimeout(done, AGAIN));
      if (await api.models().then(() => true, () => false)) this.on.said("The server is back.");
      return true;
    }
    const had = picture.history.edits().length > 0;
    picture.history.drop();
    return had;
  }

  // What one number of a code does, a picture and its values; null where something newer has to be shown first.
  async strip(part, dimension) {
    const picture = this.current;
    if (!this.idle || !picture) return null;
    const object = part === "background" ? null : picture.selected;
    try {
      const found = await api.strip(picture.id, picture.history.edits(), object, part, dimension);
      return picture === this.current && this.idle ? found : null;
    } catch {
      return null; // what goes wrong with the picture itself is told
    }
  }
}

// Objects are called by the numbers 1, 2, 3 and so on as they come to sight: the server's numbers have gaps where the model found
// nothing. A name stays with its object.
function name({ view, labels }) {
  for (const { number, empty } of [...view.objects].sort((a, b) => a.number - b.number)) {
    if (!empty && !labels.has(number)) labels.set(number, labels.size + 1);
  }
}
