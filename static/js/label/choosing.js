// An answer by one cell: sent at once, or marked first where that is asked for.

import { tell, toast } from "./around.js";
import { isAwake } from "./awake.js";
import * as confirm from "./confirm.js";
import * as veil from "./veil.js";

const asks = "asks" in document.getElementById("dock").dataset;

export class Choosing {
  // form(): the one on the screen; may(): whether it takes an answer; send(fields, cell, method)
  constructor(page) { Object.assign(this, page); }

  choose(cell, method) {
    if (asks) this.mark(cell, method);
    else this.send(said(cell), cell, method);
  }

  mark(cell, method) {
    if (veil.closed()) toast(veil.FIRST);
    else if (this.may() && isAwake()) tell(confirm.mark(cell, () => this.send(said(cell), cell, method), method));
  }

  // An arrow on a graded scale marks; where an arrow is itself an answer, it is one.
  arrow(by) {
    const form = this.form();
    const cell = form && confirm.step(form, by);
    if (cell) this.mark(cell, "key");
  }
}

function said(cell) {
  const { choice, strength } = cell.dataset;
  return { choice, ...(strength ? { strength } : {}) };
}
