// The picture and what lies over it: outlines, the selected object's frame with its handles, and what pointers do there.

const HANDLE = 5, REACH = 14, START = 4; // px on the screen: half a handle, how near a pointer has to come, where a drag begins
const PALETTE = ["#e69f00", "#56b4e9", "#009e73", "#f0e442", "#d55e00", "#0072b2", "#cc79a7", "#969696", "#783cb4", "#a0dc5a"];

export const BACKGROUND = "#282b32";
export const colourOf = (number) => PALETTE[(number - 1) % PALETTE.length];

export class Stage {
  // `on` has: hover(number), pick(number), drag(number, dx, dy), stretch(number, factor), release(), cancel(). `preview` draws an
  // object on its way.
  constructor(box, picture, overlay, preview, on) {
    Object.assign(this, { box, picture, overlay, preview, on, scene: null, before: null, hovered: null, selected: null, gesture: null });
    this.moving = null; // the object on its way, until the server's picture of its place is here
    this.comparing = false;
    this.mode = "picture";
    this.raw = false; // whether the pictures are those of the networks alone
    new ResizeObserver(() => this.draw()).observe(box);
    overlay.addEventListener("pointerdown", (event) => this.down(event));
    overlay.addEventListener("pointermove", (event) => this.move(event));
    overlay.addEventListener("pointerup", (event) => this.up(event));
    overlay.addEventListener("pointercancel", () => this.stop());
    overlay.addEventListener("pointerleave", () => this.gesture || this.on.hover(null));
  }

  // scene: { width, height, bitmap, labels, objects }, before: the bitmap of the picture as it came, newest: whether nothing newer
  // was asked for.
  show(scene, before, newest) {
    Object.assign(this, { scene, before });
    if (newest) this.moving = null;
    this.box.style.setProperty("--shape", scene.width / scene.height);
    if (this.picture.width !== scene.width || this.picture.height !== scene.height) {
      this.picture.width = scene.width;
      this.picture.height = scene.height;
    }
    this.outlines = scene.objects.map((_, place) => outline(scene, place + 1));
    this.draw();
  }

  draw() {
    if (!this.scene) return;
    const { width, height, bitmap, labels, objects } = this.scene, context = this.picture.getContext("2d");
    if (this.comparing) context.drawImage(this.before, 0, 0);
    else if (this.mode === "masks") context.putImageData(coloured(width, height, labels, objects), 0, 0);
    else if (!this.previews || !this.preview.draw(context, this.moving)) context.drawImage(bitmap, 0, 0);
    this.drawOverlay();
  }

  drawOverlay() {
    const ratio = devicePixelRatio || 1, { clientWidth, clientHeight } = this.overlay;
    this.overlay.width = clientWidth * ratio;
    this.overlay.height = clientHeight * ratio;
    const context = this.overlay.getContext("2d"), scale = this.scale;
    if (this.comparing) return;
    context.scale(ratio * scale, ratio * scale);
    context.lineJoin = context.lineCap = "round";
    this.scene.objects.forEach(({ number, empty }, place) => {
      if (empty || number === this.moving?.number) return; // its frame shows where it is
      const strong = number === this.hovered || number === this.selected;
      if (number === this.hovered && !this.gesture) {
        context.fillStyle = "rgb(255 255 255 / 18%)";
        context.fill(this.outlines[place].area);
      }
      stroke(context, this.outlines[place].line, strong ? 3 / scale : 1.5 / scale, strong ? "#fff" : "rgb(255 255 255 / 75%)");
    });
    const chosen = this.frame();
    if (!chosen) return;
    const [left, top, right, bottom] = chosen;
    const line = new Path2D();
    line.rect(left, top, right - left, bottom - top);
    context.setLineDash([4 / scale, 4 / scale]);
    stroke(context, line, 1.5 / scale, "#fff");
    context.setLineDash([]);
    for (const [x, y] of corners(chosen)) {
      const half = HANDLE / scale, knob = new Path2D();
      knob.rect(x - half, y - half, 2 * half, 2 * half);
      context.fillStyle = "#fff";
      context.fill(knob);
      context.strokeStyle = "#2450d6";
      context.lineWidth = 1.5 / scale;
      context.stroke(knob);
    }
  }

  get previews() {
    return this.moving && this.mode === "picture" && !this.raw;
  }

  get scale() {
    return this.overlay.clientWidth / this.scene.width;
  }

  // The frame of the selected object, where the pointer wants it to be.
  frame() {
    const found = this.scene.objects.find(({ number, empty }) => number === this.selected && !empty);
    if (!found) return null;
    if (this.moving?.number !== this.selected) return found.box;
    const { box: [left, top, right, bottom], dx, dy, factor } = this.moving, x = (left + right) / 2 + dx, y = (top + bottom) / 2 + dy;
    const across = ((right - left) / 2) * factor, down = ((bottom - top) / 2) * factor;
    return [x - across, y - down, x + across, y + down];
  }

