// Time spent on a task. A pause of more than 30 s counts as 30 s; a hidden page does not count.

const IDLE = 30_000;

export class ActiveTime {
  constructor() {
    this.total = 0;
    this.last = performance.now();
    for (const name of ["keydown", "pointermove", "pointerdown", "wheel", "touchmove"]) {
      addEventListener(name, () => this.tick(), { passive: true, capture: true });
    }
    document.addEventListener("visibilitychange", () => {
      if (document.hidden) this.tick();
      else this.last = performance.now();
    });
  }

  tick() {
    const now = performance.now();
    this.total += Math.min(now - this.last, IDLE);
    this.last = now;
  }

  idle() { return performance.now() - this.last; }

  begin() {
    this.total = 0;
    this.last = performance.now();
  }

  end() {
    this.tick();
    return Math.round(this.total);
  }
}
