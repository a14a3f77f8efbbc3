// What the parts of the page share, and how another part joins in. A part is a module of its own in this folder, named
// in main.js, and calls these as it is loaded:
//
//     app.command({id, label, key, sign, place, when, run})
//         something that can be done. `key` is one key ("s", "?", "Delete"), pressed anywhere but in a field; `place` is
//         "bar" (a button at the top), "tile" (a small one on each picture, with `sign` on it), "detail" (below the
//         open picture), or left out (by key alone). `run(hit, event)` gets the picture that it is about: the tile's, the
//         open one, or the active one of the grid; null where there is none. `when(hit)` says whether it can be done
//         now. The help (?) lists all by their key, or by `keys` where that says it better; those with "" are left out.
//     app.panel({id, side, label, render})
//         a part of the side "filters" or "detail". `render(root, hit)` fills the empty `root`, and again when the
//         collection, the answer, or (of "detail") the open picture has changed; it may be async, and is then given
//         `signal` as its third argument, aborted once it is out of date. Nothing in `root` means that it is not shown.
//     app.view({id, label, show, hide})
//         what stands in place of the grid while state.get("view") is its id. `show(root)` fills the empty `root`.
//     app.decorate((tile, hit, index) => …)
//         is called whenever a tile of the grid is filled (tiles are used again): set classes, aria-selected, and so on.
//         app.grid.refresh() fills all again.
//     app.on(name, listener)
//         "collection" (app.collection was loaded), "answer" (app.answer), "items" (the grid has more), "active" (another
//         picture of the grid is active), "open" (another picture is looked at, or null), "written" (rows were
//         written or deleted: what is shown is asked for again), "regained" (the visitor's picture is there again after a reload).
//     app.say(text)             for screen readers, and in the line above the grid
//     app.tell(text, {bad})     a note that goes away by itself; with {action: {label, run}} it has a button, and stays
//     app.choose({title, text, yes, no, danger})   a question; a promise of true or false
//
// A hit is {id, uri, score, probability, fields, thumbnail, box, view, …} as /v1/…/search gives it, or a row that is
// looked at without a question, which has no score. `app.collection` is what GET /v1/collections/NAME says.
// app.grid.items are the pictures that are there so far, app.grid.active is the index of the active one.
// Styles: colours are variables (--page, --ink, --quiet, --line, --accent, …) at the top of style.css; a part that needs
// styles of its own brings a file and adds a <link> in index.html. No style attributes and no HTML made of text: the
// page's policy forbids the one, a test the other; dom.js makes elements.

import { find } from "./dom.js";
import { state } from "./state.js";

const listeners = new Map();

export const app = {
  state,
  /** What GET /v1/collections says that this visitor may do. */
  scopes: [],
  /** What GET /v1/collections/NAME says of the one that is shown. */
  collection: null,
  /** What the last question was answered, without the hits that came later; null where nothing was asked. */
  answer: null,
  /** The grid of pictures: see grid.js. */
  grid: null,
  /** The picture that is looked at, or null. */
  opened: null,

  commands: [],
  panels: [],
  views: [],
  decorators: [],

  command: (given) => void app.commands.push(given),
  panel: (given) => void app.panels.push(given),
  view: (given) => void app.views.push(given),
  decorate: (decorator) => void app.decorators.push(decorator),

  on(name, listener) {
    if (!listeners.has(name)) listeners.set(name, new Set());
    listeners.get(name).add(listener);
    return () => listeners.get(name).delete(listener);
  },

  emit(name, detail) {
    for (const each of [...(listeners.get(name) ?? [])]) each(detail);
  },

  /** The picture that a command is about; none while a view stands in place of the pictures. */
  current() {
    if (state.get("view")) return null; // it stands in place of the grid, whose pictures nobody sees then
    return app.opened ?? app.grid?.items[app.grid.active] ?? null;
  },

  /** Whether the visitor's token has the scope: what it does not have is not offered. */
  may: (scope) => app.scopes.includes(scope),
  can: (command, hit) => command.when === undefined || Boolean(command.when(hit)),

  async run(command, hit, event) {
    if (!app.can(command, hit)) return;
    try {
      await command.run(hit, event);
    } catch (error) {
      app.failed(error);
    }
  },

  say(text, { bad = false } = {}) {
    find("said").textContent = text;
    find("said").classList.toggle("no-match", bad);
  },

  tell(text, options) {
    app.emit("note", { text, ...options });
  },

  failed(error) {
    if (error.name === "AbortError") return;
    if (error.status === undefined) console.error(error);
    app.tell(error.message, { bad: true });
  },

  choose: (question) => new Promise((answer) => app.emit("choose", { ...question, answer })),
};
