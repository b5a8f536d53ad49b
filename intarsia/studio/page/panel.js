// The sliders: a number of a code each, the most telling ones first, with a strip of what it does.

import { source } from "./api.js";

const SHOWN = 4, TELLING = 0.05; // at most so many sliders of a part are not folded away, and none of fewer nats
const FARTHEST = 3; // standard deviations of the prior

const NAMES = { shape: "Shape", texture: "Texture", background: "Background" };

export class Panel {
  // `on` has: slide(part, dimension, value, time), release(), strip(part, dimension) -> promise of Base64, or null when it is too late.
  constructor(box, on) {
    Object.assign(this, { box, on, sliders: [], key: "" });
  }

  // codes: { shape: [values, nats], ... } in the order of parts; `key` names what they belong to.
  show(key, codes) {
    if (key !== this.key) this.build(key, codes);
    for (const slider of this.sliders) {
      const value = codes[slider.part]?.[0][slider.dimension];
      if (value !== undefined && !slider.held) slider.set(value);
    }
  }

  build(key, codes) {
    this.key = key;
    this.sliders = [];
    this.box.replaceChildren();
    for (const [part, [values, nats]] of Object.entries(codes)) {
      const order = values.map((_, dimension) => dimension).sort((a, b) => nats[b] - nats[a]);
      const made = order.map((dimension) => this.slider(part, dimension, nats[dimension]));
      const first = Math.min(SHOWN, nats.filter((each) => each >= TELLING).length);
      const more = document.createElement("details");
      more.className = "more";
      more.addEventListener("toggle", () => this.on.unfolded());
      more.append(element("summary", `${made.length - first} less telling`), ...made.slice(first).map((each) => each.box));
      this.box.append(element("h3", NAMES[part]), ...made.slice(0, first).map((each) => each.box));
      if (made.length > first) this.box.append(more);
      this.sliders.push(...made);
    }
  }

  slider(part, dimension, nats) {
    const box = element("div"), input = element("input"), strip = element("img"), output = element("output");
    const id = `${part}-${dimension}`, label = element("label", `${NAMES[part]} ${dimension} `);
    box.className = "slider";
    label.htmlFor = input.id = id;
    label.append(element("small", `${nats.toFixed(2)} nats`));
    Object.assign(input, { type: "range", min: -FARTHEST, max: FARTHEST, step: 0.05, title: "Standard deviations of the prior" });
    strip.className = "strip";
    const made = { part, dimension, box, input, strip, held: false, strips: "" };
    made.set = (value) => {
      const farthest = Math.max(FARTHEST, Math.ceil(Math.abs(value)));
      input.min = -farthest;
      input.max = farthest;
      input.value = value;
      output.value = `${value < 0 ? "−" : ""}${Math.abs(value).toFixed(2)} σ`;
      input.setAttribute("aria-valuetext", `${value.toFixed(2)} standard deviations`);
    };
    input.addEventListener("input", (event) => {
      made.held = true;
      output.value = `${input.valueAsNumber < 0 ? "−" : ""}${Math.abs(input.valueAsNumber).toFixed(2)} σ`;
      this.on.slide(part, dimension, input.valueAsNumber, event.timeStamp);
    });
    input.addEventListener("change", () => {
      made.held = false;
      this.on.release();
    });
    strip.addEventListener("click", (event) => {
      const value = Math.min(2, Math.floor((event.offsetX / strip.clientWidth) * 5) - 2);
      made.set(value);
      this.on.slide(part, dimension, value, event.timeStamp);
      this.on.release();
    });
    box.append(label, output, input, strip);
    return made;
  }

  // Fills in the strips that are missing or old, one after the other, those in sight alone.
  async fill(state) {
    const key = this.key;
    for (const slider of this.sliders) {
      if (slider.strips === state || !slider.strip.offsetParent) continue;
      const picture = await this.on.strip(slider.part, slider.dimension);
      if (picture === null || key !== this.key) return;
      slider.strip.src = source(picture);
      slider.strip.alt = `What ${slider.part} ${slider.dimension} does, from -2 to 2`;
      slider.strips = state;
    }
  }
}

function element(kind, text) {
  const made = document.createElement(kind);
  if (text) made.textContent = text;
  return made;
}
