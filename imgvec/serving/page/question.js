// Ways to ask: words, a picture that is dropped, pasted or picked, a stored one; and what is asked, shown as chips.

import { at, json } from "./api.js";
import { app } from "./app.js";
import { NOTHING, box, isAsked, keep, picture, takesWords } from "./asked.js";
import { baseName, el, find } from "./dom.js";
import { choose, isPicture } from "./own.js";
import { show } from "./pictures.js";
import { state } from "./state.js";

const rows = new Map(); // uris of rows that chips speak of

export function searchBy(file) {
  if (!file) return;
  if (file.type && !file.type.startsWith("image/")) {
    app.tell(`${file.name || "This"} is not a picture.`, { bad: true });
    return;
  }
  state.set({ ...NOTHING, pic: keep(file), open: null, view: null });
}

export function searchLike(hit) {
  state.set({ ...NOTHING, id: hit.id, open: null, view: null });
}

app.command({
  id: "similar", label: "Similar pictures", key: "s", sign: "≈", place: "tile", when: (hit) => hit, run: searchLike,
});
app.command({
  id: "more", label: "More like this", key: "+", sign: "+", place: "tile", when: (hit) => hit,
  run: (hit) => judge(hit, "plus", "minus"),
});
app.command({
  id: "less", label: "Less like this", key: "-", sign: "−", place: "tile", when: (hit) => hit,
  run: (hit) => judge(hit, "minus", "plus"),
});

/** Say + or − to a picture; the same again takes it back. */
function judge(hit, as, other) {
  const given = state.all(as);
  rows.set(hit.id, hit);
  state.set({
    [as]: given.includes(hit.id) ? given.filter((id) => id !== hit.id) : [...given, hit.id],
    [other]: state.all(other).filter((id) => id !== hit.id),
  });
}

app.decorate((tile, hit) => {
  tile.classList.toggle("plus", state.all("plus").includes(hit.id));
  tile.classList.toggle("minus", state.all("minus").includes(hit.id));
});

const words = find("words");

find("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  const text = words.value.trim();
  state.set({ ...NOTHING, text: text || null, open: null, view: null });
});
words.addEventListener("search", () => words.value === "" && state.get("text") && state.set(NOTHING));
find("pick").addEventListener("click", () => find("file").click());
find("file").addEventListener("change", (event) => {
  searchBy(event.target.files[0]);
  event.target.value = "";
});

addEventListener("paste", (event) => {
  if (document.querySelector("dialog[open]")) return;
  const file = [...event.clipboardData.files].find((each) => each.type.startsWith("image/"));
  if (!file) return;
  event.preventDefault();
  searchBy(file);
});

let depth = 0; // dragenter and dragleave come for every element that is crossed
const carries = (event) => [...event.dataTransfer.types].includes("Files");
const dropping = (on) => {
  find("dropping").hidden = !on;
  if (!on) depth = 0;
};
addEventListener("dragenter", (event) => carries(event) && (depth++, dropping(true)));
addEventListener("dragleave", (event) => carries(event) && --depth <= 0 && dropping(false));
addEventListener("dragover", (event) => carries(event) && event.preventDefault());
addEventListener("drop", (event) => {
  if (!carries(event)) return;
  event.preventDefault();
  dropping(false);
  const files = [...event.dataTransfer.files];
  // one is searched by; several are added
  if (files.length > 1) app.emit("dropped", files);
  else searchBy(files[0]);
});

app.on("escape", () => {
  if (!app.opened && !state.get("view") && isAsked()) state.set(NOTHING);
});

async function uriOf(id) {
  if (!rows.has(id)) {
    const found = await json("GET", at(app.collection.served_as, "images", id));
    rows.set(id, { id, uri: found.fields.uri, fields: found.fields });
  }
  return rows.get(id);
}

function chip(label, title, remove, image) {
  return el(
    "span",
    { class: "chip", title },
    image,
    el("span", { class: "text" }, label),
    el("button", { type: "button", class: "close", "aria-label": `Remove ${title}`, onclick: remove }, "×"),
  );
}

function stored(id, sign, remove) {
  const image = el("img", { alt: "", width: 36, height: 36 });
  show(image, `${at(app.collection.served_as, "images", id)}/thumbnail?size=64`);
  const made = chip(sign, `picture ${id}`, remove, image);
  uriOf(id).then(
    (row) => {
      made.title = row.uri;
      made.querySelector(".text").textContent = [sign, baseName(row.uri)].filter(Boolean).join(" ");
      made.querySelector("button").setAttribute("aria-label", `Remove ${baseName(row.uri)}`);
    },
    () => (made.querySelector(".text").textContent = `${sign} (no longer there)`),
  );
  return made;
}

function drawn() {
  const { collection } = app;
  if (!collection) return;
  const chips = [];
  const [id, text, pic, cut] = [state.get("id"), state.get("text"), state.get("pic"), box()];
  const without = () => state.set({ id: null, text: null, pic: null, box: null });
  if (text !== null) chips.push(chip(`“${text}”`, "the words", without));
  if (id !== null) chips.push(stored(id, "", without));
  if (pic !== null) {
    const own = picture(pic);
    const image = own && el("img", { alt: "", width: 36, height: 36, src: own.url });
    chips.push(chip(own ? own.file.name || "Your picture" : "A picture that is not here", "your picture", without, image));
  }
  if (cut) chips.push(chip("A part of it", "the part", () => state.set({ box: null })));
  if (chips.length && isPicture()) {
    const label = cut ? "Another part" : "Choose a part";
    chips.push(el("button", { type: "button", class: "quiet", onclick: () => choose().catch(app.failed) }, label));
  }
  const out = (name, given) => () => state.set({ [name]: state.all(name).filter((each) => each !== given) });
  for (const each of state.all("plus")) chips.push(stored(each, "+", out("plus", each)));
  for (const each of state.all("minus")) chips.push(stored(each, "−", out("minus", each)));
  if (chips.length > (isPicture() ? 2 : 1)) {
    chips.push(el("button", { type: "button", class: "quiet", onclick: () => state.set(NOTHING) }, "Clear"));
  }
  const root = find("question");
  root.replaceChildren(...chips);
  root.hidden = !chips.length;
  words.value = text ?? "";
}

app.on("collection", () => {
  const can = takesWords();
  words.hidden = can !== true;
  find("pick").classList.toggle("alone", can !== true);
  find("pick").title = can === true ? "Or drop one anywhere, or paste one" : `Or drop one anywhere, or paste one. ${can}`;
  drawn();
});
app.on("regained", drawn);
state.watch(drawn);
