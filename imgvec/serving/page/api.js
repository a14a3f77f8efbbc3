// Asks the server, with the visitor's token where it wants one. The token is kept for this tab alone, and is never part
// of an address. What is refused for now (429, 503) is asked for again, as often and as late as the server says.

const TOKEN = "imgvec-token";
const TRIES = 5;

/** A refusal: `status`, `kind` (as in urn:imgvec:problem:KIND) and a message that says what was wrong. */
export class Problem extends Error {
  constructor(status, kind, detail, more = {}) {
    super(detail);
    Object.assign(this, { status, kind, more });
  }
}

let asking = null;
let askForToken = () => Promise.reject(new Problem(401, "token", "a token is needed"));

/** `ask(again)` gives a promise of the token that the visitor types; `again` says that the last one was not taken. */
export function tokensBy(ask) {
  askForToken = ask;
}

export function token() {
  try {
    return sessionStorage.getItem(TOKEN);
  } catch {
    return null;
  }
}

export function forget() {
  sessionStorage.removeItem(TOKEN);
}

async function newToken(refused) {
  // requests that were refused together are answered by one question
  if (token() && token() !== refused) return;
  asking ??= askForToken(Boolean(refused)).finally(() => (asking = null));
  sessionStorage.setItem(TOKEN, await asking);
}

function wait(seconds, signal) {
  return new Promise((done, failed) => {
    const timer = setTimeout(done, seconds * 1000);
    signal?.addEventListener("abort", () => {
      clearTimeout(timer);
      failed(signal.reason);
    });
  });
}

/** The response; raises `Problem`. `body` is a FormData, or anything that becomes JSON. */
export async function request(method, path, { body, signal, accept } = {}) {
  for (let left = TRIES; ; left--) {
    const used = token();
    const headers = {};
    if (used) headers.Authorization = `Bearer ${used}`;
    if (accept) headers.Accept = accept;
    let sent = body;
    if (body !== undefined && !(body instanceof FormData)) {
      headers["Content-Type"] = "application/json";
      sent = JSON.stringify(body);
    }
    let got;
    try {
      got = await fetch(path, { method, headers, body: sent, signal });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new Problem(0, "unreachable", "The server cannot be reached. Is it still running?");
    }
    if (got.ok) return got;
    if (got.status === 401) {
      await newToken(used);
      continue;
    }
    if ((got.status === 429 || got.status === 503) && got.headers.has("Retry-After") && left > 1) {
      await wait(Number(got.headers.get("Retry-After")) || 1, signal);
      continue;
    }
    throw await problemOf(got);
  }
}

async function problemOf(got) {
  try {
    const said = await got.json();
    return new Problem(got.status, said.type.split(":").pop(), said.detail, said);
  } catch {
    return new Problem(got.status, "failed", `The server answered ${got.status}.`);
  }
}

export const json = async (method, path, options) => (await request(method, path, options)).json();

/** The address of a route of a collection: `at("photos", "images", id)`. */
export const at = (collection, ...parts) =>
  ["/v1/collections", collection, ...parts].map((each, index) => (index ? encodeURIComponent(each) : each)).join("/");

/** A path with the parameters that are not null; several of one name for an array. */
export function withQuery(path, given) {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(given)) {
    for (const each of Array.isArray(value) ? value : [value]) {
      if (each !== null && each !== undefined && each !== "") query.append(name, each);
    }
  }
  return query.size ? `${path}?${query}` : path;
}

/** The events of a stream, as {event, data, id}; ends with the stream. It is asked with the token, as EventSource can't. */
export async function* events(path, { signal } = {}) {
  const got = await request("GET", path, { signal, accept: "text/event-stream" });
  if (got.status === 204) return;
  const reader = got.body.pipeThrough(new TextDecoderStream()).getReader();
  let held = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    held += value.replaceAll("\r", "");
    const parts = held.split("\n\n");
    held = parts.pop();
    for (const part of parts) {
      const event = { event: "message", data: "", id: "" };
      for (const line of part.split("\n")) {
        const [name, ...rest] = line.split(": ");
        if (name in event) event[name] = rest.join(": ");
      }
      if (event.data) yield { ...event, data: JSON.parse(event.data) };
    }
  }
}
