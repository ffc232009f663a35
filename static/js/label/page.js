// The label page. One key answers: the answer goes into the outbox, the next task is shown from memory, the server is told.

import { ActiveTime } from "./active.js";
import { appear, doze, isAwake, wake } from "./awake.js";
import { Breaks } from "./breaks.js";
import * as confirm from "./confirm.js";
import * as drafts from "./drafts.js";
import { prefill } from "./edit.js";
import { bindKeys } from "./keys.js";
import { Leases } from "./lease.js";
import * as marks from "./marks.js";
import { Outbox } from "./outbox.js";
import * as panes from "./panes.js";
import * as rank from "./rank.js";
import * as rows from "./rows.js";
import * as seen from "./seen.js";
import { SignInAgain } from "./signin.js";
import * as veil from "./veil.js";
import * as write from "./write.js";
import { gettext, ngettext, onward } from "../words.js";

const HOLD = 90; // ms the chosen cell keeps its colour; the next task's texts are there at once
const AHEAD = 1;
const AGAIN = 8_000; // ms between looks for new tasks when there are none

const dock = document.getElementById("dock");
const holder = document.getElementById("holder");
const nothing = document.getElementById("nothing");
const save = document.getElementById("save");
const said = document.getElementById("said");
const active = new ActiveTime();
const ready = []; // tasks in memory: {key, read, form}
const shown = new Map(); // tasks just answered and not yet sent, for an undo without a server
const base = dock.dataset.base;
const { edits } = dock.dataset; // set where an answer is changed: where to go then
let leaving = false;
let fetching = false;
let pending = null; // the task whose texts are shown while the dock still holds the answer before
let paused = false;
let count = Number(document.getElementById("progress").dataset.today);

const outbox = new Outbox(base, dock.dataset.owner, onOutbox, () => (edits || paused ? [] : have()));
const again = new SignInAgain(outbox, () => fill());
const breaks = new Breaks(document.getElementById("break"), dock.dataset.owner, (words) => { said.textContent = words; });

function taskOf(root) {
  const read = root.querySelector("article.task");
  const form = root.querySelector("form.answer");
  return read && form ? { key: read.dataset.key, read, form } : null;
}

function current() { return taskOf(document); }

function have() { return [current()?.key, ...ready.map((task) => task.key), ...outbox.keys()].filter(Boolean); }

function show(task) {
  doze();
  holder.replaceChildren(...(task ? [task.read] : []));
  dock.replaceChildren(...(task ? [task.form] : []));
  nothing.hidden = Boolean(task);
  dock.hidden = !task;
  if (!task) {
    document.title = `${gettext("Nothing to compare")} · ${dock.dataset.project} · Palate`;
    nothing.querySelector("h1").focus({ preventScroll: true });
    return;
  }
  begin(task);
}

function begin(task) {
  leaving = false;
  appear();
  if (!edits) {
    const title = gettext("Task %(n)s", { n: count + outbox.entries().length + 1 });
    task.read.querySelector("h1").textContent = title;
    document.title = `${title} · ${dock.dataset.project} · Palate`;
  }
  for (const cell of task.form.querySelectorAll(".chosen")) cell.classList.remove("chosen");
  task.form.querySelector(".why")?.removeAttribute("open");
  confirm.clear(task.form);
  drafts.keep(task);
  if (task.form.querySelector("#note")?.value) openNote(task.form, true);
  panes.open(task.read);
  seen.open(task.read);
  rank.open(task.form);
  write.open(task);
  marks.open(task);
  if (edits) prefill(task);
  rows.open(task);
  active.begin();
  task.read.querySelector("h1").focus({ preventScroll: true });
}

function openNote(form, open) {
  form.querySelector(".note").hidden = !open;
  form.querySelector('[data-command="note"]').setAttribute("aria-expanded", open);
}

function toggleNote() {
  const { form } = current();
  if (!form.querySelector(".note")) return;
  const open = form.querySelector(".note").hidden;
  openNote(form, open);
  if (open) form.querySelector("#note").focus();
  panes.measure();
}

