// A talk: what is said goes to the model, its replies stream in side by side, one key chooses, and the talk goes on. Choices
// and the answers at its end wait in the outbox, as everywhere, and the talk with them: it goes on once they are stored.

import { ActiveTime } from "./active.js";
import * as around from "./around.js";
import { tell, toast } from "./around.js";
import { appear, doze, isAwake, wake } from "./awake.js";
import { Breaks } from "./breaks.js";
import { Choosing } from "./choosing.js";
import * as confirm from "./confirm.js";
import * as drafts from "./drafts.js";
import { bindKeys } from "./keys.js";
import { Leases } from "./lease.js";
import { Outbox } from "./outbox.js";
import { turn } from "./panes.js";
import * as rows from "./rows.js";
import * as saved from "./saved.js";
import * as seen from "./seen.js";
import { SignInAgain } from "./signin.js";
import * as turns from "./turns.js";
import { form, keyOf, message, stateOf, talk } from "./turns.js";
import { takeBack } from "./undo.js";
import * as veil from "./veil.js";
import { gettext, onward } from "../words.js";

const AGAIN = 10_000; // ms until a model that is not there is asked again

const dock = document.getElementById("dock");
const { base, owner, lease } = dock.dataset;
const active = new ActiveTime();
let busy = false; // replies are being written
let held = false; // an answer of this talk waits to be stored
let paused = false;
let unsaid = null; // what could not be said because nobody was signed in
let said = false; // that it waits on this device
let later;

const outbox = new Outbox(base, owner, onOutbox);
const again = new SignInAgain(outbox, back);
const breaks = new Breaks(document.getElementById("break"), owner, tell);
const choosing = new Choosing({ form, may: () => !held, send: (fields, cell, method) => send("talk/pick", fields, cell, method) });

const key = () => talk().dataset.key;
const isEnding = () => stateOf() === "ending";
const draftName = () => `palate-talk:${key()}:${talk().dataset.at}`;
const taskHere = () => ({ key: key(), read: talk(), form: form() });
const waiting = () => outbox.entries().find(({ fields }) => [key(), keyOf()].includes(fields.key));

function begin() {
  if (stateOf() === "ended") { location.assign(base); return; }
  held = false;
  appear();
  around.entitle(talk().querySelector("h1").textContent);
  const writing = message();
  if (writing && !writing.disabled) writing.value ||= sessionStorage.getItem(draftName()) ?? "";
  turns.down();
  active.begin();
  seen.open(talk());
  talk().querySelector("h1").focus({ preventScroll: true });
  if (isEnding()) {
    drafts.keep(taskHere());
    rows.open(taskHere());
  }
  clearTimeout(later);
  if (waiting()) hold(waiting());
  else if (["owed", "writing"].includes(stateOf())) say("");
}

function show(html) { if (turns.put(html)) begin(); }

// The talk as it stands on the server.
async function refresh() {
  const response = await fetch(`${base}/talk/${key()}`, { headers: { Accept: "text/html" }, redirect: "manual" });
  if (response.type === "opaqueredirect") await outbox.check(); // to the sign-in page
  if (!response.ok) throw new Error(turns.LOST);
  show(await response.text());
}

// Nothing more is answered until this is stored.
function hold({ fields }) {
  held = true;
  doze();
  turns.writable(false);
  const strength = fields.strength ? `[data-strength="${fields.strength}"]` : "";
  form().querySelector(`[data-choice="${fields.choice}"]${strength}`)?.classList.add("chosen");
}

// What waited was taken back.
function release({ fields }) {
  held = false;
  for (const cell of form().querySelectorAll(".chosen")) cell.classList.remove("chosen");
  turns.writable(true);
  if (fields.own) message().value = fields.own;
  wake();
}

// Into the outbox: act is talk/pick, talk/end, skip or report.
function send(act, fields, cell, method) {
  const answers = act.startsWith("talk/");
  if ((busy && answers) || held || !isAwake()) return;
  if (answers && veil.closed()) { toast(veil.FIRST); return; }
  confirm.clear(form());
  const { token } = answers ? Object.fromEntries(new FormData(form())) : talk().dataset;
  const note = act === "talk/pick" && form().elements.note?.value;
  const sent = {
    key: answers ? keyOf() : key(), token, ...fields, ...(note ? { note } : {}),
    active_ms: active.end(), ...(answers ? { talk: key(), input_method: method, seen: seen.sent() } : {}),
  };
  cell?.classList.add("chosen");
  tell(`${cell ? confirm.wordsOf(cell) : gettext("Sent")}.`);
  hold({ fields: sent });
  document.getElementById("notices").replaceChildren();
  outbox.put(act, sent);
}

