// Answers wait here until the server has committed them. One localStorage item each, so that two windows never overwrite
// each other; the key minted with the task makes a repeated post harmless.

const LONGEST = 30_000;

export class Outbox {
  // on(event): {state: "saved" | "sending" | "kept" | "signin", waiting, delay} and {ack} after each commit
  constructor(base, owner, on) {
    this.base = base;
    this.prefix = `palate:${owner}:${base}:`;
    this.on = on;
    this.busy = false;
    this.fails = 0;
    this.signin = false;
    addEventListener("online", () => this.now());
    addEventListener("offline", () => this.tell());
    addEventListener("storage", () => this.tell());
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

  put(act, fields) {
    const entry = { act, fields, at: Date.now() + performance.now() % 1, tried: false };
    localStorage.setItem(this.prefix + fields.key, JSON.stringify(entry));
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
    this.signin = false;
    return this.drain();
  }

  async drain() {
    this.tell();
    if (this.busy) return;
    this.busy = true;
    try {
      for (let entry = this.entries()[0]; entry; entry = this.entries()[0]) {
        if (!(await this.send(entry))) break;
      }
    } finally {
      this.busy = false;
      this.tell();
    }
  }

  async send(entry) {
    if (!navigator.onLine) return this.later();
    localStorage.setItem(this.prefix + entry.fields.key, JSON.stringify({ ...entry, tried: true }));
    let response;
    try {
      response = await this.post(entry.act, entry.fields);
    } catch {
      return this.later();
    }
    if (response.ok || response.status === 404 || response.status === 422) {
      const body = await response.json().catch(() => ({}));
      localStorage.removeItem(this.prefix + entry.fields.key);
      this.fails = 0;
      this.on({ ack: { ...body, refused: !response.ok, status: response.status } });
      return true;
    }
    if (response.status === 401) {
      this.signin = true;
      return false;
    }
    if (response.status === 403 && !entry.renewed && (await this.renew())) {
      localStorage.setItem(this.prefix + entry.fields.key, JSON.stringify({ ...entry, tried: true, renewed: true }));
      return true;
    }
    return this.later();
  }

  post(act, fields) {
    const token = document.querySelector('meta[name="csrf-token"]').content;
    return fetch(`${this.base}/${act}`, {
      method: "POST",
      headers: { Accept: "application/json", "X-CSRF-Token": token },
      body: new URLSearchParams(fields),
      redirect: "error",
      signal: AbortSignal.timeout(20_000),
    });
  }

  // Signed in again in another window: this page's token is old. Take the new one from a fresh page.
  async renew() {
    const response = await fetch(this.base, { headers: { Accept: "text/html" } }).catch(() => null);
    if (!response?.ok || response.redirected) return false;
    const page = new DOMParser().parseFromString(await response.text(), "text/html");
    const fresh = page.querySelector('meta[name="csrf-token"]')?.content;
    if (fresh) document.querySelector('meta[name="csrf-token"]').content = fresh;
    return Boolean(fresh);
  }

  later() {
    this.fails += 1;
    this.delay = Math.min(1000 * 2 ** (this.fails - 1), LONGEST);
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.drain(), this.delay);
    return false;
  }

  tell() {
    const waiting = this.entries().length;
    let state = "saved";
    if (waiting) state = this.signin ? "signin" : this.fails || !navigator.onLine ? "kept" : "sending";
    this.on({ state, waiting, delay: this.delay, online: navigator.onLine });
  }
}
