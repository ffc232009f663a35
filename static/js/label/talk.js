// A talk: what is said goes to the model, its replies stream in side by side, one key chooses, and the talk goes on. After
// each act the server's own rendering of the talk replaces what stands here.

import { events } from "../events.js";
import { ActiveTime } from "./active.js";
import { appear, isAwake } from "./awake.js";
import * as drafts from "./drafts.js";
import { bindKeys } from "./keys.js";
import { toggleDifferences, toggleSource, turn } from "./panes.js";
import * as rows from "./rows.js";
import * as seen from "./seen.js";
import * as veil from "./veil.js";
import { gettext } from "../words.js";

const AGAIN = 10_000; // ms until a model that is not there is asked again
const LOST = gettext("The connection was lost. Trying again in a moment.");

const dock = document.getElementById("dock");
const holder = document.getElementById("holder");
const said = document.getElementById("said");
const save = document.getElementById("save");
const base = dock.dataset.base;
const active = new ActiveTime();
const reading = { source: false, differences: false };
let busy = false;
let later;

const talk = () => document.getElementById("task");
const form = () => document.getElementById("answer");
const message = () => document.getElementById("message");
const draftName = () => `palate-talk:${talk().dataset.key}:${talk().dataset.at}`;

function tell(words) { if (words) said.textContent = words; }

function toast(words) {
  document.querySelector(".toast")?.remove();
  const box = document.createElement("div");
  box.className = "toast";
  box.textContent = words;
  document.body.append(box);
  setTimeout(() => box.remove(), 6000);
  tell(words);
}

function post(path, fields, accept = "application/json") {
  const token = document.querySelector('meta[name="csrf-token"]').content;
  return fetch(`${base}/${path}`, { method: "POST", headers: { Accept: accept, "X-CSRF-Token": token }, body: new URLSearchParams(fields), redirect: "error" });
}

async function why(response) {
  const body = await response.json().catch(() => ({}));
  return body.problems?.map((one) => one.message).join(" ") || body.message || gettext("The server could not take it. Nothing was stored.");
}

// What the server shows now takes the place of what is here.
function show(html) {
  const page = new DOMParser().parseFromString(html, "text/html");
  const open = talk().querySelector(".reveal")?.checked;
  holder.replaceChildren(document.adoptNode(page.querySelector("article.task")));
  dock.replaceChildren(...[...page.querySelector(".dock-parts").children].map((part) => document.adoptNode(part)));
  if (open && talk().querySelector(".reveal")) talk().querySelector(".reveal").checked = true; // the same talk
  if (reading.source) toggleSource();
  if (reading.differences) toggleDifferences();
  reading.source = reading.differences = false;
  begin();
}

async function refresh() {
  const response = await fetch(`${base}/talk/${talk().dataset.key}`, { headers: { Accept: "text/html" }, redirect: "error" });
  if (!response.ok) throw new Error(LOST);
  show(await response.text());
}

function begin() {
  appear();
  const title = talk().querySelector("h1").textContent;
  document.title = `${title} · ${dock.dataset.project} · Palate`;
  const writing = message();
  if (writing && !writing.disabled) writing.value ||= sessionStorage.getItem(draftName()) ?? "";
  down();
  active.begin();
  seen.open(talk());
  talk().querySelector("h1").focus({ preventScroll: true });
  const { state } = talk().dataset;
  if (state === "ending") {
    const task = { key: talk().dataset.key, read: talk(), form: form() };
    drafts.keep(task);
    rows.open(task);
  }
  clearTimeout(later);
  if (state === "owed" || state === "writing") say("");
}

// The newest words in view: the replies from their top, else the end of the talk.
function down() {
  const scroll = talk().querySelector(".talk-scroll");
  const replies = talk().querySelector("#now .replies");
  scroll.scrollTop = scroll.scrollHeight;
  if (replies) scroll.scrollTop = Math.min(scroll.scrollTop, replies.offsetTop - scroll.offsetTop - scroll.clientHeight / 3);
}

function bubble(text) {
  const place = document.getElementById("bubble").content.cloneNode(true);
  place.querySelector(".material").textContent = text;
  place.querySelector(".material").classList.add("live");
  return place;
}

