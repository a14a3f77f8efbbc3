// Asks what the address says, and shows the answer in the grid; where nothing is asked, what there is.

import { at, json, withQuery } from "./api.js";
import { app } from "./app.js";
import { isAsked, isLost, picture, question, regained } from "./asked.js";
import { boxOf } from "./boxes.js";
import { counted, el, find, number, share, size } from "./dom.js";
import { expression } from "./filters.js";
import { isOrderable, orders } from "./orders.js";
import { state } from "./state.js";

const FIRST = 120; // hits that are asked for at first
const STEP = 1000; // and at once, later
const MOST = 16384; // hits that Milvus ranks
const SHOWN = 100000; // pictures that are looked at without a question
const AGAIN = 2000; // milliseconds until a server that cannot be reached is asked again
const OWN = ["c", "id", "text", "pic", "box", "plus", "minus", "order", "only"];

let abort = new AbortController();
const tops = new Map(); // where the grid stood, by address: "back" leads there

const counting = (changed) => [...changed].some((name) => OWN.includes(name) || name.startsWith("f."));
let shownFor = null;
let last = []; // what was said of the pictures; a view that stands in place of them says its own

function report(...said) {
  last = said;
  if (!state.get("view")) app.say(...said);
}

app.on("view", (id) => id === null && last.length && app.say(...last));

/** What is said of an error: of the visitor's own picture by its name. */
function trouble(error) {
  const own = state.get("pic") !== null && picture(state.get("pic"))?.file;
  const name = own?.name || "Your picture";
  if (own && error.kind === "content-too-large") return `${name} (${size(own.size)}) is larger than what this server takes.`;
  if (own && error.more?.reason) return `${name} cannot be read: ${error.more.reason}.`;
  return error.message;
}

let waiting;

/** Ask again, and for all that stands beside it, as soon as the server answers. */
function again() {
  clearTimeout(waiting);
  waiting = setTimeout(() => {
    if (!app.collection) return;
    json("GET", at(app.collection.served_as)).then(
      () => app.emit("written"),
      (error) => (error.kind === "unreachable" ? again() : report(error.message)),
    );
  }, AGAIN);
}

export async function ask() {
  if (!app.collection) return;
  abort.abort();
  abort = new AbortController();
  const { signal } = abort;
  const key = [...OWN, ...state.names().filter((name) => name.startsWith("f."))].map((name) => state.all(name)).join("\n");
  if (shownFor !== null) tops.set(shownFor, app.grid.scroller.scrollTop);
  shownFor = key;
  find("main").setAttribute("aria-busy", "true");
  try {
    const where = expression();
    const found = isAsked() ? await searched(where, signal) : await looked(where, signal);
    if (signal.aborted) return;
    app.answer = found.answer;
    app.grid.show({ ...found, top: tops.get(key) ?? 0 });
    report(found.said, { bad: found.answer?.verdict?.match === false });
    performance.mark("imgvec:shown");
    requestAnimationFrame(() => setTimeout(() => performance.mark("imgvec:drawn")));
    app.emit("answer");
  } catch (error) {
    if (error.name === "AbortError") return;
    app.answer = null;
    app.grid.show({ items: [] });
    report(trouble(error));
    if (error.status === undefined) console.error(error);
    if (error.kind === "unreachable") again();
    app.emit("answer");
  } finally {
    if (!signal.aborted) find("main").removeAttribute("aria-busy");
  }
}

/** Those alone that nobody said − to: a search moves little away from them, and they are known not to be wanted. */
function without(unwanted, given) {
  const left = unwanted.length ? `id not in ${JSON.stringify(unwanted)}` : "";
  return [left && given ? `(${given})` : given, left].filter(Boolean).join(" and ");
}

async function searched(given, signal) {
  if (isLost()) await regained();
  if (isLost()) {
    throw Object.assign(new Error("A link holds no picture of yours, and this browser has it no more. Drop it here again."), { status: 0 });
  }
  const order = state.get("order");
  const where = without(state.all("minus"), given);
  const options = {
    limit: FIRST,
    ...(where ? { where } : {}),
    ...(order && isOrderable(order) ? { order_by: order } : {}),
    ...(state.get("only") ? { only_matches: true } : {}),
  };
  const asked = async (more) => {
    const { route, body } = await question({ ...options, ...more });
    return json("POST", at(app.collection.served_as, route), { body, signal });
  };
  const answer = await asked({});
  performance.mark("imgvec:answered");
  const seen = new Set(answer.hits.map((hit) => hit.id));
  let reached = answer.hits.length;
  let ended = Boolean(answer.shortfall) || options.order_by !== undefined;
  const more = async () => {
    const limit = Math.min(STEP, MOST - reached);
    if (ended || limit <= 0) return { items: [] };
    const next = await asked({ offset: reached, limit });
    reached += next.hits.length;
    ended = Boolean(next.shortfall);
    // a wider search may rank a picture where another was: each stands once
    const items = next.hits.filter((hit) => !seen.has(hit.id));
    for (const hit of items) seen.add(hit.id);
    return { items, total: ended ? undefined : most() };
  };
  const most = () => Math.min(MOST, app.collection.pictures);
  return {
    answer, items: answer.hits, more: ended ? null : more, total: ended ? answer.hits.length : most(),
    said: sentence(answer, ended),
  };
}

