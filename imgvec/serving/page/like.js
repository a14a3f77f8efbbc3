// Below the open picture: what is most like it.

import { at, json } from "./api.js";
import { app } from "./app.js";
import { baseName, el } from "./dom.js";
import { show, thumbnail } from "./pictures.js";
import { state } from "./state.js";
import { worth } from "./tile.js";

const SHOWN = 8;

app.panel({
  id: "like",
  side: "detail",
  label: "Most like it",
  async render(root, hit, signal) {
    const body = { query: { id: hit.id }, limit: SHOWN + 1 };
    const answer = await json("POST", at(app.collection.served_as, "search"), { body, signal });
    const hits = answer.hits.filter((each) => each.id !== hit.id).slice(0, SHOWN);
    if (!hits.length) return;
    root.append(
      el("h3", {}, "Most like it"),
      el(
        "div",
        { class: "strip" },
        hits.map((each) => {
          const image = el("img", { alt: "" });
          show(image, thumbnail(each, 128));
          return el(
            "button",
            {
              type: "button", title: each.uri, "aria-label": `${baseName(each.uri)}, ${worth(each, true)}`,
              onclick: () => state.set({ open: each.id }),
            },
            image,
            el("span", {}, worth(each, false)),
          );
        }),
      ),
    );
  },
});
