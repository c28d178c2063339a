// The page "Try it": photos come in by any way, and each gets a card with its answer.
import { announce, closed, element, percent, post } from "./site.js";

const AT_ONCE = 2; // so that one answer does not wait for twenty uploads

const zone = document.getElementById("zone");
const cards = document.getElementById("cards");
const mostBytes = Number(zone.dataset.mostBytes);
const mostPhotos = Number(zone.dataset.mostPhotos);

const waiting = [];
let working = 0;

// In

for (const [button, input] of [["choose", "chosen"], ["take", "taken"]]) {
  const files = document.getElementById(input);
  document.getElementById(button).addEventListener("click", () => files.click());
  files.addEventListener("change", () => {
    take(files.files);
    files.value = ""; // so that the same file can be chosen again
  });
}

document.addEventListener("paste", (event) => {
  if (event.clipboardData.files.length) take(event.clipboardData.files);
});

document.addEventListener("dragover", (event) => {
  if (!event.dataTransfer.types.includes("Files")) return;
  event.preventDefault();
  zone.classList.add("over");
});
document.addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) zone.classList.remove("over");
});
document.addEventListener("drop", (event) => {
  zone.classList.remove("over");
  if (!event.dataTransfer.files.length) return;
  event.preventDefault();
  take(event.dataTransfer.files);
});

document.getElementById("clear").addEventListener("click", () => {
  waiting.length = 0;
  for (const image of cards.querySelectorAll("img")) URL.revokeObjectURL(image.src);
  cards.replaceChildren();
  document.getElementById("answers").hidden = true;
  document.getElementById("notices").replaceChildren();
  announce("All answers are cleared.");
  document.getElementById("choose").focus();
});

/** Show a card for each of `files`, as far as they are not too many, and ask for its answer. */
function take(files) {
  const taken = [...files].slice(0, mostPhotos);
  const left = files.length - taken.length;
  notice(left
    ? `At most ${mostPhotos} photos at a time: the first ${mostPhotos} are looked at, ${left} ${left === 1 ? "is" : "are"} left out.`
    : "");
  document.getElementById("answers").hidden = false;
  const made = taken.map((file) => new Card(file));
  cards.prepend(...made.map((card) => card.root));
  announce(taken.length === 1 ? "One photo is looked at." : `${taken.length} photos are looked at.`);
  made.forEach((card) => card.ask());
}

function notice(text) {
  const notices = document.getElementById("notices");
  notices.replaceChildren(...(text ? [element("p", { class: "notice warn" }, text)] : []));
  if (text) announce(text);
}

// Out

/** One photo, and what becomes of it. */
class Card {
  constructor(file) {
    this.file = file;
    this.name = file.name || "pasted picture";
    this.photo = element("img", { alt: "The photo", src: URL.createObjectURL(file) });
    this.photo.addEventListener("error", () => this.photo.replaceWith(this.blank));
    this.blank = element("span", { class: "blank" }, "no preview");
    this.pictures = element("div", { class: "pictures" }, figure(this.photo, "The photo"));
    this.answer = element("div");
    const title = element("h3", { class: "file" }, element("bdi", {}, this.name));
    this.root = element("li", { class: "card", tabindex: -1 }, title, this.pictures, this.answer);
  }

  ask() {
    this.answer.replaceChildren(element("p", { class: "soft" }, "Looking at it…"));
    this.root.setAttribute("aria-busy", "true");
    if (this.file.size > mostBytes) {
      const [unit, bytes] = mostBytes < 2 ** 20 ? ["KiB", 2 ** 10] : ["MiB", 2 ** 20];
      const most = Math.floor(mostBytes / bytes);
      this.fail("Too large", `it has ${Math.ceil(this.file.size / bytes)} ${unit}: at most ${most} ${unit} are taken`);
      return;
    }
    waiting.push(this);
    next();
  }

