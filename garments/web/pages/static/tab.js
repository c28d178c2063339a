// What a tab keeps through a reload.

/** A name that nothing else has. */
export function made() {
  // Not randomUUID, which only https and this machine itself have.
  return [...crypto.getRandomValues(new Uint8Array(16))].map((n) => n.toString(16).padStart(2, "0")).join("");
}

/** What the tab's storage has under this name. */
export function kept(name, otherwise) {
  try {
    return JSON.parse(sessionStorage.getItem(name)) ?? otherwise;
  } catch {
    return otherwise;
  }
}

/** The name of this tab: the same after a reload, another in a tab that was duplicated. */
export function tabName() {
  const live = sessionStorage.getItem("review-live");
  const name = (!live && sessionStorage.getItem("review-tab")) || made();
  sessionStorage.setItem("review-tab", name);
  sessionStorage.setItem("review-live", "1");
  addEventListener("pagehide", () => sessionStorage.removeItem("review-live"));
  addEventListener("pageshow", () => sessionStorage.setItem("review-live", "1"));
  return name;
}
