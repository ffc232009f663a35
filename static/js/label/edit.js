// An answer opened again. Its inputs come filled from the server; here what only a script can show: the cell that was
// chosen, the ranking, the marked passages. Inputs are named as they are sent, after their field's key but for the first.

import * as marks from "./marks.js";
import * as rank from "./rank.js";

export function prefill({ read, form }) {
  const was = JSON.parse(form.dataset.was);
  if (was.order) rank.put(form, was.order);
  const [, spans] = Object.entries(was).find(([name]) => /(^|\.)spans$/.test(name)) ?? [];
  if (spans) marks.put(read, JSON.parse(spans));
  const strength = was.strength ? `[data-strength="${was.strength}"]` : "";
  const cell = was.choice && form.querySelector(`[data-choice="${was.choice}"]${strength}`);
  if (!cell) return;
  cell.classList.add("chosen");
  cell.setAttribute("aria-current", "true");
}
