// The sheet to write on: its preview is made by the server, with the renderer that all answers go through.

import { gettext } from "../words.js";

export function open(task) {
  const button = task.read.querySelector('[data-command="preview"]');
  if (button) button.hidden = false;
}

export async function preview(base) {
  const button = document.querySelector('[data-command="preview"]');
  const pane = button?.closest(".pane");
  if (!pane) return "";
  const [writing, shown] = [pane.querySelector(".writing"), pane.querySelector(".preview")];
  const on = shown.hidden;
  if (on) {
    const token = document.querySelector('meta[name="csrf-token"]').content;
    const response = await fetch(`${base}/preview`, {
      method: "POST", headers: { "X-CSRF-Token": token, Accept: "text/html" }, body: new URLSearchParams({ text: writing.value }), redirect: "error",
    }).catch(() => null);
    if (!response?.ok) return gettext("The preview needs the server, and it did not answer. Your text is kept.");
    shown.replaceChildren(...new DOMParser().parseFromString(await response.text(), "text/html").body.childNodes);
  }
  shown.hidden = !on;
  writing.hidden = on;
  button.setAttribute("aria-pressed", on);
  (on ? shown : writing).focus();
  return "";
}
