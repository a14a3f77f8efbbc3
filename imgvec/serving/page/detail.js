// The picture that is open, beside the grid.

import { at, json } from "./api.js";
import { app } from "./app.js";
import { baseName, el, find } from "./dom.js";
import { show, thumbnail } from "./pictures.js";
import { state } from "./state.js";
import { outline, worth } from "./tile.js";

app.command({ id: "look", label: "Look at the picture", key: " ", when: () => app.grid.items[app.grid.active], run: look });

function look() {
  const hit = app.grid.items[app.grid.active];
  state.set({ open: state.get("open") === hit.id ? null : hit.id });
}

app.on("picked", ({ hit }) => state.set({ open: hit.id }));
app.on("active", (hit) => {
  if (app.opened && hit) state.set({ open: hit.id }, { replace: true });
});
app.on("escape", () => app.opened && state.set({ open: null }));

let turn = 0;

async function opened() {
  const id = state.get("open");
  const root = find("detail");
  const mine = ++turn;
  if (id === null || !app.collection) {
    const had = app.opened;
    app.opened = null;
    root.hidden = true;
    document.body.classList.remove("opened");
    if (had) {
      app.grid.go(app.grid.active);
      app.emit("open", null);
    }
    return;
  }
  let hit = app.grid.items.find((each) => each.id === id);
  if (!hit) {
    try {
      const found = await json("GET", at(app.collection.served_as, "images", id));
      const at_ = `${at(app.collection.served_as, "images", id)}/thumbnail`;
      hit = { id, uri: found.fields.uri, fields: found.fields, thumbnail: at_, box: found.fields.box ?? null };
    } catch (error) {
      if (mine === turn) app.failed(error);
      return;
    }
  }
  if (mine !== turn) return;
  app.opened = hit;
  root.hidden = false;
  document.body.classList.add("opened");
  draw(root, hit);
  app.emit("open", hit);
}

function draw(root, hit) {
  const image = el("img", { alt: baseName(hit.uri), class: "large" });
  const frame = el("div", { class: "picture" }, image);
  show(image, thumbnail(hit, 1024));
  if (hit.box && hit.fields.width) frame.append(outline(hit));
  root.replaceChildren(
    el(
      "div",
      { class: "head" },
      el("h2", { title: hit.uri }, baseName(hit.uri)),
      el("button", { type: "button", class: "close", "aria-label": "Close", onclick: () => state.set({ open: null }) }, "×"),
    ),
    frame,
    el("p", { class: "worth" }, worth(hit, true)),
  );
}

app.on("collection", opened);
state.watch((changed) => changed.has("open") && opened());
