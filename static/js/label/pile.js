// Tasks in memory, behind the one on the screen: fetched ahead, so that the next one is there at once.

import { gettext } from "../words.js";

const AHEAD = 1;
const AGAIN = 8_000; // ms between looks for new tasks when there are none

export function taskOf(root) {
  const read = root.querySelector("article.task");
  const form = root.querySelector("form.answer");
  return read && form ? { key: read.dataset.key, read, form } : null;
}

// The task of a document that is not the page.
function adopted({ key, read, form }) { return { key, read: document.adoptNode(read), form: document.adoptNode(form) }; }

function parsed(html) { return new DOMParser().parseFromString(html, "text/html"); }

export function taskIn(html) { return adopted(taskOf(parsed(html))); }

export class Pile {
  // base; outbox; may(): whether tasks are wanted now; unwanted(task): one that came all the same; arrived(): look at me
  constructor(page) {
    Object.assign(this, page);
    this.ready = [];
    this.fetching = false;
    addEventListener("online", () => setTimeout(() => this.fill(), 200));
    setInterval(() => { if (!document.hidden) this.fill(); }, AGAIN);
  }

  // The task that came with the page, unless its answer still waits to be sent.
  first(template) {
    const task = template && taskOf(template.content);
    if (task && !this.outbox.keys().includes(task.key)) this.ready.push(adopted(task));
  }

  current() { return taskOf(document); }

  have() { return [this.current()?.key, ...this.ready.map((task) => task.key), ...this.outbox.keys()].filter(Boolean); }

  async fill() {
    const { outbox, ready, base } = this;
    if (!this.may() || this.fetching || outbox.asking || outbox.needs || ready.length >= AHEAD + (this.current() ? 0 : 1) || !navigator.onLine) return;
    this.fetching = true;
    try {
      const query = new URLSearchParams(this.have().map((key) => ["have", key]));
      const response = await fetch(`${base}/next?${query}`, { headers: { Accept: "text/html" }, redirect: "manual" });
      if (response.type === "opaqueredirect") await outbox.check(); // to the sign-in page
      if (response.status === 200) this.take(await response.text());
      if (response.status === 205 && !this.current()) location.assign(base); // a talk: it has a page of its own
    } catch { /* offline: the outbox says so, and coming back fills again */ } finally { this.fetching = false; }
  }

  take(html) {
    const page = parsed(html);
    const task = taskOf(page);
    const why = page.getElementById("nothing");
    if (why) document.getElementById("nothing").replaceChildren(...why.childNodes);
    if (!task || this.have().includes(task.key)) return;
    if (!this.may()) { this.unwanted(task); return; }
    this.ready.push(adopted(task));
    this.arrived();
    if (this.ready.length < AHEAD) setTimeout(() => this.fill(), 0);
  }

  // Takes one out, as if it had never come.
  drop(key) {
    const index = this.ready.findIndex((task) => task.key === key);
    if (index >= 0) this.ready.splice(index, 1);
  }
}
