// The photo that the review shows: whether it is here, and what is done where it does not come.
import { announce, at, element } from "./site.js";

const FEWEST = 2; // photos that are loaded ahead
const UNSEEN_MILLISECONDS = 250; // in which nobody has seen a photo: two clicks may be of one answer
const NO_PREVIEW = "No preview of this photo was kept. Look at the file itself:";
const NOT_LOADED = "The photo could not be loaded. It is tried again.";
const NOT_HERE = "The photo is not here yet.";

/** The photo in the desk, with what stands in its place. */
export class Picture {
  constructor() {
    this.shown = null; // the photo, or none
    this.since = 0; // the time from which it can be seen
    this.lost = false; // could not be loaded
    this.unkept = false; // will never be, since no preview of it was kept
    this.again = null; // the one that was loaded again, though there is one
    this.loaded = new Map();
    at("photo").addEventListener("load", ({ target }) => {
      target.classList.toggle("coarse", target.naturalWidth < 64);
      this.arrived();
    });
    at("photo").addEventListener("error", () => this.notLoaded());
  }

  show(photo) {
    const image = at("photo");
    this.shown = photo;
    this.lost = this.unkept = false;
    this.changes();
    image.hidden = false;
    at("no-photo").hidden = true;
    image.classList.remove("coarse");
    // A browser would show the photo before under this one's name until this one is there.
    image.removeAttribute("src");
    image.src = `/review/photo/${photo}`;
  }

  showNone() {
    this.shown = null;
    this.changes();
  }

  /** From now on there is something that nobody has seen yet. */
  changes() {
    this.since = performance.now();
  }

  /** Load those of `items` that come after the first. */
  loadAhead(items) {
    for (const { photo } of items.slice(1, 1 + FEWEST)) {
      if (this.loaded.has(photo)) continue;
      const image = new Image();
      image.src = `/review/photo/${photo}`;
      this.loaded.set(photo, image);
      if (this.loaded.size > 20) this.loaded.delete(this.loaded.keys().next().value);
    }
  }

  /** Whether the photo is to be seen, or will never be since no preview of it was kept. */
  isHere() {
    const image = at("photo"); // one that could not be loaded is complete, and has no size
    return this.unkept || (image.complete && image.naturalWidth > 0);
  }

  sayNotHere() {
    at("last").textContent = NOT_HERE;
    announce(NOT_HERE);
  }

  /** Whether nobody can have seen yet what this click is about. A key is not pressed twice by chance. */
  isTooSoon({ detail }) {
    return detail > 0 && performance.now() - this.since < UNSEEN_MILLISECONDS; // of a key it is nought
  }

  arrived() {
    this.changes();
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
    if (this.lost && this.shown) this.show(this.shown);
  }
}

/** A name that turns nothing round but itself, also where it runs from right to left. */
export function fileName(name) {
  return element("bdi", {}, name);
}
