// The sliders: a number of a code each, called by what it does, the most telling ones first, with a strip of what it does.

import { source } from "./api.js";

const SHOWN = 4, TELLING = 0.05; // at most so many sliders of a part are not folded away, and none of fewer nats
const VALUES = [-2, -1, 0, 1, 2]; // of a strip that has not come yet, in standard deviations of the prior
const NARROW = "(max-width: 44rem)";

const NAMES = { shape: "Shape", texture: "Texture", background: "Background" };

const written = (value) => `${value < 0 ? "−" : ""}${Math.abs(value).toFixed(2)}`;

export class Panel {
  // `on` has: slide(part, dimension, value, time), release(), strip(part, dimension) -> promise of the strip, or null when it is
  // too late, and unfolded().
  constructor(box, on) {
    Object.assign(this, { box, on, sliders: [], key: "", folded: {} });
  }

  // codes: { shape: [values, nats], ... } in the order of parts, words: { shape: [name, ...], ... }; `key` names what they belong to.
  show(key, codes, words) {
    if (key !== this.key) this.build(key, codes, words);
    for (const slider of this.sliders) {
      const value = codes[slider.part]?.[0][slider.dimension];
      if (value !== undefined && !slider.held) slider.set(value);
    }
  }

  build(key, codes, words) {
    this.key = key;
    this.sliders = [];
    this.box.replaceChildren();
    for (const [part, [values, nats]] of Object.entries(codes)) {
      const order = values.map((_, dimension) => dimension).sort((a, b) => nats[b] - nats[a]);
      const made = order.map((dimension) => this.slider(part, dimension, words[part][dimension], nats[dimension]));
      const first = Math.min(SHOWN, nats.filter((each) => each >= TELLING).length);
      const box = this.fold(NAMES[part], part, this.folded[part] ?? (matchMedia(NARROW).matches && this.sliders.length > 0));
      box.className = "part";
      box.append(...made.slice(0, first).map((each) => each.box));
      if (made.length > first) {
        const more = this.fold(`${made.length - first} that change little`, `${part} more`, this.folded[`${part} more`] ?? true);
        more.className = "more";
        more.append(...made.slice(first).map((each) => each.box));
        box.append(more);
      }
      this.box.append(box);
      this.sliders.push(...made);
    }
  }

  // What is folded stays so for the next object.
  fold(title, name, folded) {
    const box = element("details");
    box.open = !folded;
    box.append(element("summary", title));
    box.addEventListener("toggle", () => {
      this.folded[name] = !box.open;
      if (box.open) this.on.unfolded();
    });
    return box;
  }

  slider(part, dimension, word, nats) {
    const box = element("div"), input = element("input"), strip = element("img"), output = element("output"), label = element("label", word);
    box.className = "slider";
    label.htmlFor = input.id = `${part}-${dimension}`;
    box.title = `${NAMES[part]} ${dimension} of the code, in standard deviations of the prior (σ). It carries ${nats.toFixed(2)} nats here.`;
    Object.assign(input, { type: "range", step: 0.05 });
    strip.className = "strip";
    const made = { part, dimension, word, box, input, strip, held: false, strips: "", values: VALUES };
    made.set = (value) => {
      const cell = made.values[1] - made.values[0]; // pictures lie under the middles of cells
      input.min = Math.min(made.values[0] - cell / 2, value);
      input.max = Math.max(made.values.at(-1) + cell / 2, value);
      input.value = value;
      output.value = written(value);
      input.setAttribute("aria-valuetext", value.toFixed(2));
    };
    input.addEventListener("input", (event) => {
      made.held = true;
      output.value = written(input.valueAsNumber);
      this.on.slide(part, dimension, input.valueAsNumber, event.timeStamp);
    });
    input.addEventListener("change", () => {
      made.held = false;
      this.on.release();
    });
    strip.addEventListener("click", (event) => {
      const value = made.values[Math.min(VALUES.length - 1, Math.floor((event.offsetX / strip.clientWidth) * VALUES.length))];
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
      const found = await this.on.strip(slider.part, slider.dimension);
      if (found === null || key !== this.key) return;
      slider.strip.src = source(found.picture);
      slider.strip.alt = `What ${slider.word.toLowerCase()} does, from ${found.values[0].toFixed(1)} to ${found.values.at(-1).toFixed(1)}`;
      slider.strips = state;
      slider.values = found.values;
      if (!slider.held) slider.set(slider.input.valueAsNumber);
    }
  }
}

function element(kind, text) {
  const made = document.createElement(kind);
  if (text) made.textContent = text;
  return made;
}
