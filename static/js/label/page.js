// The label page. One key answers: the answer goes into the outbox, the next task is shown from memory, the server is told.

import { ActiveTime } from "./active.js";
import * as around from "./around.js";
import { tell, toast } from "./around.js";
import { appear, doze, isAwake, wake } from "./awake.js";
import { Breaks } from "./breaks.js";
import { Choosing } from "./choosing.js";
import * as confirm from "./confirm.js";
import * as drafts from "./drafts.js";
import { prefill } from "./edit.js";
import { bindKeys } from "./keys.js";
import { Leases } from "./lease.js";
import * as marks from "./marks.js";
import { Outbox } from "./outbox.js";
import * as panes from "./panes.js";
import { Pile, taskIn } from "./pile.js";
import * as rank from "./rank.js";
import * as rows from "./rows.js";
import * as saved from "./saved.js";
import * as seen from "./seen.js";
import { SignInAgain } from "./signin.js";
import { takeBack } from "./undo.js";
import * as veil from "./veil.js";
import * as write from "./write.js";
import { gettext, onward } from "../words.js";

const HOLD = 90; // ms the chosen cell keeps its colour; the next task's texts are there at once

const dock = document.getElementById("dock");
const holder = document.getElementById("holder");
const nothing = document.getElementById("nothing");
const active = new ActiveTime();
const shown = new Map(); // tasks just answered and not yet sent, for an undo without a server
const base = dock.dataset.base;
const { edits } = dock.dataset; // set where an answer is changed: where to go then
let leaving = false;
let pending = null; // the task whose texts are shown while the dock still holds the answer before
let paused = false;
let count = Number(document.getElementById("progress").dataset.today);

const outbox = new Outbox(base, dock.dataset.owner, onOutbox, () => (edits || paused ? [] : pile.have()));
const pile = new Pile({
  base, outbox,
  may: () => !paused && !edits,
  unwanted: ({ key }) => outbox.post("pause", { key }).catch(() => null),
  arrived: () => { if (!pending && !current()) show(pile.ready.shift()); },
});
const again = new SignInAgain(outbox, () => pile.fill());
const breaks = new Breaks(document.getElementById("break"), dock.dataset.owner, tell);
const choosing = new Choosing({ form: () => current()?.form, may: () => !leaving, send: (fields, cell, method) => send("answer", fields, cell, method) });

function current() { return pile.current(); }

