// A form of several questions. Keys answer the row that has the focus, or else the first open one, and the focus goes on
// to the next; Enter sends when nothing is open any more.

import * as rank from "./rank.js";
import { gettext, onward } from "../words.js";

export function isOn(form) { return form?.dataset.send === "button"; }

function rowsOf(form) { return [...form.querySelectorAll("[data-row]"), ...document.querySelectorAll("article.task [data-row]")]; }

function answered(row, form) {
  if (row.classList.contains("rank")) return Boolean(rank.order(form)) || Boolean(form.querySelector(".nothing-good input:checked"));
  const radio = row.querySelector("input[type=radio]");
  if (radio) return form.elements[radio.name].value !== "";
  const text = row.querySelector("textarea");
  return !text || text.value.trim().length >= Number(row.dataset.least ?? 1);
}

function missing(form) { return rowsOf(form).filter((row) => !("optional" in row.dataset) && !answered(row, form)); }

function marksOf(form) { return rowsOf(form).find((row) => "marks" in row.dataset); }

export function now(form) {
  const rows = rowsOf(form);
  const focused = rows.find((row) => row.contains(document.activeElement));
  if (focused) return focused;
  if (marksOf(form) && !document.getSelection().isCollapsed) return marksOf(form);
  return missing(form)[0] ?? rows.at(-1);
}

export function open(task) {
  if (!isOn(task.form)) return;
  point(task.form);
  for (const part of [task.read, task.form]) {
    part.addEventListener("focusin", () => point(task.form));
    part.addEventListener("input", () => { cover(task.read); point(task.form); });
  }
  cover(task.read);
}

// Marks the row that the keys mean.
function point(form) {
  const here = now(form);
  for (const row of rowsOf(form)) row.classList.toggle("now", row === here);
}

// A note that comes first uncovers what it hides once it is long enough.
function cover(read) {
  for (const gate of read.querySelectorAll("textarea.gate")) {
    gate.classList.toggle("short", gate.value.trim().length < Number(gate.closest("[data-row]").dataset.least));
  }
}

function focusRow(row) {
  if (!row) return;
  if (!row.offsetParent) document.querySelector(`.switch .${row.classList.contains("write") ? [...row.classList].find((name) => name.startsWith("pane-")).replace("pane", "pick") : "pick-q"}`)?.click();
  const place = row.querySelector("textarea:not([hidden])") ?? row.querySelector("input:checked") ?? row.querySelector("input:not([type=hidden]):not(:disabled), button");
  place?.focus();
  place?.closest("label, textarea, button")?.scrollIntoView({ block: "nearest" });
}

function after(row, form) {
  const rows = rowsOf(form);
  const next = rows[rows.indexOf(row) + 1];
  if (next) focusRow(next);
  else form.querySelector(".send").focus();
}

// A choice by key goes on to the next row; by pointer only where the next one is not on the screen. Returns words to say.
export function pick(label, form, method) {
  const input = label.querySelector("input");
  const row = rowsOf(form).find((one) => one.contains(input)) ?? rowsOf(form)[0];
  input.checked = input.type === "checkbox" ? !input.checked : true;
  input.dispatchEvent(new Event("input", { bubbles: true }));
  const next = missing(form)[0];
  if (input.type === "radio" && method === "key") after(row, form);
  else if (input.type === "radio" && next && !next.offsetParent) focusRow(next);
  const words = input.getAttribute("aria-label") ?? label.textContent.trim();
  return input.checked ? `${words}.` : gettext("%(answer)s, taken back.", { answer: words });
}

// What a command means here, as a function that does it and returns words for the live region; null for any other.
export function key(command, form) {
  if (command === "send") return null;
  if (command === "write" && document.getElementById("writing")) return () => { focusRow(document.getElementById("writing").closest("[data-row]")); return ""; };
  if (command === "bad") return press(form.querySelector(".nothing-good"), form);
  const row = now(form);
  if (command === "down" || command === "up") return () => { step(row, form, command === "down" ? 1 : -1); return ""; };
  const label = row.querySelector(`[data-press~="${command}"]`);
  if (label) return press(label, form);
  if (command === "left" || command === "right") return () => shift(row, command === "right" ? onward : -onward);
  if (command === "back") return () => clear(row);
  return /^[0-9]$/.test(command) ? () => "" : null;
}

function press(label, form) {
  if (!label) return null;
  if (label.matches("button")) return () => { label.click(); return ""; };
  return () => pick(label, form, "key");
}

function step(row, form, by) {
  const rows = rowsOf(form);
  focusRow(rows[Math.min(rows.length - 1, Math.max(0, rows.indexOf(row) + by))]);
}

function shift(row, by) {
  const radios = [...row.querySelectorAll(".options input[type=radio]")];
  if (!radios.length) return "";
  const at = radios.findIndex((radio) => radio.checked);
  const next = radios[Math.min(radios.length - 1, Math.max(0, at < 0 ? 0 : at + by))];
  next.checked = true;
  next.focus();
  next.dispatchEvent(new Event("input", { bubbles: true }));
  return `${next.getAttribute("aria-label") ?? next.parentElement.textContent.trim()}.`;
}

function clear(row) {
  for (const input of row.querySelectorAll("input:checked")) {
    input.checked = false;
    input.dispatchEvent(new Event("input", { bubbles: true }));
  }
  return gettext("Cleared.");
}

// Everything the form says, or the words that tell what is still open.
export function fields(form) {
  const open = missing(form);
  if (open.length) {
    focusRow(open[0]);
    const names = open.map((row) => row.dataset.names ?? row.querySelector("legend")?.textContent.trim()).join(", ");
    return { open: gettext("Still open: %(names)s", { names }) };
  }
  const sent = Object.fromEntries(new FormData(form));
  for (const name of Object.keys(sent)) {
    if (["csrf_token", "key", "token"].includes(name) || name.startsWith("place_") || sent[name] === "") delete sent[name];
  }
  const order = rank.order(form);
  return { sent: order && !sent.choice ? { ...sent, order } : sent };
}
