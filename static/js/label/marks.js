// Passages of an answer, marked with a label: by selecting them, or word by word with the arrow keys in the text. Offsets
// are sent in characters of the source as the server counts them (code points).

import { gettext } from "../words.js";

const states = new WeakMap(); // section.marks → [{start, end, label, comment}] in code units of the text
let held = null; // [start, end] of what was selected last: a tap on the switch of a small screen takes the selection away

function partsOf(root = document) {
  const section = root.querySelector("[data-marks]");
  if (!section) return null;
  if (!states.has(section)) states.set(section, []);
  return { section, spans: states.get(section), body: document.querySelector("article.task .pane > .body"), text: document.querySelector("article.task .pane .material.source")?.firstChild };
}

export function open(task) {
  const marks = partsOf(task.read);
  if (!marks?.text) return;
  marks.section.querySelector(".mark-lines").remove();
  for (const part of marks.section.querySelectorAll(".marks-how, .mark-labels")) part.hidden = false;
  marks.section.querySelector('input[type="hidden"]').disabled = false;
  marks.body.addEventListener("keydown", (event) => { if (/^Arrow(Left|Right)$/.test(event.key)) { event.preventDefault(); event.stopPropagation(); word(marks, event.key === onwards(marks.text), event.shiftKey); } });
  held = null;
  draw(marks);
}

document.addEventListener("selectionchange", () => {
  const marks = partsOf();
  if (!marks?.text || !isIn(marks.text)) return;
  hold(marks.text);
  tellHeld(marks);
});

function isIn(text) {
  const { anchorNode, focusNode } = document.getSelection();
  return anchorNode === text && focusNode === text;
}

// Without blanks at its ends: a double click selects the one behind a word on some systems.
function hold({ data }) {
  const { anchorOffset, focusOffset } = document.getSelection();
  const [from, to] = [anchorOffset, focusOffset].sort((a, b) => a - b);
  const passage = data.slice(from, to);
  const start = from + passage.length - passage.trimStart().length;
  held = passage.trim() ? [start, start + passage.trim().length] : null;
}

function tellHeld({ section, text }) {
  const place = section.querySelector(".marks-held");
  place.hidden = !held;
  if (held) place.textContent = gettext("Selected: “%(passage)s”", { passage: text.data.slice(...held) });
}

// The arrow that goes on in a text: it may run the other way than the page.
function onwards(text) { return getComputedStyle(text.parentElement).direction === "rtl" ? "ArrowLeft" : "ArrowRight"; }

// Marks as they were sent, put into the form again.
export function put(read, sent) {
  const marks = partsOf(read);
  if (!marks?.text) return;
  const points = [...marks.text.data];
  const units = (count) => points.slice(0, count).join("").length;
  marks.spans.push(...sent.map((span) => ({ ...span, start: units(span.start), end: units(span.end) })));
  draw(marks);
}

// The next or the previous word becomes the selection, or with Shift joins it.
function word({ text }, forward, extend) {
  const words = [...text.data.matchAll(/\S+/g)].map((found) => [found.index, found.index + found[0].length]);
  const selection = document.getSelection();
  const inside = selection.focusNode === text;
  const at = inside ? words.findIndex(([start, end]) => selection.focusOffset >= start && selection.focusOffset <= end) : -1;
  const [start, end] = words[inside ? Math.min(words.length - 1, Math.max(0, at + (forward ? 1 : -1))) : 0] ?? [0, 0];
  if (extend && inside) selection.setBaseAndExtent(text, selection.anchorOffset, text, forward ? end : start);
  else selection.setBaseAndExtent(text, start, text, end);
}

export function click(target) {
  const marks = partsOf();
  if (!marks) return null;
  const label = target.closest("[data-mark]")?.dataset.mark;
  if (label) return add(marks, label);
  const gone = target.closest("[data-unmark]")?.dataset.unmark;
  if (gone === undefined) return null;
  marks.spans.splice(Number(gone), 1);
  draw(marks);
  return gettext("Mark removed.");
}

function add(marks, label) {
  if (isIn(marks.text)) hold(marks.text);
  if (!held) return gettext("Select a passage of the answer first.");
  const [start, end] = held;
  marks.spans.push({ start, end, label, comment: "" });
  marks.spans.sort((a, b) => a.start - b.start);
  held = null;
  document.getSelection().removeAllRanges();
  tellHeld(marks);
  draw(marks);
  return gettext("Marked: %(passage)s.", { passage: marks.text.data.slice(start, end) });
}

function draw({ section, spans, text }) {
  const words = Object.fromEntries([...section.querySelectorAll("[data-mark]")].map((one) => [one.dataset.mark, one.querySelector(".words").textContent]));
  section.querySelector(".marked").replaceChildren(...spans.map((span, index) => line(span, index, words, text, () => write(section, spans, text))));
  if (globalThis.CSS?.highlights) {
    const ranges = spans.map(({ start, end }) => { const range = document.createRange(); range.setStart(text, start); range.setEnd(text, end); return range; });
    CSS.highlights.set("marked", new Highlight(...ranges));
  }
  write(section, spans, text);
}

function line(span, index, words, text, changed) {
  const item = document.createElement("li");
  const quote = document.createElement("q");
  quote.textContent = text.data.slice(span.start, span.end);
  const what = document.createElement("span");
  what.append(Object.assign(document.createElement("b"), { textContent: `${words[span.label]} ` }), quote);
  const remove = Object.assign(document.createElement("button"), { type: "button", className: "button quiet small", textContent: gettext("Remove") });
  remove.dataset.unmark = index;
  const comment = Object.assign(document.createElement("input"), { className: "input", value: span.comment, placeholder: gettext("Comment"), maxLength: 1000 });
  comment.setAttribute("aria-label", gettext("Comment on “%(passage)s”", { passage: quote.textContent }));
  comment.addEventListener("input", () => { span.comment = comment.value; changed(); });
  item.append(what, remove, comment);
  return item;
}

function write(section, spans, text) {
  const points = (unit) => [...text.data.slice(0, unit)].length;
  section.querySelector('input[type="hidden"]').value = JSON.stringify(spans.map((span) => ({ ...span, start: points(span.start), end: points(span.end) })));
}
