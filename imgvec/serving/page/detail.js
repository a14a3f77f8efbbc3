// The picture that is open, beside the grid: itself, with its views and the part that is drawn on it, what can be done with
// it, and what is stored of it.

import { at, json, request } from "./api.js";
import { app } from "./app.js";
import { NOTHING } from "./asked.js";
import { boxOf, boxes, viewsOf } from "./boxes.js";
import { baseName, date, el, find, number } from "./dom.js";
import { title } from "./orders.js";
import { part } from "./part.js";
import { show, thumbnail } from "./pictures.js";
import { state } from "./state.js";
import { outline, worth } from "./tile.js";

app.command({
  id: "look", label: "Look at the picture, or close it", key: " ", when: (hit) => hit !== null,
  run: (hit) => state.set({ open: app.opened ? null : hit.id }),
});
app.command({ id: "part", label: "Search for a part of it", key: "p", place: "detail", when: () => app.opened && cutting, run: () => cutting.select() });
app.command({ id: "original", label: "Open the file", key: "o", place: "detail", when: (hit) => hit, run: original });

let cutting = null;

app.on("picked", ({ hit }) => state.set({ open: hit.id }));
app.on("active", (hit) => {
  if (app.opened && hit) state.set({ open: hit.id }, { replace: true });
});
app.on("escape", () => app.opened && state.set({ open: null }));

async function original(hit) {
  // a tab that is opened after waiting would be taken for an advertisement
  const tab = open("about:blank", "_blank");
  try {
    const got = await request("GET", `${at(app.collection.served_as, "images", hit.id)}/original`);
    const url = URL.createObjectURL(await got.blob());
    if (tab) tab.location = url;
    setTimeout(() => URL.revokeObjectURL(url), 60000);
  } catch (error) {
    tab?.close();
    throw error;
  }
}

let turn = 0;
let abort = new AbortController();

async function opened() {
  const id = state.get("open");
  const root = find("detail");
  const mine = ++turn;
  abort.abort();
  abort = new AbortController();
  if (id === null || !app.collection) {
    const had = app.opened;
    app.opened = cutting = null;
    root.hidden = true;
    root.replaceChildren();
    document.body.classList.remove("opened");
    if (had) {
      app.grid.go(app.grid.active);
      app.emit("open", null);
    }
    return;
  }
  const { signal } = abort;
  let hit = app.grid.items.find((each) => each.id === id);
  const path = at(app.collection.served_as, "images", id);
  const whole = json("GET", path, { signal });
  whole.catch(() => {});
  if (!hit) {
    try {
      const { fields } = await whole;
      hit = { id, uri: fields.uri, fields, thumbnail: `${path}/thumbnail`, box: boxOf(fields) };
    } catch (error) {
      if (mine === turn && error.name !== "AbortError") {
        app.failed(error);
        state.set({ open: null }, { replace: true });
      }
      return;
    }
  }
  if (mine !== turn) return;
  const first = !app.opened;
  app.opened = hit;
  draw(root, hit, whole, signal);
  root.hidden = false;
  document.body.classList.add("opened");
  if (first && matchMedia("(max-width: 1000px)").matches) root.focus();
  app.emit("open", hit);
}

function draw(root, hit, whole, signal) {
  const image = el("img", { alt: baseName(hit.uri) });
  const frame = el("div", { class: "canvas" }, image);
  const go = el("button", { type: "button", class: "main go", hidden: true }, "Search for this part");
  const { width, height } = hit.fields;
  cutting = null;
  show(image, thumbnail(hit, 512));
  if (width && height) {
    image.width = width;
    image.height = height;
    if (hit.box) frame.append(outline(hit));
    else cuttable(hit.id);
  }

  /** Lets a part of the picture be chosen; `id` is the row that is the whole of it. */
  function cuttable(id) {
    let cut = null;
    const search = () => state.set({ ...NOTHING, id, box: cut.join(","), open: null });
    go.addEventListener("click", search);
    cutting = part(frame, {
      width, height,
      done(box, { now }) {
        cut = box;
        go.hidden = !box;
        if (now) search();
      },
    });
  }

  const facts = el("dl", { class: "facts" });
  const others = el("div", { class: "views" });
  const acts = el("div", { class: "acts" });
  const offered = () =>
    acts.replaceChildren(
      ...app.commands
        .filter((each) => ["tile", "detail"].includes(each.place) && app.can(each, hit))
        .map((each) =>
          el(
            "button",
            { type: "button", title: each.key ? `${each.label} (${each.key})` : each.label, onclick: (event) => app.run(each, hit, event) },
            each.label,
          ),
        ),
    );
  offered();
  const extra = el("div", { class: "extra" });
  root.replaceChildren(
    el(
      "div",
      { class: "head" },
      el("h2", { title: hit.uri }, baseName(hit.uri)),
      el("button", { type: "button", class: "close", "aria-label": "Close", onclick: () => state.set({ open: null }) }, "×"),
    ),
    el("div", { class: "picture" }, frame),
    el("div", { class: "below" }, el("p", { class: "worth" }, worth(hit, true)), go),
    acts,
    others,
    extra,
    facts,
  );
  whole.then(
    ({ fields }) => !signal.aborted && facts.replaceChildren(...said(hit, fields)),
    () => {},
  );
  viewsOf({ image_id: hit.image_id, ...hit.fields }, signal).then(
    (rows) => {
      if (signal.aborted) return;
      boxes(rows, hit, frame, others);
      // a part is cut out of a row's own view, so one of the whole picture takes the row of the whole
      const whole = hit.box && rows.find((each) => each.fields.view === "whole");
      if (!whole || !width || !height) return;
      cuttable(whole.id);
      offered();
    },
    (error) => error.name !== "AbortError" && console.warn(error.message),
  );
  for (const panel of app.panels.filter((each) => each.side === "detail")) {
    const own = el("section", { class: "panel", "aria-label": panel.label });
    extra.append(own);
    Promise.resolve(panel.render(own, hit, signal)).catch((error) => {
      if (error.name !== "AbortError") own.replaceChildren(el("p", { class: "hint" }, error.message));
    });
  }
}

/** What is stored, as text: [dt, dd, …]. */
function said(hit, fields) {
  const shown = [];
  for (const { name, kind } of app.collection.schema) {
    if (["id", "content_hash", "uri", "image_id", "box"].includes(name)) continue;
    const value = fields[name];
    if (value === null || value === undefined || value === "" || (kind === "date" && value === 0)) continue;
    if (Array.isArray(value) && !value.length) continue;
    if (name === "at_ms" && fields.view !== "frame") continue; // 0 of every other view
    shown.push([title(name), text(kind, value)]);
  }
  shown.push(["File", hit.uri], ["Id", hit.id]);
  return shown.flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, value)]);
}

function text(kind, value) {
  if (kind === "date") return typeof value === "number" ? date(value) : String(value);
  if (kind === "truth") return value ? "Yes" : "No";
  if (typeof value === "number") return number(value);
  if (Array.isArray(value)) return value.join(", ");
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}

app.on("collection", opened);
state.watch((changed) => changed.has("open") && opened());
