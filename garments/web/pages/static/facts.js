// What stands beside the photo in the review.
import { at, percent } from "./site.js";
import { bars, labelOf, labels, likeliest, unseen } from "./shares.js";

const WHY = {
  doubtful: "the model is in doubt",
  none: "none of the ten seems right",
  wrong: "accepted, but not what the slip says",
  sample: "a sample of the accepted",
};
const LIKELY = 0.01; // the least share of a class whose button is marked

/** Keep the room of the longest text there may be. */
export function keepRoom() {
  at("expected").after(...unseen(labels()));
  at("why").after(...unseen(Object.values(WHY)));
  at("first").after(...unseen([...labels(), labelOf(null)]));
}

/** Show what is known of a photo; what the model finds likeliest, in words. */
export function showFacts(item) {
  const { answer, label, shares } = likeliest(item);
  const guesses = shares.map(([name, share]) => `${name} ${percent(share)}`);
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
  return guesses;
}