// Says something, or asks for the replies that are owed, and shows them as they come.
async function say(text) {
  if (busy) return;
  busy = true;
  document.getElementById("trouble").replaceChildren();
  const now = document.getElementById("now");
  const box = message();
  if (text) document.querySelector(".said").append(bubble(text));
  now.replaceChildren(document.getElementById("streaming").content.cloneNode(true));
  if (box) box.disabled = true;
  writable(false);
  down();
  const { key, token } = talk().dataset;
  let trouble = LOST;
  try {
    const response = await post("talk/stream", { key, token, text }, "application/json, text/event-stream");
    if (!response.ok) trouble = await why(response);
    else trouble = await listen(response, now);
  } catch { /* the connection: said below */ }
  busy = false;
  if (trouble) await failed(trouble, text);
  else {
    sessionStorage.removeItem(draftName());
    await refresh().then(() => tell(gettext("The replies are there. Which one should the talk go on with?")), () => failed(LOST, text));
  }
}

// The button of the composer goes while replies are written.
function writable(on) {
  const button = document.querySelector("#say button");
  if (button) button.hidden = !on;
}

// Returns what went wrong, or nothing.
async function listen(response, now) {
  const places = [...now.querySelectorAll(".live")];
  for await (const event of events(response)) {
    if (event.error) return event.error;
    if (event.done) return "";
    const follow = atEnd();
    if (event.again) places[event.slot].textContent = "";
    else places[event.slot].append(event.text);
    if (follow) talk().querySelector(".talk-scroll").scrollTop = talk().querySelector(".talk-scroll").scrollHeight;
  }
  return LOST;
}

function atEnd() {
  const { scrollTop, clientHeight, scrollHeight } = talk().querySelector(".talk-scroll");
  return scrollHeight - scrollTop - clientHeight < 40;
}

// The talk as it was, the text still in its field, and why there is no reply. What is owed is asked for again by itself.
async function failed(words, text) {
  const { at, state } = talk().dataset;
  document.getElementById("now").replaceChildren();
  document.querySelectorAll(".said .live").forEach((one) => one.closest(".says").remove());
  if (message()) message().disabled = state === "owed";
  writable(true);
  if (text && message()) message().value = text;
  const notice = document.getElementById("trouble-notice").content.cloneNode(true);
  notice.querySelector("strong").textContent = words;
  notice.querySelector(".notice").setAttribute("role", "alert");
  document.getElementById("trouble").replaceChildren(notice);
  down();
  clearTimeout(later);
  later = setTimeout(() => { if (talk().dataset.at === at && !busy) again(); }, AGAIN);
}

async function again() {
  const kept = message()?.value;
  const focused = document.activeElement === message();
  if (talk().dataset.state === "owed") { say(""); return; }
  if (focused) return; // somebody is writing, and sends it again
  await refresh().catch(() => {}); // a turn that was finished without us
  if (message() && !message().disabled && kept) message().value ||= kept;
}

async function choose(fields, cell, method) {
  if (busy || !isAwake()) return;
  if (veil.closed()) { toast(veil.FIRST); return; }
  busy = true;
  cell?.classList.add("chosen");
  const sent = { ...Object.fromEntries(new FormData(form())), ...fields, active_ms: active.end(), input_method: method, seen: seen.sent() };
  const slowly = setTimeout(() => saving(true), 400);
  try {
    const response = await post("talk/pick", sent);
    if (response.ok) {
      const body = await response.json();
      sessionStorage.removeItem(draftName());
      busy = false;
      show(body.html);
      tell(gettext("Saved. %(answer)s.", { answer: body.sentence }));
    } else toast(await why(response));
  } catch {
    toast(gettext("The server did not answer. Choose again: it is stored once."));
  } finally {
    busy = false;
    clearTimeout(slowly);
    saving(false);
    cell?.classList.remove("chosen");
  }
}

function saving(on) {
  save.dataset.state = on ? "sending" : "saved";
  save.querySelector("use").setAttribute("href", `${dock.dataset.icons}#${on ? "sending" : "check"}`);
  save.querySelector(".words").textContent = on ? gettext("Sending %(n)s", { n: 1 }) : gettext("All saved");
}

function fieldsOf(cell) {
  const { choice, strength } = cell.dataset;
  return { choice, ...(strength ? { strength } : {}) };
}

function send() {
  const box = message();
  if (!box || box.disabled) return;
  if (veil.closed()) { toast(veil.FIRST); return; }
  const text = box.value.trim();
  if (!text) { toast(gettext("Write something first.")); return; }
  if (box.name === "own") choose({ own: text }, null, "key");
  else say(text);
}

