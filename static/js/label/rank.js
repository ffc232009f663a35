// Ranking. Digits place answers from best to worst, 0 ties with the last one, Backspace takes back; the last place fills
// itself. All of it by buttons as well, and by dragging: onto a place to stand before it, onto an empty one to come next.

import { andSend } from "./confirm.js";
import { gettext } from "../words.js";

const states = new WeakMap(); // fieldset → {tiers: [["3"], ["1", "2"]], level, before: [earlier states as JSON]}
const WORDS = [gettext("first"), gettext("second"), gettext("third"), gettext("fourth"), gettext("fifth"), gettext("sixth"), gettext("seventh"), gettext("eighth"), gettext("ninth")];

function partsOf(root) {
  const field = root.querySelector("fieldset.rank");
  if (!field) return null;
  if (!states.has(field)) states.set(field, { tiers: [], level: false, before: [] });
  return { field, state: states.get(field), count: Number(field.dataset.rank) };
}

function placed(state) { return state.tiers.flat(); }

function left({ state, count }) {
  return Array.from({ length: count }, (_, i) => String(i + 1)).filter((name) => !placed(state).includes(name));
}

export function open(form) {
  const rank = partsOf(form);
  if (!rank) return;
  rank.field.querySelector(".places").hidden = true;
  for (const part of rank.field.querySelectorAll(".rail-row, .rail-keys")) part.hidden = false;
  for (const part of document.querySelectorAll(".placing")) part.hidden = false;
  draw(rank);
}

// "3>1=2>4" once every answer has its place, else null.
export function order(form) {
  const rank = partsOf(form);
  if (!rank || left(rank).length) return null;
  return rank.state.tiers.map((tier) => tier.join("=")).join(">");
}

// A ranking as `order` writes it, put into the form.
export function put(form, order) {
  const rank = partsOf(form);
  if (rank) change(rank, (state) => { state.tiers = order.split(">").map((tier) => tier.split("=")); });
}

export function sentence(form) { return partsOf(form).state.tiers.map((tier) => tier.join(gettext(" and "))).join(gettext(", then ")); }

// What a command means here, as a function that does it and returns words for the live region; null for any other.
export function key(command, form) {
  const rank = form && partsOf(form);
  if (!rank) return null;
  if (command === "0") return () => level(rank);
  if (/^[1-9]$/.test(command)) return left(rank).includes(command) ? () => place(rank, command) : () => "";
  if (command === "back") return () => back(rank);
  return null;
}

export function click(target, form) {
  const rank = form && partsOf(form);
  if (!rank) return null;
  const name = target.closest("[data-place]")?.dataset.place ?? target.closest("[data-taken]")?.dataset.taken;
  if (name) return placed(rank.state).includes(name) ? remove(rank, name) : place(rank, name);
  const than = target.closest("[data-than]");
  return than ? toggle(rank, Number(than.dataset.than)) : null;
}

function change(rank, act) {
  const { before, ...now } = rank.state;
  before.push(JSON.stringify(now));
  act(rank.state);
  draw(rank);
}

function place(rank, name) {
  change(rank, (state) => {
    if (state.level && state.tiers.length) state.tiers.at(-1).push(name);
    else state.tiers.push([name]);
    state.level = false;
    const rest = left(rank);
    if (rest.length === 1) state.tiers.push(rest);
  });
  return left(rank).length ? gettext("%(name)s placed.", { name }) : andSend(sentence(rank.field.form));
}

function remove(rank, name) {
  change(rank, (state) => {
    state.tiers = state.tiers.map((tier) => tier.filter((one) => one !== name)).filter((tier) => tier.length);
    state.level = false;
  });
  return gettext("%(name)s taken out.", { name });
}

// Before the end: the next one ties with the last. At the end: the last tier joins the one before it, or parts again.
function level(rank) {
  if (rank.field.dataset.ties !== "yes" || !rank.state.tiers.length) return "";
  if (!left(rank).length) return toggle(rank, placed(rank.state).length - 1);
  change(rank, (state) => { state.level = !state.level; });
  return rank.state.level ? gettext("The next one is as good as the last.") : gettext("The next one is worse than the last.");
}