function onOutbox({ ack, elsewhere, gone, ...state }) {
  if (ack) { onAck(ack); return; }
  if (gone) {
    if (held && !waiting()) refresh().catch(() => {});
    return;
  }
  if (elsewhere) {
    if (!held && waiting()) {
      hold(waiting());
      toast(gettext("You answered that task in another window."));
    }
    return;
  }
  saved.show(outbox, state);
  again.needed(outbox.needs, state.waiting);
  if (held && state.state === "kept" && !said) toast(gettext("Kept on this device. The talk goes on when the server is there again."));
  said = held && state.state === "kept";
}

function onAck(body) {
  const mine = [key(), keyOf()].includes(body.key);
  if (body.refused) {
    toast(body.problems?.map((one) => one.message).join(" ") || body.message || gettext("The server could not take it. Nothing was stored."));
    if (mine) release({ fields: {} });
    if (mine && !isEnding()) refresh().catch(() => {});
    return;
  }
  around.progress(body.today);
  tell(gettext("Saved. %(answer)s.", { answer: body.sentence }));
  if (body.late) toast(gettext("That task's lease had ended. Your answer is kept and marked late."));
  if (!mine) return;
  sessionStorage.removeItem(draftName());
  drafts.drop(taskHere());
  if (body.html) show(body.html);
  else location.assign(base); // it is over; the next task has a page of its own
}

// Says something, or asks for the replies that are owed, and shows them as they come.
async function say(text) {
  if (busy || held) return;
  busy = true;
  turns.awaitReplies(text);
  let trouble = turns.LOST;
  try {
    const response = await ask(text);
    if (response.ok) trouble = await turns.listen(response);
    else trouble = response.status === 401 ? "" : await why(response);
    unsaid = response.status === 401 ? text : null;
  } catch { /* the connection: said below */ }
  busy = false;
  if (trouble || unsaid !== null) failed(trouble, text);
  else {
    sessionStorage.removeItem(draftName());
    await refresh().then(() => tell(gettext("The replies are there. Which one should the talk go on with?")), () => failed(turns.LOST, text));
  }
}

async function ask(text) {
  const sent = { key: key(), token: talk().dataset.token, text };
  const post = () => outbox.post("talk/stream", sent, { accept: "application/json, text/event-stream", patience: 0 });
  const response = await post();
  // Signed in again in another window: this page's token is old then.
  return [401, 403].includes(response.status) && (await outbox.check()) ? post() : response;
}

async function why(response) {
  const body = await response.json().catch(() => ({}));
  return body.problems?.map((one) => one.message).join(" ") || body.message || gettext("The server could not take it. Nothing was stored.");
}

// What is owed is asked for again by itself.
function failed(words, text) {
  const { at } = talk().dataset;
  turns.failed(words, text);
  clearTimeout(later);
  later = setTimeout(() => { if (talk().dataset.at === at && !busy && !paused && !outbox.needs) retry(); }, AGAIN);
}

async function retry() {
  if (stateOf() === "owed") { say(""); return; }
  if (document.activeElement === message()) return; // somebody is writing, and sends it again
  await refresh().catch(() => {}); // a turn that was finished without us
}

// Somebody may act here again.
function back() {
  const text = unsaid;
  unsaid = null;
  if (text !== null) say(text);
  else if (!held) refresh().catch(() => {});
}

function speak() {
  const box = message();
  if (!box || box.disabled || held) return;
  if (veil.closed()) { toast(veil.FIRST); return; }
  const text = box.value.trim();
  if (!text) { toast(gettext("Write something first.")); return; }
  if (box.name === "own") send("talk/pick", { own: text }, null, "key");
  else say(text);
}

// Ending: the questions about the whole, once none is open.
function finish(method) {
  if (veil.closed()) { toast(veil.FIRST); return; }
  const { open, sent } = rows.fields(form());
  if (open) toast(open);
  else send("talk/end", sent, null, method);
}

async function undo() {
  const taken = await takeBack(outbox);
  if (!taken) return;
  if (taken.local) {
    if ([key(), keyOf()].includes(taken.local.fields.key)) release(taken.local);
    return;
  }
  around.progress(taken.today);
  if (taken.elsewhere === key()) await refresh().catch(() => {});
  else location.assign(base);
}

