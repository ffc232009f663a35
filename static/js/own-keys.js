// The settings page: a field of an own key takes the key that is pressed in it. Without this file its name is typed.

const MOVES = ["Tab", "Shift", "Control", "Alt", "Meta", "AltGraph", "CapsLock", "Dead", "Process", "Unidentified"]; // no keys of a layout

document.addEventListener("keydown", (event) => {
  const field = event.target.closest("[data-key-input]");
  const composed = (event.ctrlKey || event.altKey || event.metaKey) && !event.getModifierState("AltGraph") && event.key !== "Enter";
  if (!field || composed || event.isComposing || MOVES.includes(event.key)) return;
  event.preventDefault();
  field.value = ["Backspace", "Delete"].includes(event.key) ? "" : nameOf(event);
});

function nameOf({ key, code, shiftKey, ctrlKey, metaKey, altKey }) {
  if (key === "Enter") return `${ctrlKey || metaKey ? "Ctrl+" : altKey ? "Alt+" : shiftKey ? "Shift+" : ""}Enter`;
  if (key === "Escape") return key;
  const digit = /^(?:Digit|Numpad)([0-9])$/.exec(code)?.[1];
  if (digit && !shiftKey) return digit;
  if (key === " ") return "Space";
  if (key.length > 1) return key.startsWith("Arrow") ? key : "";
  return shiftKey && /[a-z]/i.test(key) ? `Shift+${key.toUpperCase()}` : key.toLowerCase();
}
