// Below the open picture: what is most like it. And, where something was asked, why it was found.

import { at, json, request } from "./api.js";
import { app } from "./app.js";
import { box, picture } from "./asked.js";
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

/** Whether one picture was asked for, so that there is something to explain. */
const canExplain = () => (state.get("id") ?? state.get("pic")) !== null && app.collection.takes.image !== false;

app.panel({
  id: "why",
  side: "detail",
  label: "Why it was found",
  render(root, hit, signal) {
    if (!canExplain() || hit.score === undefined || hit.id === state.get("id")) return;
    const button = el("button", { type: "button", onclick: explain }, "Why was it found?");
    root.append(button);

    async function explain() {
      button.disabled = true;
      try {
        const got = await request("POST", `${at(app.collection.served_as, "explain")}?format=png`, { body: asked(hit), signal });
        const url = URL.createObjectURL(await got.blob());
        signal.addEventListener("abort", () => URL.revokeObjectURL(url));
        root.replaceChildren(
          el("h3", {}, "Why it was found"),
          el("img", { class: "why", src: url, alt: "Your picture and this one, with what they have in common marked" }),
          el("p", { class: "hint" }, "Bright parts show what the other picture shows too; lines join the patches that are most alike."),
        );
      } catch (error) {
        if (error.name === "AbortError") return;
        root.replaceChildren(el("p", { class: "hint" }, error.status === 404 ? "This server cannot explain." : error.message));
      }
    }
  },
});

function asked(hit) {
  const cut = box();
  if (state.get("pic") === null) {
    const query = { id: state.get("id") };
    return { query: cut ? { crop: query, box: cut } : query, id: hit.id };
  }
  const body = new FormData();
  body.append("image", picture(state.get("pic")).file, "picture");
  if (cut) body.append("box", JSON.stringify(cut));
  body.append("options", JSON.stringify({ id: hit.id }));
  return body;
}
