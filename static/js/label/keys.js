// Digits are read from the key's position, letters from the character. Dead in fields, in dialogs, with a modifier, and
// while a key is held down.

const LETTERS = {
  z: "undo", n: "note", s: "skip", r: "report", g: "guidelines", h: "history", l: "together", m: "source", d: "differences", c: "turns",
  "?": "keys", "[": "previous", "]": "next",
};

export function bindKeys(commands, answer) {
  if (document.getElementById("dock").dataset.keys === "off") {
    document.body.classList.add("keys-off");
    return;
  }
  document.addEventListener("keydown", (event) => {
    if (event.isComposing || event.ctrlKey || event.metaKey || event.altKey) return;
    if (document.querySelector("dialog[open]")) return;
    if (event.key === "Escape") { commands.leave(event); return; }
    if (event.target.closest("input:not([type=radio]):not([type=checkbox]), textarea, select, [contenteditable]")) return;
    const act = meaning(event, commands, answer);
    if (!act) return;
    event.preventDefault();
    if (!event.repeat || event.code === "Space") act();
  });
}

function meaning(event, commands, answer) {
  const special = document.querySelector(".why[open]") ? null : answer.special(event);
  if (special) return special;
  const cell = answer.cell(nameOf(event));
  if (cell) return () => (cell.dataset.reason ? answer.reason(cell) : answer.choose(cell));
  if (event.code === "Space" && !event.target.closest("button, summary, a, label")) return () => commands.scroll(event);
  const command = LETTERS[event.key] ?? LETTERS[event.key.toLowerCase()];
  return command && (() => commands[command](event, "key"));
}

// The button that a key stands for, as a selector inside the answer form.
function nameOf(event) {
  const digit = /^(?:Digit|Numpad)([0-9])$/.exec(event.code)?.[1];
  const open = document.querySelector(".why[open]");
  if (open) return digit ? `[data-reason]:nth-of-type(${digit})` : "none";
  if (event.key.toLowerCase() === "x") return '[data-choice$="_bad"]';
  if (digit) return `.cell[aria-keyshortcuts~="${digit}"]`;
  if (event.key.startsWith("Arrow")) return `.cell[aria-keyshortcuts~="${event.key}"]`;
  return "none";
}
