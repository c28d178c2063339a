// Whether somebody is at the review, and what becomes of its photos when nobody is.
import { post } from "./site.js";

const KEEP_MILLISECONDS = 60_000; // between two signs that this tab is still there
const LOOK_MILLISECONDS = 20_000; // between two looks for more, when there is none
const LEAVING_MILLISECONDS = 2_000; // that a sign-out waits, at most, until others have the photos
const AWAY_MILLISECONDS = 300_000; // without a sign of a person, after which others get the photos

/** Ask for photos while somebody is at `review`, and let others have them where nobody is. */
export function watchTab(review) {
  addEventListener("online", () => { review.go?.(); review.picture.loadAgain(); });
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
}