function sentence(answer, ended) {
  const { verdict, hits } = answer;
  const time = ` (${Math.max(1, Math.round(answer.seconds.total * 1000))} ms)`;
  if (!hits.length && !verdict) return "Nothing matches.";
  const fewer = state.names().some((name) => name === "minus" || name.startsWith("f.")); // how many is not known
  const all = ended ? hits.length : fewer ? null : app.collection.pictures;
  const order = orders().find(({ value }) => value !== "" && value === state.get("order"))?.label ?? "The most similar first";
  const had = all === null ? order : `${counted(all, "picture")}, ${order[0].toLowerCase()}${order.slice(1)}`;
  if (!verdict) return `${had}${time}.`;
  const rate = share(verdict.false_match_rate);
  if (!verdict.match) {
    return `Nothing like it: no picture is a match, at a false-match rate of ${rate}.${hits.length ? " These come closest." : ""}`;
  }
  return `There is a match, at a false-match rate of ${rate}. ${had}${time}.`;
}

const OF_VIEWS = ["view", "person", "at_ms"]; // filters that are about a view, not its picture
const wholes = new Map(); // whether a collection of views has the whole pictures among them, by its name

async function hasWholes() {
  const { served_as: name, schema } = app.collection;
  if (!schema.some((field) => field.name === "view")) return false;
  if (!wholes.get(name)) {
    const path = withQuery(at(name, "images"), { where: 'view == "whole"', field: "view", limit: 1 });
    wholes.set(name, (await json("GET", path)).images.length > 0);
  }
  return wholes.get(name);
}

async function looked(given, signal) {
  const name = app.collection.served_as;
  const path = at(name, "images");
  const order = state.get("order") ?? orders()[0].value;
  // a picture stands once, not once more for each of its regions, unless it is they that are looked for
  const once = !OF_VIEWS.some((each) => state.get(`f.${each}`) !== null) && (await hasWholes());
  const where = once ? [given && `(${given})`, 'view == "whole"'].filter(Boolean).join(" and ") : given;
  const ask = async (limit, after) => {
    const { images, next } = await json("GET", withQuery(path, { where, order_by: order, limit, after }), { signal });
    return { images: images.map((each) => ({ ...each, box: boxOf(each.fields) })), next };
  };
  const [first, count] = await Promise.all([
    ask(FIRST, null),
    where ? json("GET", withQuery(at(name, "count"), { where }), { signal }) : { count: app.collection.rows },
  ]);
  performance.mark("imgvec:answered");
  let after = first.next;
  let size = STEP;
  const more = async () => {
    if (after === null || app.grid.items.length >= SHOWN) return { items: [] };
    const next = await ask(size, after);
    after = next.next;
    size = 10000;
    return { items: next.images, total: Math.min(SHOWN, count.count) };
  };
  const total = Math.min(SHOWN, count.count);
  const kinds = new Set(first.images.map((each) => (each.box ? each.fields.view : "picture")));
  const kind = kinds.size > 1 ? "view" : ([...kinds][0] ?? "picture");
  const said = count.count > SHOWN
    ? `The first ${number(SHOWN)} of ${number(count.count)} ${kind}s`
    : `${counted(count.count, kind)}${given ? " match" : ""}`;
  return { answer: null, items: first.images, more: after === null ? null : more, total, said };
}

// the way they are ordered, and how large they are
const order = el("select", { "aria-label": "Order", onchange: (event) => state.set({ order: event.target.value || null }) });
const only = el("input", { type: "checkbox", onchange: (event) => state.set({ only: event.target.checked ? "1" : null }) });
const onlyLabel = el("label", { class: "check" }, only, "Matches only");
const large = el("input", {
  type: "range", min: 90, max: 320, step: 10, value: 168, "aria-label": "Size of the pictures", class: "large",
  oninput: (event) => (app.grid.wanted = Number(event.target.value)),
});

function controls() {
  if (!app.collection) return;
  const given = orders();
  order.replaceChildren(...given.map(({ value, label }) => el("option", { value }, label)));
  const wanted = state.get("order");
  order.value = given.some(({ value }) => value === wanted) ? wanted : given[0].value;
  onlyLabel.hidden = !(isAsked() && app.answer?.verdict);
  only.checked = state.get("only") !== null;
}

app.on("collection", () => {
  find("controls").replaceChildren(onlyLabel, order, large);
  controls();
  ask();
});
app.on("answer", controls);
app.on("written", async () => {
  try {
    const { rows, pictures } = await json("GET", at(app.collection.served_as));
    Object.assign(app.collection, { rows, pictures });
    await ask();
  } catch (error) {
    app.failed(error);
  }
});
state.watch((changed) => {
  if (changed.has("c")) return; // the collection comes first
  if (!counting(changed)) return;
  controls();
  ask();
});
