// The visitor's own picture, or the stored one that is searched by, looked at so that a part of it can be chosen.

import { at, json } from "./api.js";
import { app } from "./app.js";
import { box, picture } from "./asked.js";
import { boxOf, viewsOf } from "./boxes.js";
import { el } from "./dom.js";
import { dialog } from "./notes.js";
import { part } from "./part.js";
import { show } from "./pictures.js";
import { state } from "./state.js";

/** Whether there is a picture of which a part could be searched for. */
export const isPicture = () => state.get("id") !== null || (state.get("pic") !== null && picture(state.get("pic")));

app.command({ id: "crop", label: "Choose a part of what is searched for", key: "c", when: isPicture, run: choose });

export async function choose() {
  const image = el("img", { alt: "The picture that is searched by" });
  let size;
  let whole = {}; // what is asked for besides the part
  if (state.get("pic") !== null) {
    image.src = picture(state.get("pic")).url;
    await image.decode().catch(() => {
      throw Object.assign(new Error("This browser cannot show the picture, so no part of it can be chosen."), { status: 0 });
    });
    size = { width: image.naturalWidth, height: image.naturalHeight };
  } else {
    const path = at(app.collection.served_as, "images", state.get("id"));
    const { fields } = await json("GET", path);
    if (boxOf(fields)) {
      // a part is cut out of a row's own view, so one of the whole picture takes the row of the whole
      const found = (await viewsOf(fields)).find((each) => each.fields.view === "whole");
      if (!found) throw Object.assign(new Error(`Only the whole of a ${fields.view} can be searched for, no part of it.`), { status: 0 });
      whole = { id: found.id };
    }
    size = { width: fields.width, height: fields.height };
    show(image, `${path}/thumbnail?size=1024`);
  }
  const frame = el("div", { class: "canvas" }, image);
  const go = el("button", { type: "button", class: "main", disabled: true, onclick: () => search() }, "Search for this part");
  let cut = null;
  const search = () => {
    made.close();
    state.set({ ...whole, box: cut.join(",") });
  };
  const made = dialog({
    label: "Choose a part",
    wide: true,
    content: [
      el("h2", {}, "Draw a box on what you look for"),
      el("div", { class: "picture" }, frame),
      el(
        "p",
        { class: "answers" },
        el("button", { type: "button", onclick: () => made.close() }, "Cancel"),
        el("button", { type: "button", onclick: () => cutting.select() }, "By keys"),
        go,
      ),
    ],
  });
  image.width = size.width;
  image.height = size.height;
  const cutting = part(frame, {
    ...size,
    done(given, { now }) {
      cut = given;
      go.disabled = !given;
      if (now) search();
    },
  });
  cutting.shown(box());
}
