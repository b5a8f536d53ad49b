// The line below the picture: what was done, what is on its way, and what went wrong.

const BUSY_AFTER = 150; // ms
const WORKING = "Working…";
let told = "", timer = 0;
const line = document.getElementById("status");

export function say(text, bad = false) {
  told = text;
  line.textContent = text;
  line.classList.toggle("bad", bad);
}

export function busy(on) {
  clearTimeout(timer);
  document.getElementById("stage").setAttribute("aria-busy", on);
  if (!on) {
    document.body.classList.remove("busy");
    if (line.textContent === WORKING) line.textContent = told;
  } else {
    timer = setTimeout(() => {
      document.body.classList.add("busy");
      if (!line.classList.contains("bad")) line.textContent = WORKING;
    }, BUSY_AFTER);
  }
}
