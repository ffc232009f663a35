// What a key does stands in the page, as the server made it for this person (app/core/keys.py): {"z": "undo", …}. Dead in
// fields, in dialogs, with a modifier, and while a key is held down.

const FIELDS = "input:not([type=radio]):not([type=checkbox]), textarea, select, [contenteditable]";

// commands: functions by name. answer: {special(command), cell(selector), choose(cell), reason(button)}, for what depends
// on the form on the screen.
export function bindKeys(commands, answer) {
  const table = JSON.parse(document.getElementById("dock").dataset.keys);
  document.addEventListener("keydown", (event) => {
    const composed = event.isComposing || ((event.ctrlKey || event.altKey) && !event.getModifierState("AltGraph"));
    if (composed || event.metaKey || document.querySelector("dialog[open]")) return;
    if (event.key === "Escape") { commands.leave(event); return; }
    if (event.target.closest(FIELDS) || native(event)) return;
    const command = namesOf(event).map((name) => table[name]).find(Boolean);
    const act = command && meaning(command, event, commands, answer);
    if (!act) return;
    event.preventDefault();
    if (!event.repeat || command === "scroll") act();
  });
}

// What the focused control does with this key by itself.
function native({ key, target }) {
  if (key === "Enter") return target.closest("button, summary, a");
  return key === " " ? target.closest("button, summary, a, label") : key.startsWith("Arrow") && target.closest(".switch");
}

// How the table may call this key. A digit is the key in its place, a letter the character that is typed, or, on keyboards
// of other scripts, the Latin letter of that key.
function namesOf({ key, code, shiftKey }) {
  const digit = /^(?:Digit|Numpad)([0-9])$/.exec(code)?.[1];
  if (digit && (!shiftKey || /^[0-9]$/.test(key))) return [digit];
  if (key === " ") return ["Space"];
  const letter = /^[a-z]$/i.test(key) ? key : /^Key([A-Z])$/.exec(code)?.[1];
  const latin = letter && (shiftKey ? `Shift+${letter.toUpperCase()}` : letter.toLowerCase());
  return [latin && letter === key ? latin : key.length === 1 ? key.toLowerCase() : key, latin];
}

function meaning(command, event, commands, answer) {
  const digit = /^[0-9]$/.test(command);
  if (digit && document.querySelector(".why[open]")) {
    const reason = answer.cell(`[data-reason][data-press="${command}"]`);
    return reason && (() => answer.reason(reason));
  }
  const special = answer.special(command);
  if (special) return special;
  const cell = answer.cell(`[data-choice][data-press~="${command}"]`);
  if (cell) return () => answer.choose(cell);
  return commands[command] && (() => commands[command](event, "key"));
}
