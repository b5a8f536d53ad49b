// The rows of buttons below the picture: its objects, and the open pictures.

import { source } from "./api.js";

// objects: those that are to be seen, each with its colour. `on` has: pick(number), hover(number), null for none.
export function listObjects(box, objects, selected, on) {
  renew(box, objects.map(({ number, colour }) => {
    const chip = document.createElement("button"), patch = document.createElement("i");
    patch.style.background = colour;
    chip.append(patch, `Object ${number}`);
    chip.dataset.number = number;
    chip.setAttribute("aria-pressed", number === selected);
    chip.onclick = () => on.pick(number);
    chip.onfocus = chip.onmouseenter = () => on.hover(number);
    chip.onblur = chip.onmouseleave = () => on.hover(null);
    return chip;
  }));
}

// One picture alone needs no list.
export function listPictures(box, pictures, current, go) {
  renew(box, pictures.length < 2 ? [] : pictures.map((picture, number) => {
    const button = document.createElement("button"), image = document.createElement("img");
    image.src = source(picture.view?.picture ?? picture.picture);
    image.alt = picture.name;
    button.title = picture.name;
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
