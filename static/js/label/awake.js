// What just appeared takes no answer for a moment: a double press must not answer what nobody has read. While answers are
// taken the dock is data-awake.

const DEAD = 150; // ms
const { dataset } = document.getElementById("dock");
let timer;

export function isAwake() { return "awake" in dataset; }

export function wake() { dataset.awake = ""; }

export function doze() {
  clearTimeout(timer);
  delete dataset.awake;
}

export function appear() {
  doze();
  timer = setTimeout(wake, DEAD);
}
