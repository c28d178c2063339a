// The page /review: shows a photo, takes an answer, and sends it without keeping anybody waiting.
//
// What is done is put into `unsent` and kept in the tab's storage until the service has it; it is
// sent one by one, in order. So a reload or a failing connection loses nothing.
import { announce, at, closed, element, notOurs, post } from "./site.js";
import { Ending, whyNone } from "./ending.js";
import { keepRoom, showFacts } from "./facts.js";
import { takeAnswers } from "./hands.js";
import { isOutOfDate, isOver, isSignedOut, Notice, notSaved, showTheirs } from "./notice.js";
import { fileName, Picture } from "./picture.js";
import { watchTab } from "./presence.js";
import { leftOf, showProgress } from "./progress.js";
import { labelOf } from "./shares.js";
import { kept, made, tabName } from "./tab.js";

const PAUSES = [1, 2, 4, 8, 15]; // seconds before a try after the first, second, … failure
// What is refused for good. All else may be as it was later: also a service that knows no such path.
const GONE = new Set(["decided", "unknown_photo", "malformed_request"]);

const desk = at("desk");

class Review {
  constructor() {
    this.tab = tabName();
    this.kind = desk.dataset.kind || null;
    this.who = desk.dataset.who;
    this.items = []; // the first is shown
    // What has no name is of whoever is here.
    const named = (one) => ({ ...one, who: one.who ?? this.who });
    const unsent = kept("review-unsent", []).map(named);
    this.unsent = unsent.filter((one) => one.who === this.who);
    this.theirs = unsent.filter((one) => one.who !== this.who); // who had this tab before
    const done = kept("review-done", []).map(named); // {who, request, review, item}, the last last
    this.done = done.filter((one) => one.who === this.who);
    this.notice = new Notice(at("trouble"));
    this.trouble = null; // why the last request failed
    this.failures = 0;
    this.go = null; // ends the pause before the next try
    this.sending = false;
    this.asking = false;
    this.ready = false; // whether the service has been asked
    this.leaving = false; // whether the page is left on purpose
    this.picture = new Picture();
    this.ending = new Ending();
    this.shownOf = 0; // how many items there were when the first was shown
    this.progress = null; // what the service told last of how many are left
    this.until = 0; // the end of the last lease
    this.moment = 0; // goes on with each request, and with each step that is saved
    this.saved = new Map(); // photo: the moment from which the service knows what was said of it
    this.store();
    showTheirs(this.theirs);
  }

  store() {
    sessionStorage.setItem("review-unsent", JSON.stringify([...this.theirs, ...this.unsent]));
    sessionStorage.setItem("review-done", JSON.stringify(this.done.slice(-20)));
    desk.dataset.unsent = this.unsent.length;
  }

  async send(path, fields) {
    const answer = await post(`/review/${path}`, { tab: this.tab, kind: this.kind, ...fields });
    if (!Array.isArray(answer.items)) throw notOurs(200);
    return answer;
  }

  // What a person does

  answer(choice) {
    // Nobody can say what is not to be seen.
    if (this.items.length && !this.picture.isHere()) {
      this.picture.sayNotHere();
      return;
    }
    const item = this.items.shift();
    if (!item) return;
    const label = labelOf(choice);
    const step = { path: "decide", request: made(), photo: item.photo, name: item.name, answer: choice };
    this.done.push({ who: this.who, request: step.request, review: null, item });
    this.push(step);
    this.show(`${label}. `);
    this.sayLast(label, item.name);
  }

  skip() {
    const item = this.items.shift();
    if (!item) return;
    this.push({ path: "skip", photo: item.photo, name: item.name });
    this.show("Skipped. ");
    this.sayLast("Skipped", item.name);
  }

  undo() {
    const last = this.done.pop();
    if (!last) return;
    const { photo, name } = last.item ?? {};
    this.push({ path: "undo", request: last.request, review: last.review, photo, name });
    if (last.item) {
      this.items.unshift(last.item);
      this.show("Taken back. ");
      this.sayLast("Taken back", name);
    } else {
      this.picture.changes(); // nobody has seen yet which photo that brings back
      at("last").textContent = "Taken back";
    }
  }

  sayLast(what, name) {
    at("last").replaceChildren(`${what}: `, fileName(name));
  }

  // What is sent

  push(step) {
    this.unsent.push({ who: this.who, ...step });
    this.store();
    if (this.trouble) this.explain(this.trouble); // with one more that waits
    this.pump();
  }

  async pump() {
    if (this.sending) return;
    this.sending = true;
    while (this.unsent.length) {
      const [step] = this.unsent;
      try {
        // Of an answer that was refused there is nothing to take back.
        const isVoid = step.path === "undo" && !step.review;
        const answer = await (isVoid ? null : this.send(step.path, step));
        this.unsent.shift();
        if (answer) this.settle(step, answer);
        this.failures = 0;
        this.notice.explain(null);
      } catch (refused) {
        if (GONE.has(refused.code)) {
          this.trouble = null;
          this.notice.explain(null);
          this.unsent.shift();
          this.drop(step, refused.message);
        } else {
          this.explain(refused);
          this.refresh();
          if (isOver(refused)) break;
          const pause = PAUSES[Math.min(this.failures++, PAUSES.length - 1)];
          await new Promise((go) => { this.go = go; setTimeout(go, 1000 * pause); });
          continue;
        }
      }
      this.store();
      this.refresh();
    }
    this.sending = false;
  }