// act: answer, skip or report. Stored on this device first, then shown, then sent.
function send(act, fields, cell, method) {
  const task = current();
  if (!task || leaving || !isAwake()) return;
  if (edits && act !== "answer") return;
  if (act === "answer" && veil.closed()) { toast(veil.FIRST); return; }
  leaving = true;
  doze();
  for (const other of task.form.querySelectorAll(".chosen")) other.classList.remove("chosen");
  cell?.classList.add("chosen");
  const form = new FormData(task.form);
  const note = act === "answer" ? form.get("note") : "";
  outbox.put(edits ? "edit" : act, {
    key: form.get("key"), token: form.get("token"), ...fields, ...(note ? { note } : {}),
    active_ms: active.end(), ...(act === "answer" ? { input_method: method, seen: seen.sent() } : {}),
  });
  drafts.drop(task);
  if (edits) return; // the page stays until it is saved
  if (act === "answer") document.getElementById("notices").replaceChildren();
  shown.set(task.key, task);
  if (shown.size > 4) shown.delete(shown.keys().next().value);
  said.textContent = `${cell ? confirm.wordsOf(cell) : act}.`;
  const next = ready.shift() ?? null;
  holder.replaceChildren(...(next ? [next.read] : []));
  if (next) panes.glimpse(next.read);
  pending = { next, timer: setTimeout(settle, HOLD) };
}

// The dock follows the texts: now, not when its time has come.
function settle() {
  if (!pending) return;
  const { next, timer } = pending;
  clearTimeout(timer);
  pending = null;
  show(next ?? ready.shift() ?? null); // one may have come since
  fill();
}

function choose(cell, method) {
  const { choice, strength } = cell.dataset;
  const now = () => send("answer", { choice, ...(strength ? { strength } : {}) }, cell, method);
  if ("asks" in dock.dataset) mark(cell, now, method);
  else now();
}

function mark(cell, now, method) {
  if (veil.closed()) toast(veil.FIRST);
  else if (!leaving && isAwake()) tell(confirm.mark(cell, now, method));
}

// An arrow on a graded scale marks; where an arrow is itself an answer, it is one.
function arrow(by) {
  const form = current()?.form;
  const cell = form && confirm.step(form, by);
  if (!cell) return;
  const { choice, strength } = cell.dataset;
  mark(cell, () => send("answer", { choice, ...(strength ? { strength } : {}) }, cell, "key"), "key");
}

function pause() {
  if (edits) return undefined;
  if (paused) return resume();
  settle();
  const keys = [current(), ...ready.splice(0)].filter(Boolean).map((task) => ["key", task.key]);
  paused = true;
  breaks.begin();
  show(null);
  nothing.hidden = true;
  document.title = `${gettext("Paused")} · ${dock.dataset.project} · Palate`;
  const place = document.getElementById("paused");
  place.hidden = false;
  place.querySelector("button").focus({ preventScroll: true });
  said.textContent = gettext("Paused. Enter goes on.");
  // Without the server the lease ends by itself; there is nothing that the person could do about it.
  return keys.length ? outbox.post("pause", keys).catch(() => null) : null;
}

async function resume() {
  paused = false;
  await fill();
  document.getElementById("paused").hidden = true;
  if (!current()) show(null);
}

function sendRank(method) {
  const { form } = current();
  const order = rank.order(form);
  if (!order) return toast(gettext("Not every answer has its place yet."));
  const button = form.querySelector('[data-command="rank"]');
  button.dataset.said = rank.sentence(form);
  return send("answer", { order }, button, method);
}

// A form of several questions: all of it, once nothing is open.
function sendAll(method) {
  const { form } = current();
  const { open, sent } = rows.fields(form);
  if (open) return toast(open);
  const button = form.querySelector(".send");
  button.dataset.said = gettext("Sent");
  return send("answer", sent, button, method);
}

function tell(words) { if (words) said.textContent = words; }

// The keys of the form that is on the screen, as it says them itself.
function keySheet() {
  const own = current()?.form.querySelector("template.keys-of");
  if (own) document.getElementById("keys-answer").replaceChildren(own.content.cloneNode(true));
}

async function fill() {
  if (paused || fetching || outbox.asking || edits || outbox.needs || ready.length >= AHEAD + (current() ? 0 : 1) || !navigator.onLine) return;
  fetching = true;
  try {
    const query = new URLSearchParams(have().map((key) => ["have", key]));
    const response = await fetch(`${base}/next?${query}`, { headers: { Accept: "text/html" }, redirect: "manual" });
    if (response.type === "opaqueredirect") await outbox.check(); // to the sign-in page
    if (response.status === 200) take(await response.text());
    if (response.status === 205 && !current()) location.assign(base); // a talk: it has a page of its own
  } catch { /* offline: the outbox says so, and coming back fills again */ } finally { fetching = false; }
}

function take(html) {
  const page = new DOMParser().parseFromString(html, "text/html");
  const task = taskOf(page);
  const why = page.getElementById("nothing");
  if (why) nothing.replaceChildren(...why.childNodes);
  if (!task || have().includes(task.key)) return;
  if (paused) { outbox.post("pause", { key: task.key }).catch(() => null); return; }
  ready.push({ key: task.key, read: document.adoptNode(task.read), form: document.adoptNode(task.form) });
  if (!pending && !current()) show(ready.shift());
  if (ready.length < AHEAD) setTimeout(fill, 0);
}

