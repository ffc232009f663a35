// Every admin page: the CSRF header for htmx, one-key page commands, dialogs, and "copy" buttons.
// htmx event names stand only in this file.

import { gettext } from "./words.js";

document.addEventListener("htmx:configRequest", (event) => {
  const token = document.querySelector('meta[name="csrf-token"]')?.content;
  if (token) event.detail.headers["X-CSRF-Token"] = token;
});

document.addEventListener("htmx:beforeSwap", (event) => {
  const { xhr } = event.detail;
  if (xhr.status === 401) location.assign(`/sign-in?next=${encodeURIComponent(location.pathname)}`);
  else kept = stateOf(event.detail.target);
});

// A part that is fetched again keeps what had the focus and what was unfolded in it: the same kind of thing with the same
// words. (What has an id, htmx keeps by itself.)
let kept = null;

function nameOf(element) { return `${element.tagName} ${element.getAttribute("href") ?? ""} ${element.textContent.trim()}`; }

function stateOf(target) {
  const { activeElement } = document;
  const folds = [...target.querySelectorAll("details > summary")].map((one) => [nameOf(one), one.parentElement.open]);
  return { id: target.id, folds: new Map(folds), focused: target.contains(activeElement) && !activeElement.id ? nameOf(activeElement) : null };
}

document.addEventListener("htmx:afterSwap", () => {
  const part = kept && document.getElementById(kept.id);
  for (const summary of part?.querySelectorAll("details > summary") ?? []) {
    const open = kept.folds.get(nameOf(summary));
    if (open !== undefined) summary.parentElement.open = open;
  }
  if (part && kept.focused) [...part.querySelectorAll("a, button, summary, [tabindex]")].find((one) => nameOf(one) === kept.focused)?.focus({ preventScroll: true });
  kept = null;
});

document.addEventListener("click", (event) => {
  const opener = event.target.closest("[data-opens]");
  if (opener) {
    event.preventDefault();
    document.getElementById(opener.dataset.opens)?.showModal();
  }
  if (event.target.closest("[data-closes]")) event.target.closest("dialog")?.close();
  const copy = event.target.closest("[data-copies]");
  if (copy) copyFrom(copy);
  const show = event.target.closest("[data-shows]");
  if (show) showPassword(show);
});

async function copyFrom(button) {
  const source = document.getElementById(button.dataset.copies);
  await navigator.clipboard.writeText(source.value ?? source.textContent.trim());
  const words = button.textContent;
  button.textContent = gettext("Copied");
  setTimeout(() => { button.textContent = words; }, 2000);
}

function showPassword(button) {
  const input = document.getElementById(button.dataset.shows);
  input.type = input.type === "password" ? "text" : "password";
  button.textContent = input.type === "password" ? gettext("Show") : gettext("Hide");
}

document.addEventListener("keydown", (event) => {
  if (event.key !== "/" || event.ctrlKey || event.metaKey || event.target.closest("input, textarea, select")) return;
  const filter = document.querySelector("[data-filter]");
  if (filter) {
    event.preventDefault();
    filter.focus();
  }
});

const first = document.querySelector('[aria-invalid="true"]');
if (first) first.focus();
