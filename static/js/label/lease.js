// A task is lent for a time. While somebody works here, that time is renewed in its last fifth; to somebody who seems to
// be away a notice offers it. An answer that comes too late is kept all the same, and marked.

import { gettext, ngettext } from "../words.js";

const LOOK = 5_000;
const AWAY = 30_000; // ms without a key or a movement
const LAST = 0.2;

const loans = new WeakMap(); // article → {ends, final}

export class Leases {
  // tasks(): those in this page, the one on the screen first; post(act, fields); idle(): ms; say(words)
  constructor({ tasks, post, idle, say, seconds }) {
    Object.assign(this, { tasks, post, idle, say, length: seconds * 1000 });
    this.notices = document.getElementById("notices");
    this.model = document.getElementById("lease-notice").content.firstElementChild;
    this.look();
    setInterval(() => this.look(), LOOK);
    document.addEventListener("click", (event) => { if (event.target.closest("[data-keeps]")) this.keep(this.due()); });
  }

  due() {
    const now = Date.now();
    return this.tasks().filter(({ read }) => {
      if (!loans.has(read)) loans.set(read, { ends: now + Number(read.dataset.lease) * 1000, final: false });
      return loans.get(read).ends - now <= LAST * this.length;
    });
  }

  look() {
    const due = this.due();
    const open = due.filter(({ read }) => !loans.get(read).final);
    const shown = this.shown(due);
    if (!shown) this.hide();
    if (document.hidden) return;
    if (open.length && this.idle() < AWAY) this.keep(open);
    else if (shown) this.show(shown);
  }

  // The task on the screen, if its time is nearly up.
  shown(due) {
    const [first] = this.tasks();
    return due.find((task) => task.key === first?.key);
  }

  async keep(tasks) {
    for (const { key, read, form } of tasks) {
      const loan = loans.get(read);
      const response = await this.post("keep", { key, token: form.elements.token.value }).catch(() => null);
      if (!response || ![200, 404, 409].includes(response.status)) continue; // no answer now: the next look asks again
      const left = response.ok ? (await response.json()).left * 1000 : 0;
      loan.final = left <= LAST * this.length; // it is not lent for longer
      loan.ends = Date.now() + left;
    }
    if (!this.shown(this.due())) this.hide();
  }

  show(task) {
    const { ends, final } = loans.get(task.read);
    const minutes = Math.ceil((ends - Date.now()) / 60_000);
    const gone = minutes < 1;
    const title = gone ? gettext("This task went back to the pile.") : ngettext("This task goes back to the pile in %(n)s minute.", "This task goes back to the pile in %(n)s minutes.", minutes);
    const box = this.notices.querySelector(".notice.lease") ?? this.notices.appendChild(this.model.cloneNode(true));
    if (box.querySelector("strong").textContent === title) return;
    box.querySelector("strong").textContent = title;
    box.querySelector("button").hidden = final || gone;
    this.say(title);
  }

  hide() { this.notices.querySelector(".notice.lease")?.remove(); }
}