  at(event) {
    const place = this.overlay.getBoundingClientRect();
    return [(event.clientX - place.left) / this.scale, (event.clientY - place.top) / this.scale];
  }

  numberAt([x, y]) {
    const { width, height, labels, objects } = this.scene, column = Math.floor(x), row = Math.floor(y);
    if (column < 0 || row < 0 || column >= width || row >= height) return null;
    return objects[labels[row * width + column] - 1]?.number ?? null;
  }

  // The cursor of the handle that a place is near; null where it is nearer to the middle, however small the object is.
  handleAt([x, y]) {
    const chosen = this.frame();
    if (!chosen) return null;
    const [left, top, right, bottom] = chosen, inner = Math.hypot((left + right) / 2 - x, (top + bottom) / 2 - y);
    const near = corners(chosen).findIndex(([a, b]) => Math.hypot(a - x, b - y) < Math.min(REACH / this.scale, inner));
    return ["nwse-resize", "nesw-resize", "nesw-resize", "nwse-resize"][near] ?? null;
  }

  down(event) {
    if (!this.scene || event.button) return;
    const start = this.at(event), stretching = this.handleAt(start) !== null, number = stretching ? this.selected : this.numberAt(start);
    if (!stretching) this.on.pick(number);
    const box = this.scene.objects.find((each) => each.number === this.selected)?.box;
    if (this.selected === null || this.selected !== number || !box) return;
    this.gesture = { id: event.pointerId, start, number, box, stretching, going: null };
    this.overlay.setPointerCapture(event.pointerId);
  }

  move(event) {
    if (!this.scene) return;
    const here = this.at(event), gesture = this.gesture;
    if (!gesture) {
      const number = this.numberAt(here);
      this.overlay.style.cursor = this.handleAt(here) ?? (number === null ? "default" : "grab");
      this.overlay.title = number === null ? "Background: no object is here" : "";
      if (number !== this.hovered) this.on.hover(number);
      return;
    }
    const [dx, dy] = [here[0] - gesture.start[0], here[1] - gesture.start[1]];
    if (!gesture.going && Math.hypot(dx, dy) * this.scale < START) return;
    const [left, top, right, bottom] = gesture.box, x = (left + right) / 2, y = (top + bottom) / 2;
    if (gesture.stretching) {
      const was = Math.hypot(gesture.start[0] - x, gesture.start[1] - y), is = Math.hypot(here[0] - x, here[1] - y);
      gesture.going = { dx: 0, dy: 0, factor: Math.min(8, Math.max(0.125, is / Math.max(was, 1))) };
      this.on.stretch(gesture.number, gesture.going.factor, event.timeStamp);
    } else {
      const { width, height } = this.scene, within = (value, most) => Math.max(-most, Math.min(most, Math.round(value * 10) / 10));
      gesture.going = { dx: within(dx, width), dy: within(dy, height), factor: 1 };
      this.on.drag(gesture.number, gesture.going.dx, gesture.going.dy, event.timeStamp);
    }
    this.moving = { number: gesture.number, box: gesture.box, ...gesture.going };
    this.draw();
  }

  up() {
    const moved = this.gesture?.going;
    this.gesture = null;
    if (moved) this.on.release();
  }

  // Ends a gesture as if it had not begun; tells whether there was one.
  stop() {
    const had = this.gesture !== null;
    this.gesture = null;
    this.moving = null;
    if (had) this.on.cancel();
    return had;
  }
}

const corners = ([left, top, right, bottom]) => [[left, top], [right, top], [left, bottom], [right, bottom]];

function stroke(context, line, width, colour) {
  context.lineWidth = 2.2 * width;
  context.strokeStyle = "rgb(0 0 0 / 45%)";
  context.stroke(line);
  context.lineWidth = width;
  context.strokeStyle = colour;
  context.stroke(line);
}

// The border of a label between pixels, and its area.
function outline({ width, height, labels }, label) {
  const line = new Path2D(), area = new Path2D();
  for (let at = 0; at < labels.length; at++) {
    if (labels[at] !== label) continue;
    const x = at % width, y = (at - x) / width;
    area.rect(x, y, 1, 1);
    const side = (other, x1, y1, x2, y2) => {
      if (other !== label) line.moveTo(x1, y1), line.lineTo(x2, y2);
    };
    side(y > 0 ? labels[at - width] : 0, x, y, x + 1, y);
    side(y < height - 1 ? labels[at + width] : 0, x, y + 1, x + 1, y + 1);
    side(x > 0 ? labels[at - 1] : 0, x, y, x, y + 1);
    side(x < width - 1 ? labels[at + 1] : 0, x + 1, y, x + 1, y + 1);
  }
  return { line, area };
}

function coloured(width, height, labels, objects) {
  const colours = [BACKGROUND, ...objects.map(({ number }) => colourOf(number))].map((each) => [1, 3, 5].map((at) => parseInt(each.slice(at, at + 2), 16)));
  const image = new ImageData(width, height);
  labels.forEach((label, at) => image.data.set([...colours[label], 255], 4 * at));
  return image;
}