  /** Go on from what the service answered to a step, which it has saved now. */
  settle(step, answer) {
    const now = ++this.moment;
    if (step.path === "undo") {
      const { item } = answer;
      // What was answered before the page was loaded is not here; or it has been answered once more.
      const isHere = step.photo && this.items.some((one) => one.photo === step.photo);
      if (item && !isHere && !this.isPending(item.photo)) {
        this.items = [item, ...this.items.filter((one) => one.photo !== item.photo)];
        this.show("Taken back. ");
      }
    } else {
      this.saved.set(step.photo, now);
      const entry = this.done.find((one) => one.request === step.request);
      if (entry) entry.review = answer.review;
      // It may have been taken back meanwhile.
      const undoing = this.unsent.find((one) => one.path === "undo" && one.request === step.request);
      if (undoing) undoing.review = answer.review;
    }
    this.take(answer, now);
  }

  drop(step, why) {
    if (step.path === "decide") this.done = this.done.filter((one) => one.request !== step.request);
    // What is not taken back has its answer still.
    if (step.path === "undo") this.items = this.items.filter((one) => one.photo !== step.photo);
    at("last").textContent = "";
    // By now another photo is shown.
    const of = step.name ? [fileName(step.name), ": "] : [];
    this.notice.tell(...of, closed(why));
  }

  async ask() {
    if (this.asking) return;
    this.asking = true;
    const begun = ++this.moment;
    try {
      const answer = await this.send("next", {});
      if (!this.done.length) this.done = answer.mine.map((review) => ({ who: this.who, request: null, review, item: null }));
      this.take(answer, begun);
      if (!this.unsent.length) this.notice.explain(null);
    } catch (refused) {
      this.explain(refused);
    } finally {
      this.asking = false;
      this.ready = true;
      this.refresh();
    }
  }

  /**
   * Have the photos that the service gives to this tab, but those that are answered already: it may
   * not know so yet, or not have known when it was asked, at the moment `begun`. What it gives
   * later it means to give, as when an answer was taken back elsewhere.
   */
  take(answer, begun) {
    const here = new Set(this.items.map((item) => item.photo));
    const isAnswered = (photo) => this.isPending(photo) || this.saved.get(photo) > begun;
    this.items.push(...answer.items.filter(({ photo }) => !here.has(photo) && !isAnswered(photo)));
    this.until = Math.max(this.until, ...answer.items.map((item) => item.until));
    this.progress = answer;
    this.ready = true;
    this.trouble = null;
    this.picture.loadAgain();
  }

  /** Whether an answer for this photo, or that it was skipped, waits to be saved. */
  isPending(photo) {
    const last = this.unsent.findLast((one) => one.photo === photo);
    return last !== undefined && last.path !== "undo";
  }

  // What is shown

  explain(refused) {
    this.trouble = refused;
    const count = this.unsent.length;
    const waiting = count ? ` ${notSaved(this.unsent)}, and kept here.` : "";
    if (isSignedOut(refused)) {
      const next = encodeURIComponent(location.pathname + location.search);
      const link = element("a", { href: `/sign-in?next=${next}` }, "Sign in again");
      // Whoever signs in comes back to their answers. The link may as well be opened in another tab.
      link.addEventListener("click", () => {
        this.leaving = true;
        setTimeout(() => { this.leaving = false; }, 1000);
      });
      this.notice.explain(`You are signed out.${waiting} `, link);
    } else if (isOutOfDate(refused)) {
      const button = element("button", { type: "button" }, "Load the page again");
      button.addEventListener("click", () => { this.leaving = true; location.reload(); });
      this.notice.explain(`This page is out of date.${waiting} `, button);
    } else {
      const what = closed(`${count ? "Saving does not work" : "No photos come"}: ${refused.message}`);
      this.notice.explain(`${what}${waiting} Trying again.`);
    }
  }

  refresh() {
    const changed = this.items.length !== this.shownOf || this.items[0]?.photo !== this.picture.shown;
    if (changed || !this.items.length) this.show("");
    this.offerUndo();
    showProgress(this);
    this.picture.loadAhead(this.items);
  }

  /** A button that is disabled would lose the focus, and Enter then mean the likeliest class. */
  offerUndo() {
    for (const id of ["undo", "undo-last"]) at(id).setAttribute("aria-disabled", !this.done.length);
  }

  show(said) {
    const item = this.items[0];
    this.shownOf = this.items.length;
    if (!item) this.ending.noteFocus();
    desk.hidden = !item;
    this.offerUndo();
    if (!item) {
      this.picture.showNone();
      if (this.ready || this.ending.focused) { // which the focus goes to
        const { trouble, unsent, kind } = this;
        this.ending.show(said, whyNone({ trouble, unsent, left: leftOf(this), kind }));
      }
      return;
    }
    this.ending.hide();
    if (item.photo === this.picture.shown) return;
    this.picture.show(item.photo);
    const guesses = showFacts(item);
    announce(`${said}Next: ${guesses.join(", ")}. Return slip: ${item.expected ?? "none"}.`);
    this.picture.loadAhead(this.items);
  }
}

if (desk) {
  keepRoom();
  const review = new Review();
  takeAnswers(review);
  watchTab(review);
  review.ask();
  review.pump();
}
