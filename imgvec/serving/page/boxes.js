// The views of the open picture that have a place on it, such as its faces and regions: a button on each, which searches
// for it.

import { at, json, withQuery } from "./api.js";
import { app } from "./app.js";
import { NOTHING } from "./asked.js";
import { counted, el } from "./dom.js";
import { quoted } from "./filters.js";
import { state } from "./state.js";

const MOST = 200;

let drawn = true; // for as long as the page is open
let toggle = null;

app.command({
  id: "boxes", label: "Show or hide the boxes on the picture", key: "b", when: () => app.opened && toggle?.isConnected,
  run: () => toggle.click(),
});

/** x0, y0, x1, y1 of a row's view in pixels of its picture; null where it is the whole of it. */
export const boxOf = ({ box, view }) => (box?.length === 4 && view !== "whole" ? box : null);

const has = (name) => app.collection.schema.some((each) => each.name === name);

/** The rows of the picture that `fields` is a view of, itself among them; none where rows are whole pictures. */
export async function viewsOf(fields, signal) {
  if (!has("image_id") || !has("box") || !fields.image_id) return [];
  const field = ["box", "view", "person", "width", "height"].filter(has);
  const where = `image_id == ${quoted(fields.image_id)}`;
  const path = withQuery(at(app.collection.served_as, "images"), { where, field, limit: MOST });
  return (await json("GET", path, { signal })).images;
}

/** Where on the picture something is, in words. */
function place([x0, y0, x1, y1], width, height) {
  const third = (middle, names) => names[Math.min(2, Math.floor(3 * middle))];
  const across = third((x0 + x1) / 2 / width, ["left", "", "right"]);
  const down = third((y0 + y1) / 2 / height, ["top", "", "bottom"]);
  return [down, across].filter(Boolean).join(" ") || "middle";
}

const area = ([x0, y0, x1, y1]) => (x1 - x0) * (y1 - y0);
const byPlace = (a, b) => a.fields.box[1] - b.fields.box[1] || a.fields.box[0] - b.fields.box[0];

/** Draws the views among `rows` on `frame`, in which their picture fills all, and says below it, in `root`, what they are. */
export function boxes(rows, hit, frame, root) {
  const boxed = rows.filter(({ fields }) => boxOf(fields) && fields.width && fields.height).sort(byPlace);
  if (!boxed.length) return;
  const kinds = grouped(boxed);
  const bySize = [...boxed].sort((a, b) => area(b.fields.box) - area(a.fields.box));
  for (const [kind, some] of kinds) some.forEach((each, index) => frame.append(button(each, kind, index, some.length)));

  function button({ id, fields }, kind, index, count) {
    const { width, height, box, person } = fields;
    const about = [
      count > 1 ? `${kind} ${index + 1} of ${count}` : `this ${kind}`, person, place(box, width, height),
      id === hit.id ? "the one that is open" : "",
    ].filter(Boolean).join(", ");
    const made = el(
      "button",
      {
        type: "button", class: `spot ${kind}${id === hit.id ? " own" : ""}`, "aria-label": `Search for ${about}`,
        title: `Search for ${person || `this ${kind}`}`, onclick: () => state.set({ ...NOTHING, id, open: null }),
      },
      person ? el("span", { class: `who ${box[0] > 0.6 * width ? "to-left" : ""} ${box[3] > 0.9 * height ? "above" : ""}` }, person) : null,
    );
    Object.assign(made.style, {
      left: `${(100 * box[0]) / width}%`, top: `${(100 * box[1]) / height}%`,
      width: `${(100 * (box[2] - box[0])) / width}%`, height: `${(100 * (box[3] - box[1])) / height}%`,
      // a small one within a large one can be reached
      zIndex: 1 + bySize.findIndex((each) => each.id === id),
    });
    return made;
  }

  const show = (on) => {
    drawn = on;
    frame.classList.toggle("bare", !on);
  };
  toggle = el("input", { type: "checkbox", checked: drawn, onchange: (event) => show(event.target.checked) });
  show(drawn);
  const listed = [...kinds].map(([kind, some]) => counted(some.length, kind)).join(", ");
  const people = [...new Set(boxed.map(({ fields }) => fields.person).filter(Boolean))];
  root.replaceChildren(
    el("p", { class: "hint" }, `${listed}${people.length ? `: ${people.join(", ")}` : ""}. Press one to search for it.`),
    el("label", { class: "check" }, toggle, "Boxes"),
  );
}

function grouped(boxed) {
  const kinds = new Map();
  for (const each of boxed) kinds.set(each.fields.view, [...(kinds.get(each.fields.view) ?? []), each]);
  return kinds;
}
