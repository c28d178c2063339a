// What the review tells of trouble: why requests fail, and what was refused.
import { at, element } from "./site.js";

const SHOWN_MILLISECONDS = 15_000; // of what was refused, after the last of it

/** The notice in `place`, an alert whose parts are heard one by one. */
export class Notice {
  constructor(place) {
    this.place = place;
    this.refused = element("div");
    this.failing = element("p");
    this.told = null; // in there
    place.replaceChildren(this.refused, this.failing);
    this.room = 0;
    new ResizeObserver(() => this.makeRoom()).observe(place);
    this.refresh();
  }

  /** Tell for a while (text, and elements) that something was refused, below what was told so a moment ago. */
  tell(...parts) {
    this.refused.append(element("p", {}, ...parts));
    clearTimeout(this.hiding);
    this.hiding = setTimeout(() => { this.refused.replaceChildren(); this.refresh(); }, SHOWN_MILLISECONDS);
    this.refresh();
    this.place.scrollTop = this.place.scrollHeight; // to the newest
  }

  /** Tell why requests fail: the text, then the link or button that helps; no text when they do not. */
  explain(text, way = null) {
    if (text === this.told) return; // which is not to be heard again with each try
    this.told = text;
    this.failing.replaceChildren(...[text, way].filter(Boolean));
    this.refresh();
  }

  /** Let the page be so long that nothing has to stay below the notice; style sheets know its height. */
  makeRoom() {
    const height = this.place.hidden ? 0 : innerHeight - this.place.getBoundingClientRect().top;
    // A page that became shorter would move what is pressed, at its end.
    this.room = Math.max(this.room, height);
    document.documentElement.style.setProperty("--notice", `${height}px`);
    document.documentElement.style.setProperty("--room", `${this.room}px`);
  }

  refresh() {
    this.failing.hidden = !this.failing.hasChildNodes();
    this.place.hidden = this.failing.hidden && !this.refused.hasChildNodes();
  }
}

/** How many answers are among `steps`, but those that a later one takes back. */
export function answersIn(steps) {
  const undone = new Set(steps.filter((one) => one.path === "undo").map((one) => one.request));
  return steps.filter((one) => one.path === "decide" && !undone.has(one.request)).length;
}

/** That `steps`, of whoever is here or of `who`, are not saved yet; without a full stop. */
export function notSaved(steps, who) {
  const count = answersIn(steps);
  if (!count) return `What ${who ?? "you"} skipped or took back is not saved yet`;
  const whose = who === undefined ? "" : ` of ${who}`;
  return `${count} ${count === 1 ? "answer" : "answers"}${whose} ${count === 1 ? "is" : "are"} not saved yet`;
}

/** Tell of `theirs`: steps of those who had this tab before, which are not saved yet. */
export function showTheirs(theirs) {
  const told = [...new Set(theirs.map((one) => one.who))].map((who) => {
    const steps = theirs.filter((one) => one.who === who);
    const they = answersIn(steps) > 1 ? "they are" : "it is";
    return `${notSaved(steps, who)}: ${they} kept in this tab until ${who} signs in here again.`;
  });
  at("theirs").hidden = !told.length;
  at("theirs").textContent = told.join(" ");
}

export function isSignedOut({ code }) {
  return code === "signed_out";
}

/** Whether the session is another than the page's, as after a sign-in in another tab; or there is none. */
export function isOutOfDate({ code }) {
  return code === "foreign_form";
}

/** Whether it would be refused again and again, however often this page sends it. */
export function isOver(refused) {
  return isSignedOut(refused) || isOutOfDate(refused);
}
