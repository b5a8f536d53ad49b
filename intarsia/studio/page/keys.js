// The keyboard. The list on the page says what each key does.

const STEPS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

// `does` has: undo, redo, open, compare, escape, view; and for the selected object remove, grow(factor), layer(way), swap,
// nudge(dx, dy). `ready()` tells whether there is such an object.
export function onKeys(does, ready) {
  const remove = () => does.remove(), larger = () => does.grow(1.1), smaller = () => does.grow(1 / 1.1);
  const always = { o: does.open, b: does.compare, v: does.view, Escape: does.escape };
  const ofObject = {
    Delete: remove, Backspace: remove, "+": larger, "=": larger, "-": smaller, "]": () => does.layer(-1), "[": () => does.layer(1), t: does.swap,
  };
  addEventListener("keydown", (event) => {
    if (event.target.closest?.("dialog")) return;
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key, command = event.ctrlKey || event.metaKey;
    const own = event.target.matches?.(key in STEPS ? "input[type=range], select" : "select"), step = STEPS[key];
    const nudge = step && (() => does.nudge(...step.map((part) => part * (event.shiftKey ? 5 : 1))));
    const found = command ? { z: event.shiftKey ? does.redo : does.undo, y: does.redo }[key]
      : own || event.altKey ? null
      : always[key] ?? (ready() ? ofObject[key] ?? nudge : null);
    if (!found) return;
    event.preventDefault();
    found();
  });
}
