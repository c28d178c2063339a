// What every page needs: to say what has changed, and to ask the service.

const unsaid = [];

/** Say `text` to those who hear the page rather than see it; what comes at once is said together. */
export function announce(text) {
  unsaid.push(text);
  if (unsaid.length > 1) return;
  setTimeout(() => {
    document.getElementById("announcements").textContent = unsaid.splice(0).join(" ");
  }, 100);
}

/** Why the service would not do what it was asked; `code` as in its problem documents. */
export class Refused extends Error {
  constructor(status, code, detail) {
    super(detail);
    this.status = status;
    this.code = code;
  }
}

const MOST_MILLISECONDS = 30_000; // for an answer
const STILL_MILLISECONDS = 60_000; // for a photo, which may be long under way: without any progress

/**
 * Send `body` (a Blob, or what becomes JSON) to `path` and return the JSON of the answer; `how` is
 * what fetch shall be told beside, of JSON. Throws Refused, also where the service cannot be reached.
 */
export async function post(path, body, how = {}) {
  const headers = {
    "Accept": "application/json",
    "X-CSRF-Token": document.querySelector("meta[name=csrf-token]").content,
  };
  if (body instanceof Blob) return read(await upload(path, headers, body));
  headers["Content-Type"] = "application/json";
  const signal = AbortSignal.timeout(MOST_MILLISECONDS);
  let answer;
  try {
    // Before anything is waited for: a page that is left does nothing after that.
    answer = await fetch(path, { method: "POST", headers, body: JSON.stringify(body), signal, ...how });
  } catch (broken) {
    throw unreachable(broken);
  }
  return read(answer);
}

/** What `photo` is answered with; not by fetch, which does not tell how far it has come. */
function upload(path, headers, photo) {
  return new Promise((answered, failed) => {
    const request = new XMLHttpRequest();
    let late = false;
    let waiting;
    const moved = () => {
      clearTimeout(waiting);
      waiting = setTimeout(() => { late = true; request.abort(); }, STILL_MILLISECONDS);
    };
    request.upload.addEventListener("progress", moved);
    request.addEventListener("progress", moved);
    request.addEventListener("loadend", () => {
      clearTimeout(waiting);
      const { status, response } = request; // no status: it was given up, or did not get there
      if (status) answered(new Response(response, { status }));
      else failed(unreachable({ name: late ? "TimeoutError" : "" }));
    });
    request.open("POST", path);
    for (const [name, value] of Object.entries(headers)) request.setRequestHeader(name, value);
    moved();
    request.send(photo);
  });
}

function unreachable({ name }) {
  const late = name === "TimeoutError";
  const why = late ? "did not answer in time" : "cannot be reached: is it running?";
  return new Refused(0, "unreachable", `the service ${why}`);
}

async function read(answer) {
  const found = await answer.json().catch((broken) => {
    if (broken.name === "TimeoutError") throw unreachable(broken);
    return null;
  });
  // What stands between may answer by itself, or the connection may break midway.
  const isWhole = found !== null && typeof found === "object" && !Array.isArray(found);
  if (answer.ok) {
    if (isWhole) return found;
    throw notOurs(answer.status);
  }
  const detail = found?.detail ?? `the service answered ${answer.status}`;
  throw new Refused(answer.status, found?.code ?? "unknown", detail);
}

/** The Refused of an answer that says all is well, and has not what was asked for. */
export function notOurs(status) {
  const detail = "what came is not the service's answer, or only a part of it";
  return new Refused(status, "unknown", detail);
}

/** The element of the page that has this id. */
export function at(id) {
  return document.getElementById(id);
}

/** A new element of `kind` with these attributes (`class`, `href`, …) and children. */
export function element(kind, attributes = {}, ...children) {
  const made = document.createElement(kind);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== false) made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children); // strings become text, never markup
  return made;
}

/** `text` with a full stop behind it, unless it ends with a mark of its own. */
export function closed(text) {
  return /[.!?]$/.test(text) ? text : `${text}.`;
}

/** A share of one in per cent, with a digit behind the point, on one line: 0.9997 is "100.0 %". */
export function percent(share) {
  return `${(100 * share).toFixed(1)}\u00a0%`;
}
