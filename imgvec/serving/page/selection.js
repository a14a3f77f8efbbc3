// What is selected: by `x`, by the box in a picture's corner, a range with shift; and what can be done with all of it: taken
// along as a file, or deleted. It is kept for this tab and collection, whatever is searched for next.
//
//     selection.ids()           in the order in which they were selected
//     selection.has(id)
//     app.on("selection", …)    it has changed

import { at, request } from "./api.js";
import { app } from "./app.js";
import { baseName, counted, el, find, number } from "./dom.js";
import { pathsOf, save } from "./saving.js";

const MOST = 10000; // what the server exports in one go
const MOST_PICTURES = 1000; // and as a zip file, or deletes

let chosen = new Set();
let last = null; // the index where a range begins

export const selection = {
  ids: () => [...chosen],
  has: (id) => chosen.has(id),
  take(ids) {
    for (const id of ids) chosen.delete(id);
    changed();
  },
};

const place = () => `imgvec-selected-${app.collection?.served_as}`;
const looking = () => app.state.get("view") === null;

function remembered() {
  try {
    chosen = new Set(JSON.parse(sessionStorage.getItem(place())) ?? []);
  } catch {
    chosen = new Set();
  }
}

function changed() {
  try {
    if (chosen.size) sessionStorage.setItem(place(), JSON.stringify([...chosen]));
    else sessionStorage.removeItem(place());
  } catch {
    // a tab that keeps nothing forgets it when it is closed or loaded again
  }
  app.grid.refresh();
  tray();
  app.emit("selection");
}

function set(hits, wanted) {
  for (const hit of hits) {
    if (!wanted) chosen.delete(hit.id);
    else if (chosen.size < MOST) chosen.add(hit.id);
    else if (!chosen.has(hit.id)) {
      app.tell(`No more than ${number(MOST)} pictures can be selected at once.`, { bad: true });
      break;
    }
  }
  changed();
  app.say(`${counted(chosen.size, "picture")} selected`);
}

function toggle(hit) {
  last = app.grid.items.findIndex((each) => each?.id === hit.id);
  set([hit], !chosen.has(hit.id));
}

function range(hit) {
  const here = app.grid.items.findIndex((each) => each?.id === hit.id);
  if (last === null || here < 0 || last >= app.grid.items.length) return toggle(hit);
  const between = app.grid.items.slice(Math.min(last, here), Math.max(last, here) + 1).filter(Boolean);
  last = here;
  set(between, true);
}

app.command({ id: "select", label: "Select", key: "x", when: (hit) => Boolean(hit) && looking(), run: toggle });
app.command({
  id: "select-range", label: "Select from the last one to this", key: "X", when: (hit) => Boolean(hit) && looking(), run: range,
});
app.command({
  id: "select-all",
  label: "Select all that are loaded",
  key: "A",
  when: () => looking() && app.grid.items.length > 0,
  run: () => set(app.grid.items.filter(Boolean), true),
});
app.command({
  id: "select-none",
  label: "Select nothing",
  key: "N",
  when: () => chosen.size > 0,
  run: () => selection.take(selection.ids()),
});

app.decorate((tile, hit) => {
  const selected = chosen.has(hit.id);
  tile.setAttribute("aria-selected", selected);
  tile.classList.toggle("selected", selected);
  const box = tile.querySelector(".pick-box") ?? boxed(tile);
  box.checked = selected;
  box.setAttribute("aria-label", `Select ${baseName(hit.uri)}`);
});

function boxed(tile) {
  // the tile is clicked to look at it, the box to select it
  const box = el("input", { type: "checkbox", class: "pick-box", tabindex: -1 });
  box.addEventListener("click", (event) => {
    event.stopPropagation();
    const hit = app.grid.items[Number(tile.dataset.index)];
    if (event.shiftKey) range(hit);
    else toggle(hit);
  });
  tile.append(box);
  return box;
}

const FORMS = [
  ["csv", "CSV"],
  ["json", "JSON"],
  ["paths", "Paths"],
  ["originals", "Originals (zip)"],
  ["thumbnails", "Thumbnails (zip)"],
];

function tray() {
  const root = find("tray");
  const held = root.contains(document.activeElement);
  root.hidden = chosen.size === 0;
  if (root.hidden) {
    root.replaceChildren();
    if (held) app.grid.go(app.grid.active);
    return;
  }
  if (root.firstChild) {
    // the buttons stay, so that who has just pressed one is not thrown out of it
    root.querySelector("strong").textContent = `${number(chosen.size)} selected`;
    return;
  }
  root.append(
    el("strong", {}, `${number(chosen.size)} selected`),
    el(
      "span",
      { class: "group", role: "group", "aria-label": "Save the selection as" },
      el("span", { class: "quiet" }, "Save as"),
      FORMS.map(([form, label]) => el("button", { type: "button", onclick: () => saved(form).catch(app.failed) }, label)),
    ),
    el(
      "span",
      { class: "group" },
      app.may("admin") && el("button", { type: "button", class: "danger", onclick: () => deleted().catch(app.failed) }, "Delete…"),
      el("button", { type: "button", onclick: () => selection.take(selection.ids()) }, "Clear"),
    ),
  );
}

const few = (what) => {
  if (chosen.size <= MOST_PICTURES) return true;
  app.tell(`${what} at most ${number(MOST_PICTURES)} pictures at once: select fewer.`, { bad: true });
  return false;
};

async function saved(form) {
  if (["originals", "thumbnails"].includes(form) && !few("A zip file holds")) return;
  app.tell("The file is being made…");
  const body = { ids: selection.ids(), form, ...(form === "thumbnails" ? { size: 512 } : {}) };
  await save(await request("POST", at(app.collection.served_as, "images", "export"), { body }));
}

async function deleted() {
  if (!few("Delete")) return;
  const ids = selection.ids();
  const many = counted(ids.length, "picture");
  const meant = await app.choose({
    title: `Delete ${many}?`,
    text:
      `${ids.length === 1 ? "It is" : "They are"} taken out of ${app.collection.served_as}, and no search finds ` +
      `${ids.length === 1 ? "it" : "them"} any more. The files stay where they are: the next ingest of their folder brings them back.`,
    yes: `Delete ${many}`,
    danger: true,
  });
  if (!meant) return;
  const name = app.collection.served_as;
  const action = await pathsOf(name, ids);
  const got = await request("POST", at(name, "images", "delete"), { body: { ids, confirm: true } });
  const { deleted } = await got.json();
  selection.take(ids);
  app.tell(`${counted(deleted, "picture")} deleted.`, { action: deleted ? action : null });
  app.emit("written");
}

app.on("collection", () => {
  last = null;
  remembered();
  tray();
});
app.on("answer", () => (last = null));
