// "break in 12 min": how long somebody has worked since their last break. Five quiet minutes are one, and so is a pause.

import { gettext } from "../words.js";

const QUIET = 5 * 60_000;
const OFTEN = 10_000; // ms between two looks

export class Breaks {
  // box: where it is said, with the person's minutes; null when they want none. say(words): once, when it is time.
  constructor(box, owner, say) {
    if (!box) return;
    this.box = box;
    this.name = `palate-break:${owner}`;
    this.length = Number(box.dataset.minutes) * 60_000;
    this.say = say;
    for (const name of ["keydown", "pointermove", "pointerdown", "wheel", "touchmove"]) {
      addEventListener(name, () => { this.moved = true; }, { passive: true, capture: true });
    }
    this.moved = true;
    this.look();
    setInterval(() => this.look(), OFTEN);
  }

  look() {
    const now = Date.now();
    let { from, last } = JSON.parse(localStorage.getItem(this.name) ?? "{}");
    if (!from || now - last > QUIET) from = now;
    if (this.moved || !last) last = now;
    this.moved = false;
    localStorage.setItem(this.name, JSON.stringify({ from, last }));
    const left = Math.ceil((from + this.length - now) / 60_000);
    this.box.textContent = left > 0 ? gettext("break in %(n)s min", { n: left }) : gettext("time for a break");
    if (left <= 0 && !this.said) this.say(gettext("Time for a break."));
    this.said = left <= 0;
  }

  begin() {
    if (!this.box) return;
    localStorage.removeItem(this.name);
    this.look();
  }
}