// The step before the place with this number: better than becomes as good as, and back.
function toggle(rank, number) {
  if (rank.field.dataset.ties !== "yes") return "";
  change(rank, (state) => {
    let seen = 0;
    for (const [index, tier] of state.tiers.entries()) {
      const within = number - seen;
      if (within === 0 && index) { state.tiers.splice(index - 1, 2, [...state.tiers[index - 1], ...tier]); return; }
      if (within > 0 && within < tier.length) { state.tiers.splice(index, 1, tier.slice(0, within), tier.slice(within)); return; }
      seen += tier.length;
    }
  });
  return `${sentence(rank.field.form)}.`;
}

function back(rank) {
  const last = rank.state.before.pop();
  if (!last) return "";
  Object.assign(rank.state, JSON.parse(last));
  draw(rank);
  return gettext("Taken back.");
}

function move(rank, name, before) {
  change(rank, (state) => {
    state.tiers = state.tiers.map((tier) => tier.filter((one) => one !== name)).filter((tier) => tier.length);
    const index = state.tiers.findIndex((tier) => tier.includes(before));
    state.tiers.splice(index < 0 ? state.tiers.length : index, 0, [name]);
    state.level = false;
    const rest = left(rank);
    if (rest.length === 1) state.tiers.push(rest);
  });
}

function element(tag, attributes, text = "") {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.textContent = text;
  return made;
}

function draw(rank) {
  const { field, state, count } = rank;
  const rail = field.querySelector(".rail");
  const ties = field.dataset.ties === "yes";
  const focused = document.activeElement?.closest(".rail") ? document.activeElement.getAttribute("aria-label") : null;
  const items = [];
  let number = 0;
  for (const tier of state.tiers) {
    for (const [index, name] of tier.entries()) {
      const item = element("li", {});
      const words = index ? gettext("as good as") : gettext("better than");
      if (number) {
        item.append(ties ? element("button", { type: "button", class: "than", "data-than": number, "aria-label": gettext("%(words)s, before %(name)s", { words, name }) }, words) : element("span", { class: "than" }, words));
      }
      item.append(element("button", { type: "button", class: "slot", draggable: "true", "data-taken": name, "aria-label": gettext("%(name)s, %(first)s place. Take out", { name, first: WORDS[number] }) }, name));
      items.push(item);
      number += 1;
    }
  }
  for (let empty = number; empty < count; empty += 1) {
    const item = element("li", {});
    const first = empty === number;
    if (empty) item.append(element("span", { class: "than" }, first && state.level ? gettext("as good as") : first ? gettext("better than") : "—"));
    item.append(element("span", { class: first ? "slot next" : "slot later", "data-empty": "" }, "?"));
    items.push(item);
  }
  rail.replaceChildren(...items);
  if (focused) (rail.querySelector(`[aria-label="${focused}"]`) ?? rail.querySelector("button"))?.focus();
  const send = field.querySelector('[data-command="rank"]');
  if (send) send.disabled = number < count;
  badges(rank);
}

function ordinal(place) { return { 1: gettext("1st"), 2: gettext("2nd"), 3: gettext("3rd") }[place] ?? gettext("%(n)sth", { n: place }); }

function badges({ state }) {
  let number = 1;
  const places = new Map();
  for (const tier of state.tiers) {
    for (const name of tier) places.set(name, number);
    number += tier.length;
  }
  for (const holder of document.querySelectorAll(".placing")) {
    const button = holder.querySelector("[data-place]");
    const taken = places.get(button.dataset.place);
    const badge = holder.querySelector(".place");
    badge.textContent = taken ? ordinal(taken) : "";
    badge.classList.toggle("set", Boolean(taken));
    button.textContent = taken ? gettext("Take out") : state.level ? gettext("Tie") : gettext("Place next");
    button.setAttribute("aria-label", gettext("%(words)s: answer %(name)s", { words: button.textContent, name: button.dataset.place }));
  }
}

let dragged = null;
document.addEventListener("dragstart", (event) => {
  const from = event.target.closest?.("[data-taken], [data-place]");
  dragged = from ? from.dataset.taken ?? from.dataset.place : null;
  if (dragged) event.dataTransfer.setData("text/plain", dragged);
});
document.addEventListener("dragover", (event) => { if (dragged && event.target.closest(".rail")) event.preventDefault(); });
document.addEventListener("drop", (event) => {
  const rail = event.target.closest(".rail");
  if (!dragged || !rail) return;
  event.preventDefault();
  const onto = event.target.closest("li")?.querySelector("[data-taken]")?.dataset.taken;
  if (onto !== dragged) move(partsOf(rail.closest("form")), dragged, onto);
  dragged = null;
});
