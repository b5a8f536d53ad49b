// The history of one picture: a list of steps, each of one or more edits. What is going on under the pointer is `live` and
// becomes a step when it ends. The server gets the flat list and keeps nothing of it.

const MERGED_WITHIN = 900; // ms: presses of a key that belong together are one step

export class History {
  live = [];

  // From steps made before, such as those of a page that was left.
  constructor(steps = [], undone = []) {
    const old = (step) => ({ ...step, time: -MERGED_WITHIN });
    Object.assign(this, { steps: steps.map(old), undone: undone.map(old) });
  }

  edits() {
    return [...this.steps.flatMap((step) => step.edits), ...this.live];
  }

  add(...edits) {
    this.live = [];
    this.undone = [];
    this.steps.push({ edits, time: 0 });
  }

  // An edit by key: `joined` makes one edit of the last one and this one, where they do the same to the same thing.
  press(edit, joined) {
    const last = this.steps.at(-1), now = performance.now();
    if (last?.edits.length === 1 && now - last.time < MERGED_WITHIN && sameTarget(last.edits[0], edit)) {
      last.edits = [joined(last.edits[0], edit)];
      last.time = now;
      this.undone = [];
    } else {
      this.add(edit);
      this.steps.at(-1).time = now;
    }
  }

  // A slider that is moved by key ends with each press; of its values the last one counts.
  settle() {
    const [edit] = this.live;
    this.live = [];
    if (edit?.edit === "set_code") this.press(edit, (_, newer) => newer);
    else if (edit) this.add(edit);
  }

  undo() {
    this.live = [];
    if (this.steps.length) this.undone.push(this.steps.pop());
  }

  redo() {
    this.live = [];
    if (this.undone.length) this.steps.push({ ...this.undone.pop(), time: 0 });
  }

  // All steps become undone, the first one to be made again first.
  reset() {
    while (this.steps.length) this.undo();
  }

  // The newest edit was not possible.
  drop() {
    if (this.live.length) this.live = [];
    else this.steps.pop();
  }
}

function sameTarget(first, second) {
  return ["edit", "object", "part", "dimension"].every((name) => first[name] === second[name]);
}
