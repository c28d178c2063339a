// What the model says of a photo, as the review shows it.
import { element, percent } from "./site.js";

const SHARES = 3; // of the likeliest, that are shown
const NONE = "None of the ten, at least";

/** What the model finds likeliest: the answer, its label, and SHARES shares at most, the largest first. */
export function likeliest(item) {
  const [first] = item.top;
  return item.none > first[1]
    ? { answer: null, label: labelOf(null), shares: [[NONE, item.none], ...item.top].slice(0, SHARES) }
    : { answer: item.prediction, label: first[0], shares: item.top.slice(0, SHARES) };
}

/** A bar for each share; they take the same room whatever they say, and however many there are. */
export function bars(shares) {
  return Array.from({ length: SHARES }, (_, row) => {
    const [name, share] = shares[row] ?? ["", 0];
    const line = element("span");
    line.style.setProperty("--of", share);
    return element("li", { class: row < shares.length ? null : "unseen" },
      element("span", { class: "room" }, element("span", {}, name), ...unseen(row ? labels() : [NONE])),
      element("span", { class: "track", "aria-hidden": "true" }, line),
      element("span", { class: "n" }, percent(share)));
  });
}

/**
 * What holds the room of `texts` beside one of them that is shown. Nobody sees, hears or finds them:
 * so the buttons stay where they are from one photo to the next, however its words break into lines.
 */
export function unseen(texts) {
  return texts.map((text) => element("span", { class: "unseen", "data-text": text }));
}

/** The classes. */
export function labels() {
  const buttons = [...document.querySelectorAll("[data-answer]:not([data-answer=none])")];
  return buttons.map((button) => button.lastElementChild.textContent);
}

export function labelOf(choice) {
  const button = document.querySelector(`[data-answer="${choice ?? "none"}"]`);
  return button.lastElementChild.textContent;
}