  async look() {
    try {
      // A request whose body cannot be read fails like one that does not get there.
      await this.file.slice(0, 1).arrayBuffer();
    } catch {
      this.fail("Cannot be read", "it was moved, deleted or changed since, or is a folder: choose it again");
      return;
    }
    try {
      // The type is told by the content, whatever the browser takes it for.
      const found = await post("/look", new Blob([this.file], { type: "application/octet-stream" }));
      if (found.error) this.fail("Cannot be read", found.error.detail);
      else this.show(found);
    } catch (refused) {
      const ways = { signed_out: signIn, foreign_form: loadAgain };
      this.fail("No answer", refused.message, (ways[refused.code] ?? (() => this.again()))());
    }
  }

  show(found) {
    if (found.shown) {
      const photo = element("img", { alt: "The photo", src: found.shown });
      this.blank.replaceWith(photo);
      this.photo.replaceWith(photo);
      this.photo = photo;
    }
    const [width, height] = found.size;
    const seen = element("img", { alt: "The photo as the model sees it", src: found.seen, width, height });
    if (width < 100) seen.classList.add("coarse");
    this.pictures.append(figure(seen, "As the model sees it"));
    const none = found.none >= 0.01 ? [["None of the ten", found.none]] : [];
    const shares = [...found.top, ...none].sort(([, one], [, other]) => other - one);
    const [[label, share]] = shares;
    const accepted = found.decision === "accept";
    const decision = accepted ? "Accepted" : "Needs a look";
    const bars = element("ul", { class: "bars", "aria-label": "How likely each class is" });
    bars.append(...shares.map((each) => bar(...each)));
    this.done(
      element("p", { class: "verdict" },
        element("strong", {}, label), " ",
        element("span", { class: accepted ? "badge good" : "badge warn" }, decision)),
      bars,
      element("p", { class: "small soft" },
        `${found.model} looks at ${width}×${height} pixels, and accepts ${found.threshold > 1 ? "no answer" : `an answer from ${percent(found.threshold)} on`}`,
        accepted || found.top[0][1] < found.threshold ? "." : ", but this picture is all of one shade."),
    );
    this.say(`${label}, ${percent(share)}. ${decision}.`);
  }

  fail(what, why, ...more) {
    this.done(
      element("p", { class: "verdict" }, element("span", { class: "badge bad" }, what)),
      element("p", {}, sentence(why)),
      ...more,
    );
    this.say(`${what}. ${sentence(why)}`);
  }

  /** Announce it, unless the card was cleared while its photo was under way. */
  say(what) {
    if (this.root.isConnected) announce(`${this.name}: ${what}`);
  }

  done(...children) {
    this.answer.replaceChildren(...children);
    this.root.removeAttribute("aria-busy");
  }

  again() {
    const button = element("button", { type: "button" }, "Try again");
    button.addEventListener("click", () => {
      this.root.focus(); // the button goes, and would take the focus along
      this.ask();
    });
    return button;
  }
}

function next() {
  while (working < AT_ONCE && waiting.length) {
    working += 1;
    waiting.shift().look().finally(() => {
      working -= 1;
      next();
    });
  }
}

function figure(picture, caption) {
  return element("figure", {}, picture, element("figcaption", {}, caption));
}

function bar(name, share) {
  const length = element("span");
  length.style.setProperty("--of", share); // the policy forbids an attribute, not this
  return element("li", {},
    element("span", {}, name),
    element("span", { class: "track", "aria-hidden": "true" }, length),
    element("span", { class: "n" }, percent(share)));
}

function signIn() {
  return element("a", { class: "button", href: "/sign-in?next=/" }, "Sign in");
}

function loadAgain() {
  const button = element("button", { type: "button" }, "Load the page again");
  button.addEventListener("click", () => location.reload());
  return button;
}

function sentence(text) {
  return closed(`${text[0].toUpperCase()}${text.slice(1)}`);
}