async function undo() {
  if (edits) return undefined;
  settle();
  const local = outbox.takeBack();
  if (local) {
    const task = shown.get(local.fields.key);
    if (task) back(task);
    return toast(gettext("Taken back. It had not been sent yet."));
  }
  await outbox.now();
  if (outbox.entries().length) return toast(gettext("Undo needs the server, and it cannot be reached. Your answers are kept."));
  let response;
  try { response = await outbox.post("undo", {}); } catch { return toast(gettext("The server did not answer. Nothing was taken back.")); }
  if (response.status === 401) return outbox.check();
  if (!response.ok) return toast(gettext("The server could not take it back. Try again."));
  const body = await response.json();
  progress(body.today);
  toast(body.said);
  if (body.elsewhere) return location.assign(base);
  if (!body.task) return undefined;
  const task = taskOf(new DOMParser().parseFromString(body.task, "text/html"));
  return back({ key: task.key, read: document.adoptNode(task.read), form: document.adoptNode(task.form) });
}

function back(task) {
  const now = current();
  if (now && now.key !== task.key) ready.unshift(now);
  show(task);
}

function progress(today) {
  count = today;
  const place = document.getElementById("progress");
  const goal = Number(place.dataset.goal);
  place.querySelector(".figures").textContent = goal ? gettext("%(n)s of %(goal)s today", { n: today, goal }) : gettext("%(n)s today", { n: today });
  if (goal) place.querySelector("progress").value = today;
}

const WORDS = {
  saved: ["check", () => gettext("All saved")],
  sending: ["sending", (n) => gettext("Sending %(n)s", { n })],
  kept: ["offline", (n) => gettext("%(n)s kept on this device", { n })],
  signin: ["warning", (n) => (n ? gettext("Sign in to send %(n)s", { n }) : gettext("Sign in again"))],
  other: ["person", (n) => (n ? gettext("%(n)s kept on this device", { n }) : gettext("Sign in again"))],
};
let slowly;
function onOutbox({ ack, elsewhere, state, waiting, delay, online }) {
  if (ack) return onAck(ack);
  if (elsewhere) return drop(elsewhere);
  clearTimeout(slowly);
  // A quick save needs no words in between; but never "All saved" while something waits.
  if (state === "sending" && save.dataset.state === "saved") slowly = setTimeout(() => outbox.tell(), 400);
  else paint(state, waiting);
  if (state === "sending" && save.dataset.state === "saved") save.dataset.state = "sending-soon";
  const then = online ? gettext("Tried again in %(n)s s.", { n: Math.round((delay ?? 1000) / 1000) }) : gettext("You are offline.");
  document.getElementById("waiting-words").textContent = waiting
    ? [ngettext("%(n)s answer is kept on this device.", "%(n)s answers are kept on this device.", waiting), state === "signin" ? gettext("Sign in again to send.") : then].join(" ")
    : gettext("Nothing. Every answer is saved on the server.");
  again.needed(outbox.needs, waiting);
  return undefined;
}

// Another window answered a task that this one has as well.
function drop(key) {
  settle();
  const index = ready.findIndex((task) => task.key === key);
  if (index >= 0) ready.splice(index, 1);
  if (current()?.key === key && !leaving) {
    show(ready.shift() ?? null);
    toast(gettext("You answered that task in another window."));
  }
  fill();
}

function paint(state, waiting) {
  const [icon, words] = WORDS[state];
  save.dataset.state = state;
  save.querySelector("use").setAttribute("href", `${dock.dataset.icons}#${icon}`);
  save.querySelector(".words").textContent = words(waiting);
}

function onAck(body) {
  if (body.refused) {
    if (edits) { leaving = false; wake(); } // a change that was refused may be made otherwise
    toast(body.message ?? body.detail ?? gettext("One task was not yours any more; its answer could not be stored."));
  } else {
    progress(body.today);
    if (body.next) take(body.next);
    said.textContent = gettext("Saved. %(answer)s.", { answer: body.sentence });
    if (edits && !outbox.entries().length) location.assign(edits);
    if (body.late) toast(gettext("That task's lease had ended. Your answer is kept and marked late."));
  }
  fill();
}

let toastTimer;
function toast(words) {
  document.querySelector(".toast")?.remove();
  const box = document.createElement("div");
  box.className = "toast";
  box.textContent = words;
  document.getElementById("main").append(box);
  said.textContent = words;
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => box.remove(), 6000);
}

function drawer() {
  const box = document.getElementById("drawer");
  box.hidden = !box.hidden;
  if (box.hidden) current()?.read.querySelector("h1").focus({ preventScroll: true });
  else box.querySelector(".body").focus({ preventScroll: true });
}

