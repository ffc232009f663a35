// Sensitive texts: hidden by the style sheet while a box is not ticked (templates/labeling/_veil.html). Nothing is answered
// before. Each task has a box of its own, so that showing one text shows no other.

import { measure } from "./panes.js";
import { gettext } from "../words.js";

export const FIRST = gettext("Show the text first: this task is marked sensitive.");
const ANSWERS = /^([0-9]|bad|left|right|back|send|finish)$/;

const box = () => document.querySelector("#task .reveal");

export function closed() { return Boolean(box()) && !box().checked; }

// Whether a command would answer what nobody can have read.
export function stops(command) { return closed() && ANSWERS.test(command); }

export function toggle() { box()?.click(); }

// say: tells words to screen readers.
export function listen(say) {
  document.addEventListener("change", (event) => {
    if (!event.target.matches(".reveal")) return;
    say(closed() ? gettext("The text is hidden.") : gettext("The text is shown."));
    measure();
  });
}
