// Reading: how much is left, scrolling together, source, the switch on small screens.

import * as diff from "./diff.js";
import { gettext, ngettext, onward } from "../words.js";

const LINE = 27;
let together = localStorage.getItem("palate:together") !== "off";
let source = false;
let differences = false;

export function open(task) {
  const bodies = [...task.querySelectorAll(".pane > .body")];
  for (const body of bodies) {
    body.addEventListener("scroll", () => { follow(body, bodies); rest(body); }, { passive: true });
    body.scrollTop = 0;
  }
  const asked = task.querySelector(".asked");
  task.querySelector(".prompt").classList.toggle("long", asked.scrollHeight > asked.clientHeight + 4);
  for (const pick of task.querySelectorAll(".switch input")) {
    pick.addEventListener("change", () => { pick.parentElement.querySelector(".unread")?.remove(); measure(); });
  }
  swipe(task);
  glimpse(task);
  measure();
}

// To be read at once, while the dock still shows the answer before.
export function glimpse(task) {
  press(task);
  show(task);
  compare();
}

export function measure() {
  for (const body of document.querySelectorAll(".pane > .body")) rest(body);
}

function rest(body) {
  const pill = body.parentElement.querySelector(".rest");
  const lines = Math.round((body.scrollHeight - body.scrollTop - body.clientHeight - 24) / LINE);
  pill.hidden = lines < 1;
  pill.querySelector(".lines").textContent = ngettext("%(n)s more line", "%(n)s more lines", lines);
}

let leader = null;
function follow(body, bodies) {
  if (!together || (leader && leader !== body)) return;
  leader = body;
  const place = placeIn(body);
  for (const other of bodies) if (other !== body) other.scrollTop = topOf(other, place);
  requestAnimationFrame(() => { leader = null; });
}

// Where we are as paragraph number and share of it, so that answers of different length stay level by paragraph.
function blocks(body) { return [...body.querySelector(".material:not([hidden])").children]; }
function placeIn(body) {
  const list = blocks(body);
  const index = Math.max(0, list.findLastIndex((block) => block.offsetTop - body.offsetTop <= body.scrollTop + 1));
  const block = list[index];
  if (!block) return { index: 0, share: 0, top: body.scrollTop };
  return { index, share: (body.scrollTop - (block.offsetTop - body.offsetTop)) / Math.max(1, block.offsetHeight), top: body.scrollTop };
}
function topOf(body, { index, share, top }) {
  const list = blocks(body);
  if (!list.length) return top;
  if (index >= list.length) return body.scrollHeight;
  const block = list[index];
  return index === 0 && share < 0 ? top : block.offsetTop - body.offsetTop + share * block.offsetHeight;
}

export function scroll(back) {
  const bodies = [...document.querySelectorAll(".pane > .body")].filter((body) => body.offsetParent);
  for (const body of together ? bodies : bodies.slice(0, 2)) {
    body.scrollBy({ top: (back ? -0.8 : 0.8) * body.clientHeight, behavior: "instant" });
  }
}

export function toggleTogether() {
  together = !together;
  localStorage.setItem("palate:together", together ? "on" : "off");
  press(document);
}

export function toggleSource() {
  source = !source;
  show(document);
  compare();
  press(document);
  measure();
}

// Returns what there is to say about it.
export function toggleDifferences() {
  if (!diff.possible) return gettext("This browser cannot mark differences.");
  differences = !differences;
  press(document);
  return compare();
}

function compare() {
  diff.clear();
  if (!differences) return "";
  const texts = [...document.querySelectorAll(".pane .material:not([hidden], textarea)")];
  if (texts.length === 1 && document.querySelector(".writing")) return gettext("What differs shows in the preview.");
  if (texts.length !== 2) return gettext("Differences are marked between two answers only.");
  const found = diff.mark(...texts);
  if (found === null) return gettext("These answers are too long to compare word by word.");
  return found ? "" : gettext("The answers are the same, word for word.");
}

// Rendered or source, as chosen.
export function show(root) {
  const plain = source || Boolean(root.querySelector("[data-marks]")); // passages are marked in the source
  for (const part of root.querySelectorAll(".material.rendered")) part.hidden = plain;
  for (const part of root.querySelectorAll(".material.source")) part.hidden = !plain;
}

function press(root) {
  root.querySelector('[data-command="together"]')?.setAttribute("aria-pressed", together);
  root.querySelector('[data-command="source"]')?.setAttribute("aria-pressed", source);
  root.querySelector('[data-command="differences"]')?.setAttribute("aria-pressed", differences);
}

export function turn(step) {
  const picks = [...document.querySelectorAll(".switch input")];
  const next = picks[picks.findIndex((pick) => pick.checked) + step];
  if (next) next.click();
}

function swipe(task) {
  let start = null;
  const panes = task.querySelector(".panes");
  if (!panes) return; // a form about the prompt alone
  panes.addEventListener("touchstart", (event) => { start = event.changedTouches[0]; }, { passive: true });
  panes.addEventListener("touchend", (event) => {
    const end = event.changedTouches[0];
    const across = end.clientX - start.clientX;
    if (Math.abs(across) > 60 && Math.abs(across) > 2 * Math.abs(end.clientY - start.clientY)) turn(across < 0 ? onward : -onward);
  }, { passive: true });
}
