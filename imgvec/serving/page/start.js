// Opens the page: the collections, the one that is shown, and the views that stand in place of the grid.

import { at, json } from "./api.js";
import { app } from "./app.js";
import { el, find } from "./dom.js";
import { Grid } from "./grid.js";
import { state } from "./state.js";

let opening = 0;

export async function start() {
  performance.mark("imgvec:start");
  app.grid = new Grid(find("scroller"));
  buttons();
  state.watch((changed) => {
    if (changed.has("c")) open().catch(app.failed);
    if (changed.has("view")) views();
  });
  find("collection").addEventListener("change", (event) => {
    // another collection has other pictures and fields: its question begins afresh
    const left = Object.fromEntries(state.names().map((name) => [name, null]));
    state.set({ ...left, c: event.target.value });
  });
  find("home").addEventListener("click", (event) => {
    event.preventDefault();
    state.set({ ...Object.fromEntries(state.names().map((name) => [name, null])), c: state.get("c") });
  });
  try {
    const { collections, scopes } = await json("GET", "/v1/collections");
    app.scopes = scopes;
    app.names = collections.map((each) => each.name);
    const choice = find("collection");
    choice.replaceChildren(...app.names.map((name) => el("option", { value: name }, name)));
    choice.hidden = app.names.length < 2;
    views();
    await open();
  } catch (error) {
    app.say(error.message);
    if (error.status === undefined) console.error(error);
  }
}

async function open() {
  const name = state.get("c") ?? app.names[0];
  const turn = ++opening;
  if (!app.names.includes(name)) {
    app.collection = null;
    app.grid.show({ items: [] });
    throw Object.assign(new Error(`There is no collection called ${name} here.`), { status: 404 });
  }
  // the pictures of another one are not this one's, and cannot be pressed until its own are there
  if (app.collection && app.collection.served_as !== name) app.grid.show({ items: [] });
  const found = await json("GET", at(name));
  if (turn !== opening) return;
  for (const field of found.schema) field.kind = kindOf(field);
  app.collection = found;
  find("collection").value = name;
  document.title = `${name} · imgvec`;
  app.emit("collection");
}

const NUMBERS = ["INT8", "INT16", "INT32", "INT64", "FLOAT", "DOUBLE"];

/** How a field is filtered and ordered, by its type: choice, list, truth, number or date; null for what is not. */
function kindOf({ type, date, element }) {
  if (date) return "date";
  if (type === "VARCHAR") return "choice";
  if (type === "BOOL") return "truth";
  if (type === "ARRAY") return element === "BOOL" ? null : "list";
  return NUMBERS.includes(type) ? "number" : null;
}

function buttons() {
  find("tools").replaceChildren(
    ...app.commands
      .filter((each) => each.place === "bar")
      .map((each) =>
        el(
          "button",
          {
            type: "button", class: "tool", "data-command": each.id, title: each.key ? `${each.label} (${each.key})` : each.label,
            onclick: (event) => app.run(each, app.current(), event),
          },
          each.sign ? el("span", { class: "sign", "aria-hidden": "true" }, each.sign) : null,
          el("span", { class: "label" }, each.label),
        ),
      ),
  );
  const offered = () => {
    for (const button of find("tools").children) {
      const command = app.commands.find((each) => each.id === button.dataset.command);
      button.hidden = !app.can(command, null);
    }
  };
  offered(); // what takes a collection comes with it
  app.on("collection", offered);
}

let shown = null;

function views() {
  const given = state.get("view");
  // a link of another version, or by hand; the watchers are told, this one among them
  if (given !== null && !app.views.some((each) => each.id === given)) return state.set({ view: null }, { replace: true });
  const wanted = app.views.find((each) => each.id === state.get("view")) ?? null;
  if (wanted === shown) return;
  shown?.hide?.();
  shown = wanted;
  const root = find("view");
  root.replaceChildren();
  root.hidden = !wanted;
  document.body.classList.toggle("viewing", Boolean(wanted));
  for (const id of ["scroller", "filters", "question", "controls"]) find(id).classList.toggle("aside", Boolean(wanted));
  if (wanted) wanted.show(root);
  app.emit("view", wanted?.id ?? null);
}
