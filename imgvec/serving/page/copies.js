// The pictures of one group of duplicates, side by side, with what each is and why the best one is better.

import { at, withQuery } from "./api.js";
import { Decisions } from "./decisions.js";
import { el, number, share } from "./dom.js";
import { show } from "./pictures.js";

const KINDS = {
  file: "the same file",
  pixels: "the same pixels",
  copy: "a copy",
  burst: "of the same burst",
  vector: "alike, but not looked at",
};

/** A list; `turned(number)` is called for the picture that is to be turned from kept to deleted, or back. */
export function copies({ group, decisions, turned, collection }) {
  return el(
    "ol",
    { class: "review-group" },
    Decisions.members(group).map((each, index) => copy(each, index, { group, decisions, turned, collection })),
  );
}

function copy(each, index, { group, decisions, turned, collection }) {
  const best = index === 0;
  const name = namesOf(Decisions.members(group))[index];
  const goes = decisions.goes(group, each.id);
  const image = el("img", { alt: "", draggable: "false" });
  show(image, withQuery(at(collection, "images", each.id, "thumbnail"), { size: 512, v: each.content_hash || null }));
  const becomes = goes ? "Goes" : decisions.isDecided(group) ? "Stays" : "Delete";
  return el(
    "li",
    { class: ["review-picture", best && "best", goes && "goes"].filter(Boolean).join(" ") },
    el("div", { class: "review-frame" }, image),
    el(
      "p",
      { class: "review-name" },
      best ? el("strong", { class: "badge" }, "Best copy") : null,
      el("span", { title: each.uri }, name),
    ),
    el("p", { class: "quiet" }, facts(each, best)),
    each.reasons.length ? el("p", { class: "quiet" }, `The best one: ${each.reasons.map(day).join("; ")}`) : null,
    el(
      "button",
      {
        type: "button", class: "review-turn", "data-review": `turn-${index}`, "aria-pressed": String(goes),
        "aria-label": `Delete ${name}`, onclick: () => turned(index),
      },
      becomes,
      index < 9 ? el("kbd", {}, String(index + 1)) : null,
    ),
  );
}

/** Their paths without the folders that all of them are in: copies are often called the same. */
function namesOf(pictures) {
  const paths = pictures.map(({ uri }) => String(uri).split("/"));
  let same = 0;
  while (paths.every((path) => path.length > same + 1 && path[same] === paths[0][same])) same++;
  return paths.map((path) => path.slice(same).join("/"));
}

/** Without the time of day: it is not what a picture is chosen by. */
const day = (reason) => reason.replace(/(\d{4}-\d\d-\d\d)T[\d:.]+Z/, "$1");

function facts(each, best) {
  return [
    each.width && each.height ? `${number(each.width)} × ${number(each.height)}` : null,
    each.media_type?.replace("image/", ""),
    each.taken_at?.slice(0, 10),
    best ? null : KINDS[each.kind] + (each.mirrored ? ", mirrored" : ""),
    !best && each.kind === "copy" && each.share < 0.97 ? `${share(each.share)} of the picture` : null,
  ]
    .filter(Boolean)
    .join(" · ");
}
