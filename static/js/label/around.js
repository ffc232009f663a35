// What stands around the task on every label page: what is said, the guidelines, progress, the sheet of keys, the note, and
// the page while somebody pauses.

import { sendKey } from "./keys.js";
import { gettext } from "../words.js";

const said = document.getElementById("said");
const dock = document.getElementById("dock");

// To screen readers.
export function tell(words) { if (words) said.textContent = words; }

// To everybody, for a moment.
let gone;
export function toast(words) {
  document.querySelector(".toast")?.remove();
  const box = document.createElement("div");
  box.className = "toast";
  box.textContent = words;
  if (dock.classList.contains("talk-dock") && !dock.hidden) box.style.setProperty("--dock", `${dock.offsetHeight}px`); // not over the composer
  document.getElementById("main").append(box);
  tell(words);
  clearTimeout(gone);
  gone = setTimeout(() => box.remove(), 6000);
}

export function entitle(words) { document.title = `${words} · ${dock.dataset.project} · Palate`; }

export function progress(today) {
  const place = document.getElementById("progress");
  const goal = Number(place.dataset.goal);
  place.querySelector(".figures").textContent = goal ? gettext("%(n)s of %(goal)s today", { n: today, goal }) : gettext("%(n)s today", { n: today });
  if (goal) place.querySelector("progress").value = today;
}

export function drawer() {
  const box = document.getElementById("drawer");
  box.hidden = !box.hidden;
  (box.hidden ? document.getElementById("task-title") : box.querySelector(".body"))?.focus({ preventScroll: true });
}

export function isDrawerOpen() { return !document.getElementById("drawer").hidden; }

// The keys of the form that is on the screen, as it says them itself.
export function fillSheet() {
  const own = dock.querySelector("form.answer template.keys-of");
  if (own) document.getElementById("keys-answer").replaceChildren(own.content.cloneNode(true));
}

export function showSheet() {
  fillSheet();
  document.getElementById("keys").showModal();
}

export function openNote(form, open) {
  form.querySelector(".note").hidden = !open;
  form.querySelector('[data-command="note"]').setAttribute("aria-expanded", open);
}

export function toggleNote(form) {
  if (!form?.querySelector(".note")) return;
  const open = form.querySelector(".note").hidden;
  openNote(form, open);
  if (open) form.querySelector("#note").focus();
}

export function showPaused() {
  dock.hidden = true;
  entitle(gettext("Paused"));
  const place = document.getElementById("paused");
  place.hidden = false;
  place.querySelector("button").focus({ preventScroll: true });
  tell(sendKey ? gettext("Paused. %(key)s goes on.", { key: sendKey }) : gettext("Paused"));
}

export function hidePaused() { document.getElementById("paused").hidden = true; }
