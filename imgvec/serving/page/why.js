// Below the open picture, where a picture was searched for: why it was found. The server compares the two for some
// seconds; meanwhile everything else can be done, and Escape or the button ends it.

import { at, json, request } from "./api.js";
import { app } from "./app.js";
import { box, picture } from "./asked.js";
import { boxOf } from "./boxes.js";
import { el } from "./dom.js";
import { heated, spread } from "./heat.js";
import { thumbnail } from "./pictures.js";
import { state } from "./state.js";

const ASK = "Why was it found?";
const PAIRS = 200; // those that lie next to each other are left out of them
const PATIENCE = 8000;

let running = null; // what ends the comparison that is under way
let press = null; // what the key does

/** Whether one picture was asked for, so that there is something to explain. */
const canExplain = () => (state.get("id") ?? state.get("pic")) !== null && app.collection.takes.image !== false;

app.command({
  id: "why", label: "Why it was found; then show or hide what is drawn", key: "w", when: () => app.opened && press?.(false),
  run: () => press(true),
});

// before the keys of the page, which would close the picture
addEventListener(
  "keydown",
  (event) => {
    if (event.key !== "Escape" || !running || document.querySelector("dialog[open]") || event.target.closest?.(".part-box")) return;
    event.preventDefault();
    running.abort();
  },
  { capture: true },
);

app.panel({
  id: "why",
  side: "detail",
  label: "Why it was found",
  render(root, hit, signal) {
    press = null;
    if (!canExplain() || hit.score === undefined || hit.id === state.get("id")) return;
    const button = el("button", { type: "button", title: `${ASK} (w)`, onclick: () => (running ? running.abort() : explain()) }, ASK);
    const progress = el("progress", { "aria-label": "Comparing the two pictures", hidden: true });
    const said = el("p", { class: "hint", role: "status" });
    root.append(el("div", { class: "asking" }, button, progress, said));
    press = (now) => {
      if (!root.isConnected) return false;
      if (now && !running) explain();
      return true;
    };

    async function explain() {
      const mine = new AbortController();
      const both = AbortSignal.any([signal, mine.signal]);
      running = mine;
      button.textContent = "Cancel";
      progress.hidden = false;
      said.textContent = "Comparing patches of the two pictures… Escape ends it.";
      const later = setTimeout(() => (said.textContent = "Still comparing: the server is busy. Escape ends it."), PATIENCE);
      try {
        const [found, ...images] = await Promise.all([
          json("POST", at(app.collection.served_as, "explain"), { body: asked(hit), signal: both }),
          own(both),
          stored(thumbnail(hit, 256), hit.fields, hit.box, null, both),
        ]);
        if (both.aborted) return;
        show(root, found, images, document.activeElement === button);
      } catch (error) {
        said.textContent = error.name === "AbortError" ? "Ended." : sentence(error);
        if (error.name !== "AbortError" && error.status === undefined) console.error(error);
      } finally {
        clearTimeout(later);
        if (running === mine) running = null;
        button.textContent = ASK;
        progress.hidden = true;
      }
    }
  },
});

function sentence({ message }) {
  const text = message.replace(/^./, (first) => first.toUpperCase());
  return /[.!?]$/.test(text) ? text : `${text}.`;
}

function asked(hit) {
  const cut = box();
  if (state.get("pic") === null) {
    const query = { id: state.get("id") };
    return { query: cut ? { crop: query, box: cut } : query, id: hit.id, pairs: PAIRS };
  }
  const body = new FormData();
  body.append("image", picture(state.get("pic")).file, "picture");
  if (cut) body.append("box", JSON.stringify(cut));
  body.append("options", JSON.stringify({ id: hit.id, pairs: PAIRS }));
  return body;
}

const shares = ([x0, y0, x1, y1], width, height) => [x0 / width, y0 / height, x1 / width, y1 / height];

/** {image, part} of what is searched by. */
async function own(signal) {
  const cut = box();
  if (state.get("pic") !== null) {
    // a format that the server reads and this browser does not is drawn without its picture
    const image = await createImageBitmap(picture(state.get("pic")).file).catch(() => null);
    return { image, part: image && cut && shares(cut, image.width, image.height) };
  }
  const path = at(app.collection.served_as, "images", state.get("id"));
  const { fields } = await json("GET", path, { signal });
  return stored(thumbnail({ thumbnail: `${path}/thumbnail` }, 256), fields, boxOf(fields), cut, signal);
}

/** {image, part} of a row whose view lies at `view`, and of a part `cut` out of that. */
async function stored(path, { width, height }, view, cut, signal) {
  const image = await createImageBitmap(await (await request("GET", path, { signal })).blob()).catch((error) => {
    if (signal.aborted) throw error;
    return null;
  });
  const [x, y] = view ?? [0, 0];
  const part = cut ? [cut[0] + x, cut[1] + y, cut[2] + x, cut[3] + y] : view;
  return { image, part: part && width && height ? shares(part, width, height) : null };
}

const unseen = ({ size: [width, height], seen: [x0, y0, x1, y1] }) => x0 > 1 || y0 > 1 || x1 < width - 1 || y1 < height - 1;

function show(root, found, [mine, its], focused) {
  const pairs = spread(found.pairs);
  const sides = [
    heated({ side: found.query, ...mine, pairs: pairs.map((each) => each.query), label: "What was searched for" }),
    heated({ side: found.hit, ...its, pairs: pairs.map((each) => each.hit), label: "This picture" }),
  ];
  const draw = (on) => sides.forEach((each) => each.show(on));
  const toggle = el("input", { type: "checkbox", checked: true, onchange: (event) => draw(event.target.checked) });
  const head = el("h3", { tabindex: -1 }, "Why it was found");
  const figure = (side, caption) => el("figure", {}, side.root, el("figcaption", { class: "hint" }, caption));
  const buttons = pairs.map((pair, index) =>
    el(
      "button",
      {
        type: "button", "aria-pressed": "false", "aria-label": `Show pair ${index + 1} alone, similarity ${pair.similarity.toFixed(2)}`,
        onclick: (event) => alone(event.currentTarget, index),
      },
      el("b", {}, index + 1), ` ${pair.similarity.toFixed(2)}`,
    ),
  );
  const alone = (pressed, index) => {
    const on = pressed.getAttribute("aria-pressed") !== "true";
    for (const each of buttons) each.setAttribute("aria-pressed", String(on && each === pressed));
    for (const each of sides) each.only(on ? index : null);
  };
  root.replaceChildren(
    el("div", { class: "asking" }, head, el("label", { class: "check" }, toggle, "Overlay")),
    el("div", { class: "both" }, figure(sides[0], "Searched for"), figure(sides[1], "This picture")),
    el(
      "div",
      { class: "legend hint" },
      el("p", { class: "scale" }, el("span", {}, "only in one"), el("i", { "aria-hidden": "true" }), el("span", {}, "in both")),
      [found.query, found.hit].some(unseen) ? el("p", {}, "Dark: what the encoder does not look at.") : null,
      found.mirrored ? el("p", {}, "It is like the mirror image.") : null,
      pairs.length ? el("p", {}, "Numbers: the parts that are most alike, and how much (up to 1.00).") : null,
      pairs.length ? el("div", { class: "pairs", role: "group", "aria-label": "Parts that are most alike" }, buttons) : null,
    ),
    el("p", { class: "away", role: "status" }, "Compared."),
  );
  draw(true);
  if (focused) head.focus({ preventScroll: true });
  root.scrollIntoView({ block: "nearest" });
  press = (now) => {
    if (!root.isConnected) return false;
    if (now) toggle.click();
    return true;
  };
}
