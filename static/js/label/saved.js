// The sign in the top bar, and the sheet behind it: whether every answer is on the server, and what still waits here.

import { gettext, ngettext } from "../words.js";

const save = document.getElementById("save");
const { icons } = document.getElementById("dock").dataset;
const WORDS = {
  saved: ["check", () => gettext("All saved")],
  sending: ["sending", (n) => gettext("Sending %(n)s", { n })],
  kept: ["offline", (n) => gettext("%(n)s kept on this device", { n })],
  signin: ["warning", (n) => (n ? gettext("Sign in to send %(n)s", { n }) : gettext("Sign in again"))],
  other: ["person", (n) => (n ? gettext("%(n)s kept on this device", { n }) : gettext("Sign in again"))],
};
let slowly;

// A state of the outbox, as it tells it.
export function show(outbox, { state, waiting, delay, online }) {
  clearTimeout(slowly);
  // A quick save needs no words in between; but never "All saved" while something waits.
  if (state === "sending" && save.dataset.state === "saved") {
    slowly = setTimeout(() => outbox.tell(), 400);
    save.dataset.state = "sending-soon";
  } else paint(state, waiting);
  const then = online ? gettext("Tried again in %(n)s s.", { n: Math.round((delay ?? 1000) / 1000) }) : gettext("You are offline.");
  document.getElementById("waiting-words").textContent = waiting
    ? [ngettext("%(n)s answer is kept on this device.", "%(n)s answers are kept on this device.", waiting), state === "signin" ? gettext("Sign in again to send.") : then].join(" ")
    : gettext("Nothing. Every answer is saved on the server.");
}

function paint(state, waiting) {
  const [icon, words] = WORDS[state];
  save.dataset.state = state;
  save.querySelector("use").setAttribute("href", `${icons}#${icon}`);
  save.querySelector(".words").textContent = words(waiting);
}
