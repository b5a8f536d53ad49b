// A picture of another shape is not squashed: the person chooses the part that the model gets. It keeps its pixels.

const $ = (id) => document.getElementById(id);
const MOST_BYTES = 20e6; // that the server takes
const STEP = 0.02, COARSE = 0.1, WHEEL = 0.001; // parts of the picture: of a key, with Shift, and of a turned pixel
const SHOWN = 480; // px, the longer side of the picture in the dialog

// The part of an image file that fits a model: its content as a file, and its region, left, top, right and bottom in the picture's
// pixels. Null if the person calls it off. A file that the browser can't read, or of the model's own size, stays as it is.
export async function cropped(file, { width, height }) {
  const picture = await createImageBitmap(file).catch(() => null);
  if (!picture || (picture.width === width && picture.height === height)) return { content: file, region: null };
  const part = await new Frame(picture, width / height, width).chosen(file.name);
  if (!part) return null;
  const canvas = new OffscreenCanvas(part.width, part.height), context = canvas.getContext("2d", { alpha: false });
  context.fillStyle = "#fff"; // as the server does with what is transparent
  context.fillRect(0, 0, part.width, part.height);
  context.drawImage(picture, -part.left, -part.top);
  const region = [part.left, part.top, part.left + part.width, part.top + part.height], whole = await canvas.convertToBlob();
  const content = whole.size <= MOST_BYTES ? whole : await canvas.convertToBlob({ type: "image/jpeg", quality: 0.95 });
  return { content, region };
}

// The frame in the dialog. Its size is a part of the largest one that fits; its place is its middle, in parts of the picture.
class Frame {
  constructor(picture, shape, least) {
    Object.assign(this, { picture, shape, size: 1, x: 0.5, y: 0.5 });
    this.widest = Math.min(picture.width, picture.height * shape);
    this.smallest = Math.min(1, Math.max(least / this.widest, 0.05));
  }

  async chosen(name) {
    const dialog = $("crop"), shown = $("crop-picture"), scale = SHOWN / Math.max(this.picture.width, this.picture.height);
    $("crop-name").textContent = name;
    shown.width = Math.max(1, Math.round(this.picture.width * scale));
    shown.height = Math.max(1, Math.round(this.picture.height * scale));
    shown.getContext("2d").drawImage(this.picture, 0, 0, shown.width, shown.height);
    $("crop-size").min = this.smallest;
    $("crop-area").onkeydown = (event) => this.key(event);
    $("crop-area").onpointerdown = (event) => this.drag(event);
    $("crop-area").onwheel = (event) => { event.preventDefault(); this.resize(this.size * (1 + event.deltaY * WHEEL)); };
    $("crop-size").oninput = () => this.resize($("crop-size").valueAsNumber);
    this.show();
    dialog.returnValue = "";
    dialog.showModal();
    await new Promise((closed) => dialog.addEventListener("close", closed, { once: true }));
    return dialog.returnValue === "use" ? this.part : null;
  }

  get part() {
    const width = Math.max(1, Math.round(this.widest * this.size)), height = Math.max(1, Math.round(width / this.shape));
    const place = (middle, whole, length) => Math.round(Math.min(Math.max(middle * whole - length / 2, 0), Math.max(whole - length, 0)));
    return {
      left: place(this.x, this.picture.width, width), top: place(this.y, this.picture.height, height),
      width: Math.min(width, this.picture.width), height: Math.min(height, this.picture.height),
    };
  }

  move(right, down) {
    const { picture } = this, half = [this.part.width / picture.width / 2, this.part.height / picture.height / 2];
    this.x = Math.min(Math.max(this.x + right, half[0]), 1 - half[0]);
    this.y = Math.min(Math.max(this.y + down, half[1]), 1 - half[1]);
    this.show();
  }

  resize(size) {
    this.size = Math.min(1, Math.max(this.smallest, size));
    this.move(0, 0);
  }

  key(event) {
    const step = event.shiftKey ? COARSE : STEP;
    const does = {
      ArrowLeft: () => this.move(-step, 0), ArrowRight: () => this.move(step, 0),
      ArrowUp: () => this.move(0, -step), ArrowDown: () => this.move(0, step),
      "+": () => this.resize(this.size + step), "=": () => this.resize(this.size + step), "-": () => this.resize(this.size - step),
      Enter: () => $("crop").close("use"),
    }[event.key];
    if (!does) return;
    event.preventDefault();
    does();
  }

  drag(event) {
    const area = $("crop-area"), { width, height, left, top } = area.getBoundingClientRect();
    const { part, picture } = this, x = ((event.clientX - left) / width) * picture.width, y = ((event.clientY - top) / height) * picture.height;
    if (x < part.left || y < part.top || x > part.left + part.width || y > part.top + part.height) {
      this.move(x / picture.width - this.x, y / picture.height - this.y); // the frame comes to the pointer
    }
    area.setPointerCapture(event.pointerId);
    area.onpointermove = (moved) => this.move(moved.movementX / width, moved.movementY / height);
    area.onpointerup = area.onpointercancel = () => { area.onpointermove = null; };
  }

  show() {
    const { left, top, width, height } = this.part, { picture } = this;
    const percent = (value, whole) => `${(100 * value) / whole}%`;
    Object.assign($("crop-frame").style, {
      left: percent(left, picture.width), top: percent(top, picture.height), width: percent(width, picture.width), height: percent(height, picture.height),
    });
    $("crop-size").value = this.size;
    $("crop-told").textContent = `${width}×${height} of ${picture.width}×${picture.height} pixels, ${left} from the left, ${top} from the top`;
  }
}
