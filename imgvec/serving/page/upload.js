// Adding pictures: sent some at a time, ingested by a job of the server, whose progress is shown as it goes.

import { at, events, json } from "./api.js";
import { app } from "./app.js";
import { counted, el, number, size } from "./dom.js";
import { dialog } from "./notes.js";
import { state } from "./state.js";

const AT_ONCE = 64; // files of a request
const BYTES = 24 * 2 ** 20; // and their bytes: a server takes 32 MiB by default
const ENDED = ["succeeded", "failed", "cancelled"];
const TELLS = {
  "content-too-large": "One of them is larger than what this server takes at once (--max-body).",
  "uploads-full": "This server has no space left for pictures of others: whoever runs it can allow more, with --upload-space.",
};

const canAdd = () => app.collection && app.may("write") && app.collection.takes.image !== false;
app.command({ id: "add", label: "Add pictures", key: "a", sign: "↑", place: "bar", when: canAdd, run: () => add([]) });

/** The files in lots that one request may hold. */
function lots(files) {
  const found = [];
  let bytes = 0;
  for (const file of files) {
    const last = found[found.length - 1];
    if (!last || last.length === AT_ONCE || bytes + file.size > BYTES) {
      found.push([file]);
      bytes = file.size;
    } else {
      last.push(file);
      bytes += file.size;
    }
  }
  return found;
}

function refusal() {
  const made = dialog({
    label: "Add pictures",
    content: [
      el("h2", {}, "This server keeps no new pictures"),
      el("p", {}, "Whoever runs it says where they are kept: ", el("code", {}, "imgvec serve --upload-dir FOLDER"), "."),
      el("p", {}, "Pictures that are in its folders come in by ", el("code", {}, `imgvec ingest FOLDER -c ${app.collection.served_as}`), "."),
      el("p", { class: "answers" }, el("button", { type: "button", class: "main", onclick: () => made.close() }, "Close")),
    ],
  });
}

export function add(given) {
  if (document.querySelector("dialog[open]")) return;
  if (!app.may("write")) return void app.tell("Your token may not add pictures: that takes the scope write.", { bad: true });
  if (app.collection.takes.uploads === false) return void refusal();
  const stop = new AbortController();
  const input = el("input", { type: "file", multiple: true, accept: "image/*,.heic,.avif,.jxl", "aria-label": "Pictures to add" });
  const said = el("p", { role: "status" });
  const bar = el("progress", { "aria-label": "Progress", hidden: true });
  const refused = el("ul", { class: "refused", tabindex: 0, "aria-label": "Refused pictures", hidden: true });
  const go = el("button", { type: "button", class: "main", disabled: true, onclick: send }, "Add them");
  const leave = el("button", { type: "button", onclick: () => made.close() }, "Cancel");
  let files = [...given];
  let job = null;
  let done = false;

  const made = dialog({
    label: "Add pictures",
    content: [
      el("h2", {}, `Add pictures to ${app.collection.served_as}`),
      el("p", { class: "hint" }, "Pick them, or drop several anywhere on the page. What is there already is not stored twice."),
      el("p", {}, input),
      said,
      bar,
      refused,
      el("p", { class: "answers" }, leave, go),
    ],
    close() {
      stop.abort();
      if (job && !done) json("POST", `/v1/jobs/${job}/cancel`, { body: {} }).catch(app.failed);
      if (job) app.emit("written");
    },
  });
  input.addEventListener("change", () => {
    files = [...input.files];
    chosen();
  });
  chosen();

  function chosen() {
    const bytes = files.reduce((sum, file) => sum + file.size, 0);
    said.textContent = files.length ? `${counted(files.length, "picture")}, ${size(bytes)}` : "";
    go.disabled = !files.length;
  }

  async function send() {
    go.disabled = input.disabled = true;
    bar.hidden = false;
    bar.max = files.length;
    bar.value = 0;
    const total = { written: 0, updated: 0, unchanged: 0, duplicates: 0, refused: 0 };
    let sent = 0;
    try {
      for (const lot of lots(files)) {
        said.textContent = `Sending ${number(sent + 1)} to ${number(sent + lot.length)} of ${number(files.length)}…`;
        const ended = await one(lot, sent);
        sent += lot.length;
        bar.value = sent;
        for (const name of Object.keys(total)) total[name] += ended.counts?.[name] ?? 0;
        for (const { uri, reason } of ended.errors ?? []) {
          const index = (ended.uploads ?? []).find((each) => each.uri === uri)?.index;
          refused.append(el("li", {}, `${lot[index]?.name ?? "A picture"}: ${reason}`));
        }
        refused.hidden = !refused.children.length;
        if (ended.state !== "succeeded") throw Object.assign(new Error(ended.problem?.detail ?? `It was ${ended.state}.`), { status: 0 });
      }
      said.textContent = summary(total);
    } catch (error) {
      if (error.name === "AbortError") return;
      said.textContent = TELLS[error.kind] ?? error.message;
    }
    done = true;
    leave.textContent = "Close";
    leave.focus();
    bar.hidden = true;
  }

  /** The job of some files, once it has ended. */
  async function one(lot, before) {
    const body = new FormData();
    for (const file of lot) body.append("image", file, file.name);
    const path = at(app.collection.served_as, "ingest");
    const begun = await json("POST", path, { body, signal: stop.signal });
    job = begun.id;
    done = false;
    for await (const { event, data } of events(`/v1/jobs/${job}/events`, { signal: stop.signal })) {
      const progress = event === "progress" ? data : data.progress;
      if (progress) {
        bar.value = before + Math.min(progress.done, lot.length);
        said.textContent = `${number(before + progress.done)} of ${number(files.length)} looked at…`;
      }
      if (event === "state" && ENDED.includes(data.state)) break;
    }
    const ended = await json("GET", `/v1/jobs/${job}`, { signal: stop.signal });
    done = ENDED.includes(ended.state);
    return { ...ended, uploads: begun.uploads };
  }
}

function summary({ written, updated, unchanged, duplicates, refused }) {
  const there = unchanged + duplicates;
  return [
    `${counted(written + updated, "picture")} added`,
    there ? `${number(there)} there already` : null,
    refused ? `${number(refused)} refused` : null,
  ]
    .filter(Boolean)
    .join(", ");
}

app.on("dropped", (files) => !state.get("view") && add(files));