function report(event) {
  const why = current()?.form.querySelector(".why");
  if (why && !event?.target.closest?.("summary")) why.open = !why.open;
}

function leave() {
  const why = document.querySelector(".why[open]");
  const box = document.getElementById("drawer");
  if (document.activeElement?.closest("textarea, input")) document.activeElement.blur();
  else if (why) why.open = false;
  else if (confirm.pending()) confirm.clear(current().form);
  else if (!box.hidden) drawer();
}

const commands = {
  undo, note: toggleNote, guidelines: drawer, report, leave,
  skip: (event, method) => send("skip", {}, current()?.form.querySelector('[data-command="skip"]'), method),
  history: () => location.assign(base.replace(/label$/, "history")),
  keys: () => { keySheet(); document.getElementById("keys").showModal(); },
  rank: (event, method) => sendRank(method),
  send: (event, method) => sendAll(method),
  preview: async () => { const words = await write.preview(base); if (words) toast(words); },
  confirm: () => confirm.send(),
  pause, resume,
  left: () => arrow(-onward),
  right: () => arrow(onward),
  together: panes.toggleTogether,
  source: panes.toggleSource,
  differences: () => { const words = panes.toggleDifferences(); if (words) toast(words); },
  turns: () => { const turns = document.querySelector(".turns"); if (turns) { turns.open = !turns.open; panes.measure(); } },
  reveal: veil.toggle,
  scroll: (event) => panes.scroll(event?.shiftKey),
  previous: () => panes.turn(-1),
  next: () => panes.turn(1),
  waiting: () => (outbox.needs ? again.open() : document.getElementById("waiting").showModal()),
  retry: () => { document.getElementById("waiting").close(); outbox.now(); },
};

document.addEventListener("click", (event) => {
  const words = rank.click(event.target, current()?.form) ?? marks.click(event.target);
  if (words !== null) return tell(words);
  const label = rows.isOn(current()?.form) && !event.target.matches("input") && event.target.closest("label.cell, label.option, label.nothing-good");
  if (label) { event.preventDefault(); return tell(rows.pick(label, current().form, "pointer")); }
  const cell = event.target.closest("[data-choice]");
  const reason = event.target.closest("[data-reason]");
  const command = event.target.closest("[data-command]")?.dataset.command;
  if (!cell && !reason && !command) return undefined;
  if (command === "keys") keySheet();
  if (command === "report" || command === "keys") return undefined; // summary and data-opens do it
  event.preventDefault();
  if (cell) choose(cell, "pointer");
  else if (reason) send("report", { reason: reason.dataset.reason }, reason, "pointer");
  else commands[command]?.(event, "pointer");
  return undefined;
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && rows.isOn(current()?.form)) { event.preventDefault(); sendAll("key"); }
});
document.addEventListener("submit", (event) => { if (event.target.matches("form.answer")) event.preventDefault(); });

bindKeys(commands, {
  cell: (name) => current()?.form.querySelector(name),
  choose: (cell) => choose(cell, "key"),
  reason: (button) => send("report", { reason: button.dataset.reason }, button, "key"),
  special: (command) => {
    if (paused) return ["send", "pause"].includes(command) ? resume : () => {};
    if (veil.stops(command)) return () => toast(veil.FIRST);
    const form = current()?.form;
    const several = rows.isOn(form);
    const byRow = several && (command === "bad" || !rows.now(form).classList.contains("rank"));
    const act = byRow ? rows.key(command, form) : rank.key(command, form);
    if (act) return () => tell(act());
    if (command !== "send") return null;
    if (several) return () => sendAll("key");
    return form?.dataset.field === "rank" && !confirm.pending() ? () => sendRank("key") : confirm.send;
  },
});

veil.listen(tell);

const ahead = document.getElementById("ahead");
if (ahead) {
  const task = taskOf(ahead.content);
  if (task && !outbox.keys().includes(task.key)) ready.push({ key: task.key, read: document.adoptNode(task.read), form: document.adoptNode(task.form) });
}
const first = current();
// A page loaded again while its answer still waits to be sent: go on with the next one.
if (first && outbox.keys().includes(first.key)) show(ready.shift() ?? null);
else if (first) begin(first);
outbox.drain().then(fill);
addEventListener("online", () => setTimeout(fill, 200));
addEventListener("resize", panes.measure);
document.fonts?.ready.then(panes.measure);
setInterval(() => { if (!document.hidden) fill(); }, AGAIN);
if (!edits) new Leases({ tasks: () => [pending ? null : current(), ...ready].filter(Boolean), post: (...sent) => outbox.post(...sent), idle: () => active.idle(), say: tell, seconds: Number(dock.dataset.lease) });
dock.dataset.ready = "yes"; // keys work from here on
