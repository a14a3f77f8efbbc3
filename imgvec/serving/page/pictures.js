// Pictures of the server, fetched with the token and shown as blobs. So many are kept, the last ones looked at; the others
// are let go. What is no longer wanted when its turn comes is not fetched, as after scrolling past it.

import { request } from "./api.js";

const KEPT = 500;
const AT_ONCE = 6;

const entries = new Map(); // by path, the one looked at last is last
const waiting = []; // the last one asked for comes first: it is what is seen now
let underWay = 0;

/** Show the picture at `path` in `image` once it is there; null clears it. `image` has the class "broken" if it isn't. */
export function show(image, path) {
  const before = image.dataset.path;
  if (before === (path ?? undefined)) return;
  if (before) entries.get(before)?.wanted.delete(image);
  image.classList.remove("broken", "there");
  image.removeAttribute("src");
  if (!path) {
    delete image.dataset.path;
    return;
  }
  image.dataset.path = path;
  let entry = entries.get(path);
  entries.delete(path);
  if (entry?.failed) entry = undefined;
  entry ??= { path, wanted: new Set(), url: null, failed: false, running: false };
  entries.set(path, entry);
  entry.wanted.add(image);
  if (entry.url) put(image, entry.url);
  else if (!entry.running && !waiting.includes(entry)) waiting.push(entry);
  // those of one turn are asked for in the order in which they stand
  queueMicrotask(next);
}

function put(image, url) {
  image.src = url;
  image.classList.add("there");
  if (!shown) image.addEventListener("load", () => (shown ||= performance.mark("imgvec:first-picture")), { once: true });
}

let shown = null; // when the first one was

function next() {
  while (underWay < AT_ONCE && waiting.length) {
    const entry = newest();
    if (entry) fetched(entry);
  }
}

function newest() {
  // of the last batch the first: a screenful was asked for from the top to the bottom
  for (let index = waiting.length - 1; index >= 0; index--) {
    if (!waiting[index].wanted.size) {
      entries.delete(waiting[index].path);
      waiting.splice(index, 1);
    }
  }
  return waiting.shift();
}

async function fetched(entry) {
  underWay++;
  entry.running = true;
  try {
    const got = await request("GET", entry.path);
    entry.url = URL.createObjectURL(await got.blob());
    for (const image of entry.wanted) put(image, entry.url);
    letGo();
  } catch {
    entry.failed = true;
    for (const image of entry.wanted) image.classList.add("broken");
  } finally {
    entry.running = false;
    underWay--;
    next();
  }
}

function letGo() {
  let left = entries.size - KEPT;
  for (const [path, entry] of entries) {
    if (left-- <= 0) break;
    if (entry.wanted.size || !entry.url) continue;
    URL.revokeObjectURL(entry.url);
    entries.delete(path);
  }
}

/** Forget the pictures: another token may not see them. */
export function forgetAll() {
  for (const [path, entry] of entries) {
    if (entry.url) URL.revokeObjectURL(entry.url);
    entries.delete(path);
  }
}

/** The address of a hit's thumbnail within so many pixels, which this screen shows sharp. */
export function thumbnail(hit, side) {
  const sides = [64, 128, 256, 512, 1024];
  const wanted = side * Math.min(devicePixelRatio || 1, 2);
  const size = sides.find((each) => each >= wanted * 0.8) ?? 1024;
  return `${hit.thumbnail}${hit.thumbnail.includes("?") ? "&" : "?"}size=${size}`;
}
