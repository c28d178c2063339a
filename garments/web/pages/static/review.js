// The page /review: shows a photo, takes an answer, and sends it without keeping anybody waiting.
//
// What is done is put into `unsent` and kept in the tab's storage until the service has it; it is
// sent one by one, in order. So a reload or a failing connection loses nothing.
import { announce, closed, element, notOurs, percent, post } from "./site.js";
import { answersIn, Notice, notSaved } from "./notice.js";
import { bars, labelOf, labels, likeliest, unseen } from "./shares.js";
import { kept, made, tabName } from "./tab.js";

const FEWEST = 2; // photos that are loaded ahead
const KEEP_MILLISECONDS = 60_000; // between two signs that this tab is still there
const LOOK_MILLISECONDS = 20_000; // between two looks for more, when there is none
const UNSEEN_MILLISECONDS = 250; // in which nobody has seen a photo: two clicks may be of one answer
const LEAVING_MILLISECONDS = 2_000; // that a sign-out waits, at most, until others have the photos
const AWAY_MILLISECONDS = 300_000; // without a sign of a person, after which others get the photos
const PAUSES = [1, 2, 4, 8, 15]; // seconds before a try after the first, second, … failure
// What is refused for good. All else may be as it was later: also a service that knows no such path.
const GONE = new Set(["decided", "unknown_photo", "malformed_request"]);
const WHY = {
  doubtful: "the model is in doubt",
  none: "none of the ten seems right",
  wrong: "accepted, but not what the slip says",
  sample: "a sample of the accepted",
};
const LIKELY = 0.01; // the least share of a class whose button is marked
const NO_PREVIEW = "No preview of this photo was kept. Look at the file itself:";
const NOT_LOADED = "The photo could not be loaded. It is tried again.";
const NOT_HERE = "The photo is not here yet.";

