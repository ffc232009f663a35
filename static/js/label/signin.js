// Signing in again above the task. Nothing is left: the answers wait in the outbox, the task stays on the screen.

import { SIGNED_IN, renew, signIn } from "./session.js";

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
    notice.querySelector("strong").textContent = `${count === 1 ? "1 answer of somebody else is" : `${count} answers of somebody else are`} kept on this device.`;
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
    const some = waiting === 1 ? "1 answer" : `${waiting} answers`;
    this.dialog.querySelector("h2").textContent = waiting ? `Sign in again to send ${some}` : "Sign in again to go on";
    const why = needs === "other" ? `Somebody else is signed in in this browser now. ` : "";
    const kept = waiting ? `${waiting === 1 ? "It is" : "They are"} kept on this device, and so is the task before you.` : "The task before you stays.";
    this.dialog.querySelector(".why-now").textContent = `${why}${kept}`;
    this.dialog.querySelector(".for-whom").textContent = `Only when ${name} signs in ${waiting === 1 ? "is it" : "are they"} sent. Whoever else signs in here gets a page of their own.`;
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
      here = { message: "The server did not answer. Try again in a moment." };
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
