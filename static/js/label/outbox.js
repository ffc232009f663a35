// Answers wait here until the server has committed them. One localStorage item each, so that two windows never overwrite
// each other; the key minted with the task makes a repeated post harmless. Items carry the id of whoever answered: they
// are sent under that person's session and under no other.

import { renew, whoIsHere } from "./session.js";

const LONGEST = 8_000; // ms between two tries
const FINAL = [404, 409, 422]; // not this person's, taken back meanwhile, does not fit: no repeat would change it
const ITEM = /^palate:(\d+):/;

export class Outbox {
  // on(event): {state: "saved" | "sending" | "kept" | "signin" | "other", waiting, delay}, {ack} after each commit, and
  // {elsewhere: key} when another window answered a task, {gone: key} when it was stored from there. `have()`: keys of the tasks on the page; with them an answer asks
  // for the next task, which comes along with its acknowledgement. What is sent again asks for nothing more.
  constructor(base, owner, on, have = () => []) {
    this.have = have;
    this.base = base;
    this.owner = owner;
    this.prefix = `palate:${owner}:${base}:`;
    this.on = on;
    this.busy = false;
    this.asking = false; // the next task comes with what is being sent
    this.fails = 0;
    this.needs = ""; // "signin": nobody is signed in any more; "other": somebody else is
    addEventListener("online", () => this.now());
    addEventListener("offline", () => this.tell());
    addEventListener("storage", (event) => this.changed(event));
  }

  entries() {
    const found = [];
    for (let i = 0; i < localStorage.length; i += 1) {
      const name = localStorage.key(i);
      if (name.startsWith(this.prefix)) found.push(JSON.parse(localStorage.getItem(name)));
    }
    return found.sort((a, b) => a.at - b.at);
  }

  keys() { return this.entries().map((entry) => entry.fields.key); }

  // How many answers other people left on this device.
  ofOthers() {
    return Object.keys(localStorage).filter((name) => ITEM.test(name) && ITEM.exec(name)[1] !== this.owner).length;
  }

  // An answer that waits already, from this window or another, stays as it is: the first one counts.
  put(act, fields) {
    const name = this.prefix + fields.key;
    const entry = { act, fields, at: Date.now() + performance.now() % 1, tried: false };
    if (localStorage.getItem(name) === null) localStorage.setItem(name, JSON.stringify(entry));
    this.drain();
  }

  // The newest answer, if the server cannot have seen it yet: taken back here, without a request.
  takeBack() {
    const newest = this.entries().at(-1);
    if (!newest || newest.tried) return null;
    localStorage.removeItem(this.prefix + newest.fields.key);
    this.tell();
    return newest;
  }

  now() {
    clearTimeout(this.timer);
    this.fails = 0;
    this.needs = "";
    return this.drain();
  }

  async drain() {
    this.tell();
    if (this.busy) return;
    this.busy = true;
    this.renewed = false;
    const passed = new Set(); // what the server itself could not take now; the others need not wait for it
    try {
      for (let entry = this.entries()[0]; entry; entry = this.entries().find((one) => !passed.has(one.fields.key))) {
        const went = await this.send(entry);
        if (went === "stop") break;
        if (went === "pass") passed.add(entry.fields.key);
      }
    } finally {
      this.busy = false;
      this.tell();
    }
  }

  async send(entry) {
    if (!navigator.onLine) return this.later();
    const name = this.prefix + entry.fields.key;
    if (localStorage.getItem(name) === null) return "sent"; // by another window, a moment ago
    localStorage.setItem(name, JSON.stringify({ ...entry, tried: true }));
    let response;
    try {
      const have = entry.tried ? [] : this.have().map((key) => ["have", key]);
      this.asking = have.length > 0;
      response = await this.post(entry.act, [...Object.entries(entry.fields), ...have]);
    } catch {
      return this.later();
    } finally {
      this.asking = false;
    }
    if (response.ok || FINAL.includes(response.status)) {
      const body = await response.json().catch(() => ({}));
      localStorage.removeItem(name);
      this.fails = 0;
      this.on({ ack: { ...body, act: entry.act, key: entry.fields.key, refused: !response.ok, status: response.status } });
      return "sent";
    }
    // Signed out, or in again in another window, perhaps as somebody else: the page's token is old then.
    if (response.status === 401 || (response.status === 403 && !this.renewed)) {
      this.renewed = true;
      return (await this.check()) ? "again" : "stop";
    }
    return this.later(response.status === 500 ? "pass" : "stop");
  }

  // Whether the page may still act for its person; takes the newest token, or says what is needed.
  async check() {
    const here = await whoIsHere().catch(() => null);
    if (!here) return this.later() === "";
    const mine = String(here.owner) === this.owner;
    if (mine) renew(here.csrf_token);
    this.needs = mine ? "" : here.owner === null ? "signin" : "other";
    this.tell();
    return mine;
  }

  // patience: ms until it counts as lost; a stream has no end that could be waited for.
  post(act, fields, { accept = "application/json", patience = 20_000 } = {}) {
    const token = document.querySelector('meta[name="csrf-token"]').content;
    return fetch(`${this.base}/${act}`, {
      method: "POST",
      headers: { Accept: accept, "X-CSRF-Token": token },
      body: new URLSearchParams(fields),
      redirect: "error",
      ...(patience ? { signal: AbortSignal.timeout(patience) } : {}),
    });
  }

  later(went = "stop") {
    this.fails += 1;
    this.delay = Math.min(1000 * 2 ** (this.fails - 1), LONGEST);
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.drain(), this.delay);
    return went;
  }

  changed({ key, oldValue, newValue }) {
    if (key?.startsWith(this.prefix) && oldValue === null && newValue) this.on({ elsewhere: key.slice(this.prefix.length) });
    if (key?.startsWith(this.prefix) && newValue === null) this.on({ gone: key.slice(this.prefix.length) });
    this.tell();
  }

  tell() {
    const waiting = this.entries().length;
    let state = this.needs || "saved";
    if (waiting && !this.needs) state = this.fails || !navigator.onLine ? "kept" : "sending";
    this.on({ state, waiting, delay: this.delay, online: navigator.onLine });
  }
}