function show(task) {
  doze();
  holder.replaceChildren(...(task ? [task.read] : []));
  dock.replaceChildren(...(task ? [task.form] : []));
  nothing.hidden = Boolean(task);
  dock.hidden = !task;
  if (!task) {
    around.entitle(gettext("Nothing to compare"));
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
    around.entitle(title);
  }
  for (const cell of task.form.querySelectorAll(".chosen")) cell.classList.remove("chosen");
  task.form.querySelector(".why")?.removeAttribute("open");
  confirm.clear(task.form);
  drafts.keep(task);
  if (task.form.querySelector("#note")?.value) around.openNote(task.form, true);
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

function note() {
  around.toggleNote(current()?.form);
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
  tell(`${cell ? confirm.wordsOf(cell) : act}.`);
  const next = pile.ready.shift() ?? null;
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
  show(next ?? pile.ready.shift() ?? null); // one may have come since
  pile.fill();
}

function pause() {
  if (edits) return undefined;
  if (paused) return resume();
  settle();
  const keys = [current(), ...pile.ready.splice(0)].filter(Boolean).map((task) => ["key", task.key]);
  paused = true;
  breaks.begin();
  show(null);
  nothing.hidden = true;
  around.showPaused();
  // Without the server the lease ends by itself; there is nothing that the person could do about it.
  return keys.length ? outbox.post("pause", keys).catch(() => null) : null;
}

async function resume() {
  paused = false;
  await pile.fill();
  around.hidePaused();
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

async function undo() {
  if (edits) return undefined;
  settle();
  const taken = await takeBack(outbox);
  if (!taken) return undefined;
  if (taken.local) return shown.has(taken.local.fields.key) ? back(shown.get(taken.local.fields.key)) : undefined;
  progress(taken.today);
  if (taken.elsewhere) return location.assign(base);
  return taken.task ? back(taskIn(taken.task)) : undefined;
}

function back(task) {
  const now = current();
  if (now && now.key !== task.key) pile.ready.unshift(now);
  show(task);
}

function progress(today) {
  count = today;
  around.progress(today);
}

function onOutbox({ ack, elsewhere, gone, ...state }) {
  if (gone) return undefined;
  if (ack) return onAck(ack);
  if (elsewhere) return drop(elsewhere);
  saved.show(outbox, state);
  return again.needed(outbox.needs, state.waiting);
}

// Another window answered a task that this one has as well.
function drop(key) {
  settle();
  pile.drop(key);
  if (current()?.key === key && !leaving) {
    show(pile.ready.shift() ?? null);
    toast(gettext("You answered that task in another window."));
  }
  pile.fill();
}

function onAck(body) {
  if (body.refused) {
    if (edits) { leaving = false; wake(); } // a change that was refused may be made otherwise
    toast(body.message ?? body.detail ?? gettext("One task was not yours any more; its answer could not be stored."));
  } else {
    progress(body.today);
    if (body.next) pile.take(body.next);
    tell(gettext("Saved. %(answer)s.", { answer: body.sentence }));
    if (edits && !outbox.entries().length) location.assign(edits);
    if (body.late) toast(gettext("That task's lease had ended. Your answer is kept and marked late."));
  }
  pile.fill();
}

function report(event) {
  const why = current()?.form.querySelector(".why");
  if (why && !event?.target.closest?.("summary")) why.open = !why.open;
}

function leave() {
  const why = document.querySelector(".why[open]");
  if (document.activeElement?.closest("textarea, input")) document.activeElement.blur();
  else if (why) why.open = false;
  else if (confirm.pending()) confirm.clear(current().form);
  else if (around.isDrawerOpen()) around.drawer();
}

const commands = {
  undo, note, report, leave, pause, resume, guidelines: around.drawer, keys: around.showSheet,
  skip: (event, method) => send("skip", {}, current()?.form.querySelector('[data-command="skip"]'), method),
  history: () => location.assign(base.replace(/label$/, "history")),
  rank: (event, method) => sendRank(method),
  send: (event, method) => sendAll(method),
  finish: (event, method) => { if (rows.isOn(current()?.form)) sendAll(method); },
  preview: async () => { const words = await write.preview(base); if (words) toast(words); },
  confirm: () => confirm.send(),
  left: () => choosing.arrow(-onward),
  right: () => choosing.arrow(onward),
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
  if (command === "keys") around.fillSheet();
  if (command === "report" || command === "keys") return undefined; // summary and data-opens do it
  event.preventDefault();
  if (cell) choosing.choose(cell, "pointer");
  else if (reason) send("report", { reason: reason.dataset.reason }, reason, "pointer");
  else commands[command]?.(event, "pointer");
  return undefined;
});
document.addEventListener("submit", (event) => { if (event.target.matches("form.answer")) event.preventDefault(); });

bindKeys(commands, {
  cell: (name) => current()?.form.querySelector(name),
  choose: (cell) => choosing.choose(cell, "key"),
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

pile.first(document.getElementById("ahead"));
const first = current();
// A page loaded again while its answer still waits to be sent: go on with the next one.
if (first && outbox.keys().includes(first.key)) show(pile.ready.shift() ?? null);
else if (first) begin(first);
outbox.drain().then(() => pile.fill());
addEventListener("resize", panes.measure);
document.fonts?.ready.then(panes.measure);
if (!edits) new Leases({ tasks: () => [pending ? null : current(), ...pile.ready].filter(Boolean), post: (...sent) => outbox.post(...sent), idle: () => active.idle(), say: tell, seconds: Number(dock.dataset.lease) });
dock.dataset.ready = "yes"; // keys work from here on
