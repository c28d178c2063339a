// What people press in the review: buttons, and keys.
import { at } from "./site.js";
import { likeliest } from "./shares.js";

/** Have `review` do what is pressed. */
export function takeAnswers(review) {
  const help = at("keys");
  const confirm = () => { if (review.items.length) review.answer(likeliest(review.items[0]).answer); };
  const clicked = (button, act) => {
    button.addEventListener("click", (event) => { if (!review.picture.isTooSoon(event)) act(); });
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
  for (const place of [at("desk"), at("done")]) place.addEventListener("click", blur, { capture: true });

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
}
