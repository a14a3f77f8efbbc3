// What is asked for, made of the address (state.js), as the routes under /v1 take it.
//
//     c      the collection              id, text, pic   what is searched by: a stored row, words, a picture of the visitor
//     box    x0,y0,x1,y1 of it            plus, minus     rows that are wanted and not, as often as there are
//     f.NAME a filter (filters.js)        order           a field to order by, -NAME from the greatest; "" for the default
//     only   1: matches alone

import { token } from "./api.js";
import { app } from "./app.js";
import { stow, stowed } from "./keeping.js";
import { state } from "./state.js";

// of the question, the wanted and the unwanted: see imgvec/search/feedback.py
const [ALPHA, BETA, GAMMA] = [1, 0.75, 0.15];

const kept = new Map(); // the visitor's own pictures, by a name that stands in the address; keeping.js has them after a reload
let last = 0;

/** Keep a picture of the visitor, and give the name by which the address speaks of it. */
export function keep(file) {
  const name = `${Date.now().toString(36)}-${++last}`;
  if (!token()) stow(name, file); // who needs a token may share the browser with others
  put(name, file);
  return name;
}

function put(name, file) {
  kept.set(name, { file, url: URL.createObjectURL(file) });
  for (const [each, { url }] of kept) {
    if (kept.size <= 30) break;
    URL.revokeObjectURL(url);
    kept.delete(each);
  }
}

/** Get the picture of the address, if it was kept before the page was loaded. */
export async function regained() {
  const name = state.get("pic");
  if (name === null || picture(name)) return;
  const file = await stowed(name);
  if (!file) return;
  put(name, file);
  app.emit("regained", name);
}

export const picture = (name) => kept.get(name) ?? null;

export const QUESTION = ["id", "text", "pic", "box", "plus", "minus"];
/** Takes the question out of the address, and leaves the filters. */
export const NOTHING = Object.fromEntries(QUESTION.map((name) => [name, null]));

export const isAsked = () => QUESTION.some((name) => state.get(name) !== null);

export const box = () => state.get("box")?.split(",").map(Number) ?? null;

async function inBase64(file) {
  const url = await new Promise((done, failed) => {
    const reader = new FileReader();
    reader.addEventListener("load", () => done(reader.result));
    reader.addEventListener("error", () => failed(reader.error));
    reader.readAsDataURL(file);
  });
  return url.slice(url.indexOf(",") + 1);
}

async function base() {
  const [id, text, pic, cut] = [state.get("id"), state.get("text"), state.get("pic"), box()];
  if (text !== null) return { text };
  let query = null;
  if (id !== null) query = { id };
  if (pic !== null) query = { image: await inBase64(picture(pic).file) };
  return query && cut ? { crop: query, box: cut } : query;
}

/** Whether the address names a picture that this page does not have (after a reload, or in a link from somebody). */
export const isLost = () => state.get("pic") !== null && picture(state.get("pic")) === null;

/** How it is asked: {route, body}, with `body` a FormData or for JSON; null where nothing is asked. */
export async function question(options) {
  const [plus, minus] = [state.all("plus"), state.all("minus")];
  const [pic, cut] = [state.get("pic"), box()];
  if (pic !== null && !plus.length && !minus.length) {
    const body = new FormData();
    body.append("image", picture(pic).file, "picture");
    if (cut) body.append("box", JSON.stringify(cut));
    body.append("options", JSON.stringify(options));
    return { route: "search", body };
  }
  const asked = await base();
  const weighted = (ids, weight) => ids.map((id) => ({ query: { id }, weight }));
  if (!plus.length && !minus.length) return asked && { route: "search", body: { query: asked, ...options } };
  if (!asked) {
    const body = { positive: weighted(plus, 1), negative: weighted(minus, 1), ...options };
    return { route: "recommend", body };
  }
  const like = [
    { query: asked, weight: ALPHA },
    ...weighted(plus, BETA / plus.length),
    ...weighted(minus, -GAMMA / minus.length),
  ];
  return { route: "search", body: { query: { like }, ...options } };
}

/** Whether words can be searched for in the collection that is shown: true, or why not. */
export function takesWords() {
  const { text } = app.collection.takes;
  if (text) return true;
  return text === null ? "Its encoder is still being loaded." : "Its encoder knows no words, only pictures.";
}
