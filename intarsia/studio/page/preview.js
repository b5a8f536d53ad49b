// An object on its way, drawn at once: the picture without it, its cut-out where the pointer has it, and what is in front of it.
// The server's picture of the same place follows.

import * as api from "./api.js";

const AFTER = 60; // ms that the pointer has to rest on an object for its pieces to be asked for

export class Preview {
  #key = "";
  #pieces = null;
  #timer = 0;

  // `ready()` is called when pieces have come.
  constructor(ready) {
    this.ready = ready;
  }

  // Gets the pieces of an object, as the finished edits of its picture have it; `waiting` while it may not be needed.
  want(picture, number, waiting) {
    const edits = picture.history.steps.flatMap((step) => step.edits), key = JSON.stringify([picture.id, number, edits]);
    clearTimeout(this.#timer);
    if (key !== this.#key) this.#timer = setTimeout(() => this.#get(picture, number, edits, key), waiting ? AFTER : 0);
  }

  async #get(picture, number, edits, key) {
    this.#key = key;
    this.#pieces = null;
    try {
      const found = await api.pieces(picture.id, edits, number);
      const [behind, object, front] = await Promise.all(
        [found.behind, found.object, found.front].map((each) => createImageBitmap(api.png(each))),
      );
      if (key !== this.#key) return;
      this.#pieces = { ...found, number, behind, object, front };
      this.ready();
    } catch {
      if (key === this.#key) this.#key = ""; // what goes wrong with the picture itself is told
    }
  }

  // Draws an object moved by dx, dy and scaled; tells whether it could.
  draw(context, { number, dx, dy, factor }) {
    const found = this.#pieces;
    if (found?.number !== number) return false;
    const [scale, right, down] = found.transform, [x, y] = found.centre.map((at, side) => scale * at + [right, down][side]);
    const size = scale * factor, place = (at, centre, by) => 0.5 - 0.5 * size + factor * at + (1 - factor) * centre + by;
    const layer = new OffscreenCanvas(found.behind.width, found.behind.height).getContext("2d");
    layer.imageSmoothingQuality = "high";
    layer.setTransform(size, 0, 0, size, place(right, x, dx), place(down, y, dy));
    layer.drawImage(found.object, 0, 0);
    layer.resetTransform();
    layer.globalCompositeOperation = "source-atop"; // elsewhere they are in the picture behind
    layer.drawImage(found.front, 0, 0);
    context.drawImage(found.behind, 0, 0);
    context.drawImage(layer.canvas, 0, 0);
    return true;
  }
}
