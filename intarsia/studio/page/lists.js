// The rows of buttons below the picture: its objects, and the open pictures.

import { source } from "./api.js";
import { BACKGROUND, colourOf } from "./stage.js";

// picture: the objects in sight and the background, which no object owns; with `masks`, in the colours of the masks. `on` has:
// pick(number) and hover(number), null for the background.
export function listObjects(box, picture, masks, on) {
  const present = picture.view.objects.filter(({ empty }) => !empty);
  const rows = present.map(({ number, colour }) => [number, `Object ${picture.labels.get(number)}`, masks ? colourOf(number) : colour]);
  renew(box, [...rows, [null, "Background", masks ? BACKGROUND : null]].map(([number, name, colour]) => {
    const chip = document.createElement("button"), patch = document.createElement("i");
    if (colour) patch.style.background = colour;
    else patch.className = "none";
    chip.append(patch, name);
    chip.dataset.number = number;
    chip.setAttribute("aria-pressed", number === picture.selected);
    chip.onclick = () => on.pick(number);
    chip.onfocus = chip.onmouseenter = () => on.hover(number);
    chip.onblur = chip.onmouseleave = () => on.hover(null);
    return chip;
  }));
}

// One picture alone needs no list, unless it is out of sight.
export function listPictures(box, pictures, current, go) {
  renew(box, pictures.length < (current ? 2 : 1) ? [] : pictures.map((picture, number) => {
    const button = document.createElement("button"), image = document.createElement("img");
    image.src = source(picture.view?.picture ?? picture.picture);
    image.alt = picture.name;
    button.title = `${picture.name} (${picture.model.name})`;
    button.append(image);
    button.dataset.number = number;
    button.setAttribute("aria-pressed", picture === current);
    button.onclick = () => go(picture);
    return button;
  }));
}

// Buttons in the place of others; the one that stands for the same keeps the focus.
function renew(box, buttons) {
  const focused = box.contains(document.activeElement) ? document.activeElement.dataset.number : null;
  box.replaceChildren(...buttons);
  buttons.find((button) => button.dataset.number === focused)?.focus();
}
