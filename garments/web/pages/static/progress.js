// How many photos are left to review, and how fast they go.
import { at } from "./site.js";
import { answersIn } from "./notice.js";

/** How many photos of `kind`, or of any, have no answer: neither at the service nor in `unsent`. */
export function leftOf({ progress, kind, unsent }) {
  const left = progress?.left ?? {};
  const count = kind ? left[kind] : Object.values(left).reduce((a, b) => a + b, 0);
  return Math.max(0, (count ?? 0) - answersIn(unsent));
}

/** Show what the service told last, as far as it has told anything. */
export function showProgress({ progress, kind, unsent }) {
  if (!progress) return;
  const { left, hour, own } = progress;
  const all = Object.values(left).reduce((a, b) => a + b, 0);
  for (const place of document.querySelectorAll("[data-left]")) {
    const count = (place.dataset.left === "all" ? all : left[place.dataset.left]).toLocaleString("en");
    // The fewer are left, the more tabs would stand in a row, and the buttons higher.
    place.dataset.digits = Math.max(place.dataset.digits ?? 0, place.textContent.length, count.length);
    place.style.setProperty("--digits", place.dataset.digits);
    place.textContent = count;
  }
  at("left").textContent = `${leftOf({ progress, kind, unsent }).toLocaleString("en")} left`;
  at("rate").textContent = `In the last hour: ${own.toLocaleString("en")} by you, ${hour.toLocaleString("en")} by all`;
}
