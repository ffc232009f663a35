// Ask before sending: a key or a click marks an answer, and the question turns into the button that sends it. Where one key
// sends, only the arrows on a graded scale mark.

import { sendKey } from "./keys.js";
import { gettext } from "../words.js";

let marked = null; // {cell, send}

export function pending() { return Boolean(marked); }

// What the control says, without its number and its key.
export function wordsOf(control) {
  if (control.dataset.said ?? control.getAttribute("aria-label")) return control.dataset.said ?? control.getAttribute("aria-label");
  return [...control.childNodes].filter((part) => !/^(?:B|KBD)$/.test(part.nodeName)).map((part) => part.textContent).join("").trim();
}

// `send` is called when the person says so. Returns words for the live region.
export function mark(cell, send, method) {
  const { form } = cell;
  clear(form);
  marked = { cell, send };
  cell.classList.add("chosen");
  cell.setAttribute("aria-pressed", "true");
  const button = document.getElementById("send-now").content.firstElementChild.cloneNode(true);
  button.querySelector(".what").textContent = wordsOf(cell);
  const ask = form.querySelector(".scale .ask");
  ask.removeAttribute("aria-hidden");
  ask.querySelector(".question").hidden = true;
  ask.querySelector(".question").after(button);
  if (method === "pointer") button.focus({ preventScroll: true }); // so that Enter sends, not marks again
  return andSend(wordsOf(cell));
}

// What is marked or ranked now, and with which key it goes.
export function andSend(answer) {
  return sendKey ? gettext("%(answer)s. %(key)s sends.", { answer, key: sendKey }) : `${answer}.`;
}

export function send() { marked?.send(); }

export function clear(form) {
  marked = null;
  form.querySelector(".send-now")?.remove();
  for (const cell of form.querySelectorAll('[aria-pressed="true"][data-choice]')) {
    cell.classList.remove("chosen");
    cell.removeAttribute("aria-pressed");
  }
  const question = form.querySelector(".scale .ask .question");
  if (question) question.hidden = false;
}

// One step along a graded scale, from its middle: the cell to mark. Null where arrows mean something else.
export function step(form, by) {
  const cells = [...form.querySelectorAll(".cell[data-strength], .cell[data-choice=same]")];
  if (!cells.some((cell) => cell.dataset.strength)) return null;
  const middle = (cells.length - 1) / 2;
  const from = marked ? cells.indexOf(marked.cell) : middle;
  const to = by < 0 ? Math.ceil(from + by) : Math.floor(from + by);
  return cells[Math.max(0, Math.min(cells.length - 1, to))];
}
