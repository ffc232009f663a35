// What a key does stands in the page, as the server made it for this person (app/core/keys.py): {"z": "undo", …}. Dead in
// fields, in dialogs, with a modifier, and while a key is held down. Within a field two commands work: leaving it with Esc,
// and sending from within it with the key that is made for that, such as Ctrl+Enter.

const FIELDS = "input:not([type=radio]):not([type=checkbox]), textarea, select, [contenteditable]";
const { keys, sends } = document.getElementById("dock").dataset;
const table = JSON.parse(keys);

// What stands on the key that sends; empty where somebody gave it away.
export const sendKey = sends;

// commands: functions by name. answer: {special(command), cell(selector), choose(cell), reason(button)}, for what depends
// on the form on the screen.
export function bindKeys(commands, answer) {
  document.addEventListener("keydown", (event) => {
    if (event.isComposing || document.querySelector("dialog[open]")) return;
    const command = namesOf(event).map((name) => table[name]).find(Boolean);
    const typing = event.target.closest(FIELDS);
    if (!command || (typing ? !worksInFields(command, event) : native(event))) return;
    const act = meaning(command, event, commands, answer);
    if (!act) return;
    event.preventDefault();
    if (!event.repeat || command === "scroll") act();
  });
}

function worksInFields(command, { key }) { return command === "finish" || (command === "leave" && key === "Escape"); }

// What the focused control does with this key by itself.
function native({ key, target, ctrlKey, metaKey }) {
  if (key === "Enter") return !ctrlKey && !metaKey && target.closest("button, summary, a");
  return key === " " ? target.closest("button, summary, a, label") : key.startsWith("Arrow") && target.closest(".switch");
}

// How the table may call this key. A digit is the key in its place, a letter the character that is typed, or, on keyboards
// of other scripts, the Latin letter of that key. With Ctrl, ⌘ or Alt only Enter is one.
function namesOf(event) {
  const { key, code, shiftKey } = event;
  const composed = event.metaKey || ((event.ctrlKey || event.altKey) && !event.getModifierState("AltGraph"));
  if (composed) return key === "Enter" ? [event.altKey ? "Alt+Enter" : "Ctrl+Enter"] : [];
  if (key === "Enter" && shiftKey) return ["Shift+Enter", "Enter"];
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