const at = (id) => document.getElementById(id);
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
    const done = kept("review-done", []).map(named); // {who, request, review, item, label}, the last last
    this.done = done.filter((one) => one.who === this.who);
    this.notice = new Notice(at("trouble"));
    this.trouble = null; // why the last request failed
    this.failures = 0;
    this.sending = false;
    this.asked = false;
    this.loaded = new Map();
    this.until = 0; // the end of the last lease
    this.moment = 0; // goes on with each request, and with each step that is saved
    this.focused = null; // what had the focus in the desk when that was hidden
    this.saved = new Map(); // photo: the moment from which the service knows what was said of it
    this.store();
    this.showTheirs();
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
    if (this.items.length && !this.isHere()) {
      at("last").textContent = NOT_HERE;
      announce(NOT_HERE);
      return;
    }
    const item = this.items.shift();
    if (!item) return;
    const label = labelOf(choice);
    const step = { path: "decide", request: made(), photo: item.photo, name: item.name, answer: choice };
    this.done.push({ who: this.who, request: step.request, review: null, item, label });
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
      this.since = performance.now(); // nobody has seen yet which photo that brings back
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
        const answer = await this.sendStep(step);
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

  /** The service's answer; null where there is nothing to send, as for an answer that was refused. */
  async sendStep(step) {
    if (step.path === "undo" && !step.review) return null;
    return this.send(step.path, step);
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
    at("last").textContent = "";
    // By now another photo is shown.
    const of = step.name ? [fileName(step.name), ": "] : [];
    this.notice.tell(...of, closed(why));
  }

  async ask() {
    if (this.asked) return;
    this.asked = true;
    const begun = ++this.moment;
    try {
      const answer = await this.send("next", {});
      if (!this.done.length) this.done = answer.mine.map((review) => ({ who: this.who, request: null, review, item: null }));
      this.take(answer, begun);
      if (!this.unsent.length) this.notice.explain(null);
    } catch (refused) {
      this.explain(refused);
    } finally {
      this.asked = false;
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
    this.loadAgain();
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

  showTheirs() {
    const told = [...new Set(this.theirs.map((one) => one.who))].map((who) => {
      const steps = this.theirs.filter((one) => one.who === who);
      const they = answersIn(steps) > 1 ? "they are" : "it is";
      return `${notSaved(steps, who)}: ${they} kept in this tab until ${who} signs in here again.`;
    });
    at("theirs").hidden = !told.length;
    at("theirs").textContent = told.join(" ");
  }

  refresh() {
    const changed = this.items.length !== this.shownOf || this.items[0]?.photo !== this.shown;
    if (changed || !this.items.length) this.show("");
    this.offerUndo();
    this.showProgress();
    for (const item of this.items.slice(1, 1 + FEWEST)) this.load(item);
  }

  /** A button that is disabled would lose the focus, and Enter then mean the likeliest class. */
  offerUndo() {
    for (const id of ["undo", "undo-last"]) at(id).setAttribute("aria-disabled", !this.done.length);
  }

  load(item) {
    if (this.loaded.has(item.photo)) return;
    const image = new Image();
    image.src = `/review/photo/${item.photo}`;
    this.loaded.set(item.photo, image);
    if (this.loaded.size > 20) this.loaded.delete(this.loaded.keys().next().value);
  }

  show(said) {
    const item = this.items[0];
    this.shownOf = this.items.length;
    if (!item && desk.contains(document.activeElement)) this.focused = document.activeElement;
    desk.hidden = !item;
    this.offerUndo();
    if (!item) {
      this.shown = null;
      this.since = performance.now();
      if (this.ready || this.focused) this.showDone(said); // which the focus goes to
      return;
    }
    this.giveFocusBack();
    at("done").hidden = true;
    if (item.photo === this.shown) return;
    this.shown = item.photo;
    const { answer, label, shares } = likeliest(item);
    const guesses = shares.map(([name, share]) => `${name} ${percent(share)}`);
    this.picture(item);
    at("photo").alt = `The photo to sort; the model says ${guesses[0]}`;
    at("name").textContent = item.name;
    at("name").title = `${item.directory}/${item.name}`;
    at("expected").textContent = item.expected ?? "none";
    // Of none of the classes the model may be quite sure.
    at("why").textContent = WHY[item.kind === "doubtful" && answer === null ? "none" : item.kind];
    at("first").textContent = label;
    at("top").replaceChildren(...bars(shares));
    const likely = new Set([label, ...shares.filter(([, share]) => share >= LIKELY).map(([name]) => name)]);
    for (const button of document.querySelectorAll("[data-answer]")) {
      button.classList.toggle("likely", likely.has(button.lastElementChild.textContent));
    }
    announce(`${said}Next: ${guesses.join(", ")}. Return slip: ${item.expected ?? "none"}.`);
    for (const next of this.items.slice(1, 1 + FEWEST)) this.load(next);
  }

  picture(item) {
    const photo = at("photo");
    this.lost = this.unkept = false;
    this.since = performance.now(); // the time from which it can be seen
    photo.hidden = false;
    at("no-photo").hidden = true;
    photo.classList.remove("coarse");
    // A browser would show the photo before under this one's name until this one is there.
    photo.removeAttribute("src");
    photo.src = `/review/photo/${item.photo}`;
  }

  /** Whether the photo is to be seen, or will never be since no preview of it was kept. */
  isHere() {
    const photo = at("photo"); // one that could not be loaded is complete, and has no size
    return this.unkept || (photo.complete && photo.naturalWidth > 0);
  }

  /** Whether nobody can have seen yet what this click is about. A key is not pressed twice by chance. */
  isTooSoon({ detail }) {
    return detail > 0 && performance.now() - this.since < UNSEEN_MILLISECONDS; // of a key it is nought
  }

  arrived() {
    this.since = performance.now();
    if (at("last").textContent === NOT_HERE) at("last").textContent = "";
  }

  async notLoaded() {
    const { shown } = this;
    this.lost = true;
    at("photo").hidden = true;
    at("no-photo").hidden = false;
    at("no-photo").textContent = NOT_LOADED;
    // An image does not tell why there is none.
    const answer = await fetch(at("photo").src).catch(() => null);
    if (shown !== this.shown) return;
    if (answer?.status === 404) {
      this.lost = false;
      this.unkept = true;
      at("no-photo").replaceChildren(`${NO_PREVIEW} `, fileName(at("name").title));
      this.arrived();
    } else if (answer?.ok && !answer.redirected && this.again !== shown) {
      this.again = shown; // once: the next time it is the photo that is broken
      this.loadAgain();
    }
  }

  loadAgain() {
    if (this.lost && this.items[0]?.photo === this.shown) this.picture(this.items[0]);
  }

  /** Why there is no photo: a title, and what to expect. */
  ending() {
    if (this.trouble) {
      const again = isOutOfDate(this.trouble) ? "you load the page again" : "the service answers";
      const until = isSignedOut(this.trouble) ? "you sign in again" : again;
      return [`No more photos until ${until}`, "What you have answered is kept here, and sent then."];
    }
    if (this.unsent.length) {
      return ["Your answers are being saved", "The next photos come when your answers are saved."];
    }
    const left = this.leftHere();
    if (left) {
      const others = left === 1
        ? "1 photo is before somebody else, and comes here if it is left there."
        : `${left} photos are before somebody else, and come here if they are left there.`;
      return ["Others have the last ones", others];
    }
    const which = `Every photo${this.kind ? " of this kind" : ""} that should be looked at`;
    return ["Nothing is left", `${which} has an answer. It stands in the next table.`];
  }

  showDone(said) {
    const [title, text] = this.ending();
    if (said || at("done").hidden || title !== at("done-title").textContent) announce(`${said}${title}.`);
    at("done-title").textContent = title;
    at("done-text").textContent = text;
    const opens = at("done").hidden;
    at("done").hidden = false;
    if (opens && this.focused) at("done-title").focus();
  }

  /** Let what has the focus not be hidden with it: Enter would then mean the likeliest class. */
  giveFocusBack() {
    const now = document.activeElement;
    if (now === at("done-title")) this.focused?.focus();
    if (now === at("undo-last")) at("undo").focus();
    if (now === at("again")) at("confirm").focus();
    this.focused = null;
  }

  leftHere() {
    const left = this.progress?.left ?? {};
    const count = this.kind ? left[this.kind] : Object.values(left).reduce((a, b) => a + b, 0);
    return Math.max(0, (count ?? 0) - answersIn(this.unsent));
  }

  showProgress() {
    if (!this.progress) return;
    const { left, hour, own } = this.progress;
    const all = Object.values(left).reduce((a, b) => a + b, 0);
    for (const place of document.querySelectorAll("[data-left]")) {
      const count = (place.dataset.left === "all" ? all : left[place.dataset.left]).toLocaleString("en");
      // The fewer are left, the more tabs would stand in a row, and the buttons higher.
      place.dataset.digits = Math.max(place.dataset.digits ?? 0, place.textContent.length, count.length);
      place.style.setProperty("--digits", place.dataset.digits);
      place.textContent = count;
    }
    at("left").textContent = `${this.leftHere().toLocaleString("en")} left`;
    at("rate").textContent = `In the last hour: ${own.toLocaleString("en")} by you, ${hour.toLocaleString("en")} by all`;
  }
}

/** A name that turns nothing round but itself, also where it runs from right to left. */
function fileName(name) {
  return element("bdi", {}, name);
}

function isSignedOut({ code }) {
  return code === "signed_out";
}

/** Whether the session is another than the page's, as after a sign-in in another tab; or there is none. */
function isOutOfDate({ code }) {
  return code === "foreign_form";
}

/** Whether it would be refused again and again, however often this page sends it. */
function isOver(refused) {
  return isSignedOut(refused) || isOutOfDate(refused);
}

function start() {
  at("expected").after(...unseen(labels()));
  at("why").after(...unseen(Object.values(WHY)));
  at("first").after(...unseen([...labels(), labelOf(null)]));
  const review = new Review();
  const help = at("keys");
  const confirm = () => { if (review.items.length) review.answer(likeliest(review.items[0]).answer); };
  const clicked = (button, act) => {
    button.addEventListener("click", (event) => { if (!review.isTooSoon(event)) act(); });
  };

  clicked(at("confirm"), confirm);
  clicked(at("undo"), () => review.undo());
  clicked(at("undo-last"), () => review.undo());
  clicked(at("skip"), () => review.skip());
  at("again").addEventListener("click", () => review.ask());
  at("help").addEventListener("click", () => help.showModal());
  at("close").addEventListener("click", () => help.close());
  for (const button of document.querySelectorAll("[data-answer]")) {
    const { answer } = button.dataset;
    clicked(button, () => review.answer(answer === "none" ? null : Number(answer)));
  }
  // After a click of the mouse Enter means the next photo's likeliest class, not that button again. It
  // loses the focus before the help opens, which would give it back.
  const blur = ({ detail }) => { if (detail) document.activeElement.blur(); };
  for (const place of [desk, at("done")]) place.addEventListener("click", blur, { capture: true });
  at("photo").addEventListener("load", ({ target }) => {
    target.classList.toggle("coarse", target.naturalWidth < 64);
    review.arrived();
  });
  at("photo").addEventListener("error", () => review.notLoaded());

  // Whoever dictates, or types into a field, must be able to do without single keys.
  const shortcuts = at("shortcuts");
  shortcuts.checked = localStorage.getItem("review-keys") !== "off";
  shortcuts.addEventListener("change", () => localStorage.setItem("review-keys", shortcuts.checked ? "on" : "off"));
  addEventListener("keydown", (event) => {
    // A key that is held on a button would answer photo after photo.
    const isHeld = event.repeat && (event.key === "Enter" || event.key === " ");
    if (isHeld && event.target.closest("#desk button")) event.preventDefault();
    const taken = event.ctrlKey || event.metaKey || event.altKey || event.repeat || help.open || !shortcuts.checked;
    if (taken || event.target.closest("input, select, textarea")) return;
    const onButton = event.target.closest("a, button");
    const key = event.key.toLowerCase(); // as it is without Caps Lock
    if (/^[0-9]$/.test(key)) review.answer(Number(key));
    else if (key === "enter" && !onButton) confirm();
    else if (key === "n") review.answer(null);
    else if (key === "u") review.undo();
    else if (key === "s") review.skip();
    else if (key === "?") help.showModal();
    else return;
    event.preventDefault();
  });

  addEventListener("online", () => { review.go?.(); review.loadAgain(); });
  const waiting = () => review.unsent.length + review.theirs.length; // lost with a tab that is closed
  addEventListener("beforeunload", (event) => {
    if (waiting() && !review.leaving) event.preventDefault();
  });
  // Whoever leaves lets others have the photos at once; a reload of this tab gets them again.
  const release = async () => {
    const photos = review.items.map((item) => item.photo);
    if (!photos.length) return;
    const how = { keepalive: true, signal: AbortSignal.timeout(LEAVING_MILLISECONDS) };
    await post("/review/release", { tab: review.tab, photos, until: review.until }, how).catch(() => {});
  };
  addEventListener("pagehide", release);
  // Once signed out, nobody is there who might let them go.
  document.querySelector(".person").addEventListener("submit", async (event) => {
    if (waiting()) return; // the browser asks first, and whoever stays has the photos still
    event.preventDefault();
    await release();
    event.target.submit();
  });
  addEventListener("pageshow", (event) => { if (event.persisted) { review.items = []; review.ask(); } });
  // A page that nobody is at must not keep its photos from others.
  let seen = Date.now();
  for (const sign of ["keydown", "pointerdown", "click", "wheel", "scroll"]) {
    addEventListener(sign, () => { seen = Date.now(); }, { passive: true });
  }
  const isUsed = () => !document.hidden && Date.now() - seen < AWAY_MILLISECONDS;
  setInterval(() => { if (isUsed()) review.ask(); }, KEEP_MILLISECONDS);
  setInterval(() => { if (!document.hidden && !review.items.length) review.ask(); }, LOOK_MILLISECONDS);
  review.ask();
  review.pump();
}

if (desk) start();
