// What the review tells where it has no photo to show.
import { announce, at } from "./site.js";
import { isOutOfDate, isSignedOut } from "./notice.js";

/**
 * Why there is no photo of `kind`: a title, and what to expect. `trouble` is why requests fail, if
 * they do, `unsent` what waits to be saved, and `left` how many photos have no answer.
 */
export function whyNone({ trouble, unsent, left, kind }) {
  if (trouble) {
    const again = isOutOfDate(trouble) ? "you load the page again" : "the service answers";
    const until = isSignedOut(trouble) ? "you sign in again" : again;
    return [`No more photos until ${until}`, "What you have answered is kept here, and sent then."];
  }
  if (unsent.length) {
    return ["Your answers are being saved", "The next photos come when your answers are saved."];
  }
  if (left) {
    const others = left === 1
      ? "1 photo is before somebody else, and comes here if it is left there."
      : `${left} photos are before somebody else, and come here if they are left there.`;
    return ["Others have the last ones", others];
  }
  const which = `Every photo${kind ? " of this kind" : ""} that should be looked at`;
  return ["Nothing is left", `${which} has an answer. It stands in the next table.`];
}

/** What stands in the place of the desk, which is hidden; the focus goes there and back. */
export class Ending {
  constructor() {
    this.focused = null; // what had the focus in the desk when that was hidden
  }

  /** Note what has the focus in the desk, before that is hidden. */
  noteFocus() {
    if (at("desk").contains(document.activeElement)) this.focused = document.activeElement;
  }

  show(said, [title, text]) {
    if (said || at("done").hidden || title !== at("done-title").textContent) announce(`${said}${title}.`);
    at("done-title").textContent = title;
    at("done-text").textContent = text;
    const opens = at("done").hidden;
    at("done").hidden = false;
    if (opens && this.focused) at("done-title").focus();
  }

  hide() {
    // Let what has the focus not be hidden with it: Enter would then mean the likeliest class.
    const now = document.activeElement;
    if (now === at("done-title")) this.focused?.focus();
    if (now === at("undo-last")) at("undo").focus();
    if (now === at("again")) at("confirm").focus();
    this.focused = null;
    at("done").hidden = true;
  }
}
