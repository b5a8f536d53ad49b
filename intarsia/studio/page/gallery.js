// Scenes to begin with: six in which the model finds several objects.

import * as api from "./api.js";

const PLACES = 6;
const known = new Map(); // by model

// `open(index)` is called for a scene that is chosen. Until they have come, empty places stand for them.
export async function showGallery(box, model, open) {
  box.hidden = Boolean(model.no_random_scene);
  box.dataset.model = model.name;
  if (box.hidden) return box.replaceChildren();
  if (!known.has(model.name)) {
    box.replaceChildren(...Array.from({ length: PLACES }, () => Object.assign(document.createElement("button"), { disabled: true })));
    for (const button of box.children) button.setAttribute("aria-label", "A scene on its way");
    known.set(model.name, api.gallery(model.name));
  }
  const scenes = await known.get(model.name).catch(() => known.delete(model.name) && []);
  if (box.dataset.model !== model.name) return; // another model was chosen meanwhile
  box.hidden = !scenes.length;
  box.replaceChildren(...scenes.map(({ index, picture, objects }) => {
    const button = document.createElement("button"), image = document.createElement("img");
    image.src = api.source(picture);
    image.alt = `Scene ${index}: ${objects} object${objects === 1 ? "" : "s"}`;
    button.title = image.alt;
    button.append(image);
    button.onclick = () => open(index);
    return button;
  }));
}