function pause() {
  if (paused) { resume(); return; }
  paused = true;
  breaks.begin();
  document.getElementById("holder").hidden = true;
  around.showPaused();
  // Without the server the lease ends by itself; there is nothing that the person could do about it.
  outbox.post("pause", { key: key() }).catch(() => null);
}

// The server says with what it goes on: somebody else may have the talk's place by now.
function resume() {
  if (navigator.onLine) location.assign(base);
  else toast(gettext("You are offline."));
}

function leave() {
  const open = document.querySelector(".why[open]");
  if (document.activeElement?.closest("textarea, input:not([type=radio], [type=checkbox])")) document.activeElement.blur();
  else if (open) open.open = false;
  else if (confirm.pending()) confirm.clear(form());
  else if (around.isDrawerOpen()) around.drawer();
  else document.querySelector("[data-back]")?.click();
}

const commands = {
  leave, undo, pause, resume, guidelines: around.drawer, keys: around.showSheet, reveal: veil.toggle,
  note: () => around.toggleNote(form()),
  write: () => message()?.focus(),
  skip: (event, method) => send("skip", {}, form().querySelector('[data-command="skip"]'), method),
  report: () => { const box = document.querySelector(".why"); box.open = !box.open; },
  history: () => location.assign(base.replace(/label$/, "history")),
  confirm: () => confirm.send(),
  send: (event, method) => (isEnding() ? finish(method) : confirm.send()),
  finish: (event, method) => { if (isEnding()) finish(method); else if (event.target === message()) speak(); },
  left: () => choosing.arrow(-onward),
  right: () => choosing.arrow(onward),
  source: turns.source,
  differences: () => { const words = turns.differences(); if (words) toast(words); },
  turns: turns.unfold,
  previous: () => turn(-1),
  next: () => turn(1),
  scroll: (event) => turns.scroll(event?.shiftKey),
  waiting: () => (outbox.needs ? again.open() : document.getElementById("waiting").showModal()),
  retry: () => { document.getElementById("waiting").close(); outbox.now(); },
};

document.addEventListener("click", (event) => {
  const label = isEnding() && !event.target.matches("input") && event.target.closest("label.option");
  if (label) { event.preventDefault(); tell(rows.pick(label, form(), "pointer")); return; }
  const cell = event.target.closest("[data-choice]");
  const reason = event.target.closest("[data-reason]");
  const command = event.target.closest("[data-command]")?.dataset.command;
  if (!cell && !reason && !command) return;
  if (command === "keys") around.fillSheet();
  if (command === "report" || command === "keys") return; // summary and data-opens do it
  event.preventDefault();
  if (cell) choosing.choose(cell, "pointer");
  else if (reason) send("report", { reason: reason.dataset.reason }, reason, "pointer");
  else commands[command]?.(event, "pointer");
});
document.addEventListener("submit", (event) => {
  if (!event.target.matches("#say, #answer")) return;
  event.preventDefault();
  if (event.target.id === "answer") { if (isEnding()) finish("pointer"); }
  else if (stateOf() === "owed") say("");
  else speak();
});
document.addEventListener("input", (event) => {
  if (event.target === message()) sessionStorage.setItem(draftName(), event.target.value);
});

bindKeys(commands, {
  cell: (name) => form()?.querySelector(`.gate:not([inert]) ${name}, .reasons ${name}`),
  choose: (cell) => choosing.choose(cell, "key"),
  reason: (button) => send("report", { reason: button.dataset.reason }, button, "key"),
  special: (command) => {
    if (paused) return ["send", "pause"].includes(command) ? resume : () => {};
    if (veil.stops(command)) return () => toast(veil.FIRST);
    const act = isEnding() && rows.key(command, form());
    return act ? () => tell(act()) : null;
  },
});

veil.listen(tell);
begin();
outbox.drain();
addEventListener("pageshow", ({ persisted }) => { if (persisted) location.reload(); });
addEventListener("online", () => { if (!held && !busy && !paused && document.getElementById("trouble").childElementCount) retry(); });
new Leases({ tasks: () => (paused || held ? [] : [{ key: key(), read: talk(), form: document.getElementById("about") }]), post: (...sent) => outbox.post(...sent), idle: () => active.idle(), say: tell, seconds: Number(lease) });
dock.dataset.ready = "yes"; // keys work from here on
