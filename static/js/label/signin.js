// Signing in again above the task. Nothing is left: the answers wait in the outbox, the task stays on the screen.

import { SIGNED_IN, renew, signIn } from "./session.js";
import { gettext, ngettext } from "../words.js";

const STILL = 600; // ms before the field takes the focus: keys meant for the task must not land in a password

export class SignInAgain {
  // back(): somebody may act here again
  constructor(outbox, back) {
    this.outbox = outbox;
    this.back = back;
    this.dialog = document.getElementById("sign-in");
    this.asked = false;
    this.others(outbox.ofOthers());
    this.dialog.querySelector("form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.submit(event.target);
    });
    addEventListener("storage", ({ key }) => { if (key === SIGNED_IN) this.look(); });
    addEventListener("focus", () => this.look());
  }

  // What somebody else left on this device is neither sent nor shown here, only counted.
  others(count) {
    if (!count) return;
    const notice = document.getElementById("others-wait").content.firstElementChild.cloneNode(true);
    notice.querySelector("strong").textContent = ngettext("%(n)s answer of somebody else is kept on this device.", "%(n)s answers of somebody else are kept on this device.", count);
    document.getElementById("notices").append(notice);
  }

  // Called with every state of the outbox: opens by itself once, and again when it is asked for.
  needed(needs, waiting) {
    if (!needs) {
      this.asked = false;
      this.dialog.close();
    } else if (!this.asked) this.open();
    if (needs) this.say(needs, waiting);
  }

  // Perhaps signed in again in another window.
  async look() {
    if (this.outbox.needs && (await this.outbox.check())) this.done();
  }

  open() {
    this.asked = true;
    if (this.dialog.open) return;
    this.problem("");
    this.dialog.showModal();
    this.dialog.querySelector("h2").focus();
    setTimeout(() => {
      if (this.dialog.open && document.activeElement?.tagName === "H2") this.dialog.querySelector('[name="password"]').focus();
    }, STILL);
  }

  say(needs, waiting) {
    const { name } = this.dialog.dataset;
    this.dialog.querySelector("h2").textContent = waiting ? ngettext("Sign in again to send %(n)s answer", "Sign in again to send %(n)s answers", waiting) : gettext("Sign in again to go on");
    const why = needs === "other" ? gettext("Somebody else is signed in in this browser now.") : "";
    const kept = waiting ? ngettext("It is kept on this device, and so is the task before you.", "They are kept on this device, and so is the task before you.", waiting) : gettext("The task before you stays.");
    this.dialog.querySelector(".why-now").textContent = `${why} ${kept}`.trim();
    this.dialog.querySelector(".for-whom").textContent = ngettext("Only when %(name)s signs in is it sent. Whoever else signs in here gets a page of their own.", "Only when %(name)s signs in are they sent. Whoever else signs in here gets a page of their own.", waiting, { name });
    this.dialog.querySelector(".for-whom").hidden = !waiting;
  }

  async submit(form) {
    const button = form.querySelector('[type="submit"]');
    button.disabled = true;
    this.problem("");
    let here;
    try {
      here = await signIn(form.elements.email.value, form.elements.password.value);
    } catch {
      here = { message: gettext("The server did not answer. Try again in a moment.") };
    } finally {
      button.disabled = false;
    }
    if (here.message) {
      this.problem(here.message);
      form.elements.password.select();
      return;
    }
    form.elements.password.value = "";
    // Somebody else: a page of their own. What waits here keeps the first person's name and stays.
    if (String(here.owner) !== this.outbox.owner) {
      location.reload();
      return;
    }
    renew(here.csrf_token);
    localStorage.setItem(SIGNED_IN, String(Date.now()));
    this.done();
  }

  done() {
    this.dialog.close();
    this.outbox.now();
    this.back();
  }

  problem(words) {
    const place = this.dialog.querySelector(".error");
    place.hidden = !words;
    place.querySelector("span").textContent = words;
  }
}
