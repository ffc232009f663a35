// What is said in a talk, as it stands on the page: the server's own rendering, and replies while they are written.

import { events } from "../events.js";
import { toggleDifferences, toggleSource } from "./panes.js";
import { gettext } from "../words.js";

export const LOST = gettext("The connection was lost. Trying again in a moment.");

const holder = document.getElementById("holder");
const dock = document.getElementById("dock");
const reading = { source: false, differences: false };

export const talk = () => document.getElementById("task");
export const form = () => document.getElementById("answer");
export const message = () => document.getElementById("message");
export const stateOf = () => talk().dataset.state;
const scroller = () => talk().querySelector(".talk-scroll");

// The turn that waits for a choice, or else the talk: what the form on the screen answers.
export const keyOf = () => form().elements.key.value;

// What the server shows now takes the place of what is here. False where it is about another talk.
export function put(html) {
  const page = new DOMParser().parseFromString(html, "text/html");
  const read = page.querySelector("article.task");
  if (read?.dataset.key !== talk().dataset.key) return false;
  const open = talk().querySelector(".reveal")?.checked;
  holder.replaceChildren(document.adoptNode(read));
  dock.replaceChildren(...[...page.querySelector(".dock-parts").children].map((part) => document.adoptNode(part)));
  if (open && talk().querySelector(".reveal")) talk().querySelector(".reveal").checked = true; // the same talk
  if (reading.source) toggleSource();
  if (reading.differences) toggleDifferences();
  reading.source = reading.differences = false;
  return true;
}

export function source() {
  reading.source = !reading.source;
  toggleSource();
}

// Returns what there is to say about it.
export function differences() {
  reading.differences = !reading.differences;
  return toggleDifferences();
}

export function unfold() { document.querySelectorAll(".other").forEach((one) => { one.open = !one.open; }); }

export function scroll(back) { scroller().scrollBy({ top: (back ? -0.8 : 0.8) * scroller().clientHeight, behavior: "instant" }); }

// The newest words in view: the replies from their top, else the end of the talk.
export function down() {
  const replies = talk().querySelector("#now .replies");
  const box = scroller();
  box.scrollTop = box.scrollHeight;
  if (replies) box.scrollTop = Math.min(box.scrollTop, replies.offsetTop - box.offsetTop - box.clientHeight / 3);
}

// Places for the replies to what was just said, below it.
export function awaitReplies(text) {
  document.getElementById("trouble").replaceChildren();
  if (text) document.querySelector(".said").append(bubble(text));
  document.getElementById("now").replaceChildren(document.getElementById("streaming").content.cloneNode(true));
  writable(false);
  down();
}

function bubble(text) {
  const place = document.getElementById("bubble").content.cloneNode(true);
  place.querySelector(".material").textContent = text;
  place.querySelector(".material").classList.add("live");
  return place;
}

// Shows replies as they come. Returns what went wrong, or nothing.
export async function listen(response) {
  const places = [...document.querySelectorAll("#now .live")];
  for await (const event of events(response)) {
    if (event.error) return event.error;
    if (event.done) return "";
    const follow = scroller().scrollHeight - scroller().scrollTop - scroller().clientHeight < 40;
    if (event.again) places[event.slot].textContent = "";
    else places[event.slot].append(event.text);
    if (follow) scroller().scrollTop = scroller().scrollHeight;
  }
  return LOST;
}

// The talk as it was, the text still in its field, and why there is no reply.
export function failed(words, text) {
  document.getElementById("now").replaceChildren();
  document.querySelectorAll(".said .live").forEach((one) => one.closest(".says").remove());
  writable(true);
  if (text && message()) message().value = text;
  if (words) {
    const notice = document.getElementById("trouble-notice").content.cloneNode(true);
    notice.querySelector("strong").textContent = words;
    notice.querySelector(".notice").setAttribute("role", "alert");
    document.getElementById("trouble").replaceChildren(notice);
  }
  down();
}

// The composer, closed while replies are written or a choice waits to be sent.
export function writable(on) {
  const writes = talk().dataset.at.endsWith("ready") || message()?.name === "own";
  if (message()) message().disabled = !on || !writes;
  const button = document.querySelector("#say button");
  if (button) button.hidden = !on;
}