// Ending: the questions about the whole, once none is open.
function finish(method) {
  if (veil.closed()) { toast(veil.FIRST); return; }
  const { open } = rows.fields(form());
  if (open) { toast(open); return; }
  form().elements.active_ms.value = active.end();
  form().elements.input_method.value = method;
  form().submit();
}

const isEnding = () => talk()?.dataset.state === "ending";
const click = (selector) => () => document.querySelector(selector)?.click();

function note() {
  const box = form().querySelector(".note");
  if (!box) return;
  box.hidden = !box.hidden;
  form().querySelector('[data-command="note"]').setAttribute("aria-expanded", !box.hidden);
  if (!box.hidden) box.querySelector("textarea").focus();
}

function drawer() {
  const box = document.getElementById("drawer");
  box.hidden = !box.hidden;
  (box.hidden ? talk().querySelector("h1") : box.querySelector(".body")).focus({ preventScroll: true });
}

function leave() {
  const open = document.querySelector(".why[open]");
  if (document.activeElement?.closest("textarea, input:not([type=radio], [type=checkbox])")) document.activeElement.blur();
  else if (open) open.open = false;
  else if (!document.getElementById("drawer").hidden) drawer();
  else document.querySelector("[data-back]")?.click();
}

function keySheet() {
  document.getElementById("keys-answer").replaceChildren(form().querySelector("template.keys-of").content.cloneNode(true));
}

const commands = {
  note, leave, guidelines: drawer, write: () => message()?.focus(),
  undo: click('#dock [data-command="undo"]'),
  skip: click('#dock [data-command="skip"]'),
  report: () => { const box = document.querySelector(".why"); box.open = !box.open; },
  history: () => location.assign(base.replace(/label$/, "history")),
  keys: () => { keySheet(); document.getElementById("keys").showModal(); },
  together: () => {},
  source: () => { reading.source = !reading.source; toggleSource(); },
  differences: () => { reading.differences = !reading.differences; const words = toggleDifferences(); if (words) toast(words); },
  turns: () => document.querySelectorAll(".other").forEach((one) => { one.open = !one.open; }),
  reveal: veil.toggle,
  previous: () => turn(-1),
  next: () => turn(1),
  scroll: (event) => talk().querySelector(".talk-scroll").scrollBy({ top: (event?.shiftKey ? -0.8 : 0.8) * talk().querySelector(".talk-scroll").clientHeight, behavior: "instant" }),
  waiting: () => document.getElementById("waiting").showModal(),
  retry: () => document.getElementById("waiting").close(),
};
const OWN = ["undo", "skip", "send"]; // plain submits, with or without this script

document.addEventListener("click", (event) => {
  const label = isEnding() && !event.target.matches("input") && event.target.closest("label.option");
  if (label) { event.preventDefault(); tell(rows.pick(label, form(), "pointer")); return; }
  const cell = event.target.closest("[data-choice]");
  const command = event.target.closest("[data-command]")?.dataset.command;
  if (cell) { event.preventDefault(); choose(fieldsOf(cell), cell, "pointer"); return; }
  if (command === "keys") keySheet();
  if (!command || command === "report" || command === "keys" || OWN.includes(command)) return; // summary, data-opens and forms do it
  event.preventDefault();
  commands[command]?.(event);
});
document.addEventListener("submit", (event) => {
  if (event.target.id === "say") {
    event.preventDefault();
    if (talk().dataset.state === "owed") say("");
    else send();
  } else if (event.target.id === "answer" && isEnding()) {
    event.preventDefault();
    finish("pointer");
  }
});
document.addEventListener("input", (event) => {
  if (event.target === message()) sessionStorage.setItem(draftName(), event.target.value);
});
document.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey) || event.repeat) return;
  if (isEnding()) finish("key");
  else if (event.target === message()) send();
  else return;
  event.preventDefault();
});

bindKeys(commands, {
  cell: (name) => form()?.querySelector(`.gate:not([inert]) ${name}, .reasons ${name}`),
  choose: (cell) => choose(fieldsOf(cell), cell, "key"),
  reason: (button) => button.click(),
  special: (command) => {
    if (veil.stops(command)) return () => toast(veil.FIRST);
    if (!isEnding()) return null;
    const act = rows.key(command, form());
    if (act) return () => tell(act());
    return command === "send" ? () => finish("key") : null;
  },
});

veil.listen(tell);
begin();
dock.dataset.ready = "yes"; // keys work from here on
