// What stands in a tile of the grid.

import { app } from "./app.js";
import { el, share, svg } from "./dom.js";

/** What a hit is worth, for a caption or in words: its probability where it is known, else its score. */
export function worth(hit, inWords) {
  if (hit.probability !== null && hit.probability !== undefined) {
    return inWords ? `${share(hit.probability)} likely the same` : share(hit.probability);
  }
  if (hit.score === undefined || hit.score === null) return "";
  return inWords ? `score ${hit.score.toFixed(2)}` : hit.score.toFixed(2);
}

/** The box of a view, drawn over a picture that is shown whole. */
export function outline(hit) {
  const { width, height } = hit.fields;
  const [left, top, right, bottom] = hit.box;
  return svg(
    "svg",
    { class: "outline", viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true" },
    svg("rect", { x: left, y: top, width: right - left, height: bottom - top, "vector-effect": "non-scaling-stroke" }),
  );
}

/** An empty tile, with the small buttons of the commands that have their place on it. */
export function made() {
  const tile = el(
    "div",
    { class: "tile", role: "gridcell", tabindex: -1 },
    el("div", { class: "frame" }, el("img", { alt: "", decoding: "async", draggable: "false" })),
    el("div", { class: "caption" }, el("span", { class: "name" }), el("span", { class: "worth" })),
  );
  const quick = app.commands.filter((each) => each.place === "tile");
  if (quick.length) {
    tile.append(
      el(
        "div",
        { class: "quick" },
        quick.map((each) =>
          el(
            "button",
            {
              type: "button", tabindex: -1, "data-command": each.id, title: each.key ? `${each.label} (${each.key})` : each.label,
              "aria-label": each.label,
            },
            each.sign ?? each.label,
          ),
        ),
      ),
    );
  }
  return tile;
}
