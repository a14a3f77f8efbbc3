// Duplicates, group by group: the best copy is proposed, with the reasons; keys decide; what was decided is done in the end,
// once it is confirmed. The job that found them stands in the address (job), and so does the group that is looked at (group).

import { at, json, request } from "./api.js";
import { app } from "./app.js";
import { Decisions } from "./decisions.js";
import { counted, el, number } from "./dom.js";
import { cancel, followed, latest, result, started } from "./jobs.js";
import { copies } from "./copies.js";
import { pathsOf } from "./saving.js";

const VIEW = "duplicates";
const AT_ONCE = 1000; // deleted by one request
const ASKED = 5000; // rows that are asked for at once

const SAID = { ArrowRight: "→", ArrowLeft: "←" };

let decisions = null;
let root = null;
let leaving = null;

const reviewing = () => app.state.get("view") === VIEW;
const collection = () => app.collection.served_as;
// an address may say anything
const index = () => Math.max(1, Math.min(Math.trunc(Number(app.state.get("group") ?? 1)) || 1, decisions.groups.length)) - 1;
const current = () => decisions.groups[index()];
const leave = () => app.state.set({ view: null, job: null, group: null });
const busy = () => !reviewing() || !decisions?.groups.length;

app.command({
  id: VIEW,
  label: "Duplicates",
  key: "d",
  sign: "2×",
  place: "bar",
  when: () => Boolean(app.collection) && app.may("admin"), // who looks through them is to delete some
  run: () => (reviewing() ? leave() : app.state.set({ view: VIEW })),
});
command("next", "next group", ["j", "ArrowRight"], () => go(1));
command("previous", "previous group", ["k", "ArrowLeft"], () => go(-1));
command("accept", "do as proposed, and go on", ["y"], () => decided(Decisions.proposed(current())));
command("keep", "keep all of the group, and go on", ["n"], () => decided([]));
command("undo", "take back what was decided of the group", ["u"], () => {
  decisions.undo(current());
  draw();
});
command("delete", "delete what was decided, after a question", ["Delete"], () => confirmed());
for (let number = 1; number <= 9; number++) {
  const listed = number === 1 ? "1 … 9" : "";
  command("turn", "keep or delete the picture of this number", [String(number)], () => turned(number - 1), listed);
}

function command(name, label, keys, run, listed = keys.map((each) => SAID[each] ?? each).join(", ")) {
  for (const key of keys) {
    // the help has one line for all of its keys
    const said = key === keys[0] ? listed : "";
    app.command({ id: `review-${name}-${key}`, label: `Duplicates: ${label}`, key, keys: said, when: () => !busy(), run });
  }
}

app.view({
  id: VIEW,
  label: "Duplicates",
  show(given) {
    root = given;
    leaving = new AbortController();
    opened().catch(failed);
  },
  hide() {
    leaving?.abort();
    root = decisions = null;
  },
});

app.on("escape", () => reviewing() && leave());

app.state.watch((changed) => {
  if (!reviewing() || !root) return;
  if (changed.has("job")) opened().catch(failed);
  else if (changed.has("group") && decisions) draw();
});

function failed(error) {
  if (error.name === "AbortError" || !root) return;
  begin(error.message);
  if (error.status === undefined) console.error(error);
}

/** Where the review begins: by the job of the address, the latest one, or by looking for duplicates. */
async function opened() {
  if (!app.collection) return; // it is on its way
  decisions = null;
  const job = app.state.get("job");
  if (job) return follow(job);
  root.replaceChildren(el("p", { class: "quiet" }, "One moment…"));
  const found = await latest(collection(), VIEW);
  if (!root) return;
  if (found) app.state.set({ job: found.id }, { replace: true });
  else begin();
}

app.on("collection", () => reviewing() && root && opened().catch(failed));

function begin(trouble) {
  const exact = el("input", { type: "checkbox", id: "review-exact" });
  const button = el("button", { type: "button", class: "main", onclick: () => find(exact.checked) }, "Find duplicates");
  root.replaceChildren(
    el(
      "div",
      { class: "review-start" },
      el("h2", {}, "Duplicates"),
      trouble ? el("p", { class: "review-trouble", role: "alert" }, trouble) : null,
      el(
        "p",
        {},
        "Finds pictures that are there several times: copied, cropped, framed, mirrored, made smaller, or saved again. " +
          "You then look at each group, and say what goes. Nothing is deleted before you have confirmed it.",
      ),
      el("p", {}, el("label", {}, exact, " Only the same files and the same pixels (quicker)")),
      el("p", { class: "group" }, button, back()),
    ),
  );
  app.say("Duplicates");
  button.focus();
}

async function find(exact) {
  try {
    const job = await started(at(collection(), VIEW), { exact });
    app.state.set({ job, group: null });
  } catch (error) {
    failed(error);
  }
}

async function follow(job) {
  const bar = el("progress", { "aria-label": "How far it is" });
  const said = el("p", {}, "Looking for duplicates…");
  const stop = el("button", { type: "button", onclick: () => cancel(job).catch(app.failed) }, "Stop");
  root.replaceChildren(el("div", { class: "review-start" }, el("h2", {}, "Duplicates"), said, bar, el("p", {}, stop)));
  app.say("Looking for duplicates…");
  await followed(
    job,
    ({ progress, state }) => {
      if (!progress) return;
      said.textContent = `Looking for duplicates: ${progress.stage}, ${number(progress.done)}` +
        (progress.total ? ` of ${number(progress.total)}` : "") + (state === "waiting" ? " (waiting)" : "");
      if (progress.total) Object.assign(bar, { max: progress.total, value: progress.done });
    },
    leaving.signal,
  );
  const found = await result(job);
  if (!root || app.state.get("job") !== job) return;
  decisions = new Decisions(job, found.groups);
  decisions.forget(await gone(found.groups.flatMap(Decisions.members)));
  if (!root) return;
  root.replaceChildren();
  draw(found);
}

/** The ids of the pictures that are not there any more, or have changed since they were looked at. */
async function gone(pictures, name = collection()) {
  const there = new Map();
  for (let start = 0; start < pictures.length; start += ASKED) {
    const ids = pictures.slice(start, start + ASKED).map((each) => each.id);
    const rows = await json("POST", at(name, "images", "export"), { body: { ids, form: "json" } });
    for (const { id, fields } of rows) there.set(id, fields.content_hash);
  }
  return pictures.filter((each) => (there.get(each.id) ?? null) !== each.content_hash).map((each) => each.id);
}

function go(step) {
  const to = index() + step;
  if (to < 0 || to >= decisions.groups.length) app.tell(step > 0 ? "This was the last group." : "This is the first group.");
  else app.state.set({ group: to + 1 }, { replace: true });
}

function decided(ids) {
  decisions.decide(current(), ids);
  const next = index() + 1;
  if (next < decisions.groups.length) app.state.set({ group: next + 1 }, { replace: true });
  else draw();
}

function turned(number) {
  const picture = Decisions.members(current())[number];
  if (!picture) return;
  if (!decisions.toggle(current(), picture.id)) app.tell("One of them stays: keep another one first.", { bad: true });
  draw();
}

async function confirmed() {
  const pictures = decisions.pictures;
  if (!pictures.length) return void app.tell("Nothing is to be deleted yet: y does as is proposed.");
  const many = counted(pictures.length, "picture");
  const meant = await app.choose({
    title: `Delete ${many}?`,
    text:
      `Of ${counted(decisions.waiting.length, "group")}; what you keep of each stays. They are taken out of ${collection()}, ` +
      "and no search finds them any more. The files stay where they are: the next ingest of their folder brings them back.",
    yes: `Delete ${many}`,
    danger: true,
  });
  if (meant) await deleted();
}

async function deleted() {
  // they are confirmed: that the review, or its collection, is left meanwhile changes nothing
  const [mine, name] = [decisions, collection()];
  // what stays has to be there still, or the last copy would go
  const lost = new Set(await gone(mine.waiting.flatMap(mine.staying), name));
  const safe = mine.waiting.filter((group) => mine.staying(group).some((each) => !lost.has(each.id)));
  const going = safe.flatMap(mine.going);
  const action = going.length ? await pathsOf(name, going.map((each) => each.id)) : null;
  let count = 0;
  for (let start = 0; start < going.length; start += AT_ONCE) {
    const some = going.slice(start, start + AT_ONCE);
    const ids = some.map((each) => each.id);
    const unchanged = Object.fromEntries(some.filter((each) => each.content_hash).map((each) => [each.id, each.content_hash]));
    const got = await request("POST", at(name, "images", "delete"), { body: { ids, unchanged, confirm: true } });
    count += (await got.json()).deleted;
    mine.forget(ids);
  }
  const left = going.length - count;
  app.tell(`${counted(count, "picture")} deleted${left ? `; ${number(left)} had changed or gone` : ""}.`, { action: count ? action : null });
  app.emit("written");
  if (root && decisions === mine) draw();
}

function draw(found) {
  const { groups } = decisions;
  if (!groups.length) {
    const again = el("button", { type: "button", onclick: () => begin() }, "Look again");
    const unseen = found?.unseen ? ` ${counted(found.unseen, "picture")} could not be opened.` : "";
    root.replaceChildren(
      el("div", { class: "review-start" }, el("h2", {}, "No duplicates"), el("p", {}, `Nothing is left to be tidied.${unseen}`), el("p", { class: "group" }, again, back())),
    );
    app.say("No duplicates");
    return;
  }
  const group = current();
  const focused = document.activeElement?.dataset?.review;
  root.replaceChildren(head(group), copies({ group, decisions, turned, collection: collection() }), foot(group));
  if (focused) root.querySelector(`[data-review="${focused}"]`)?.focus();
  app.say(`Group ${number(index() + 1)} of ${number(groups.length)}: ${counted(group.others.length + 1, "picture")}`);
}

const button = (name, label, run, more = {}) =>
  el("button", { type: "button", "data-review": name, onclick: () => Promise.resolve(run()).catch(app.failed), ...more }, label);

const back = () => button("leave", "Back to the pictures", leave, { title: "Back to the pictures (Escape)" });

function head(group) {
  return el(
    "div",
    { class: "review-head" },
    el("h2", {}, `Group ${number(index() + 1)} of ${number(decisions.groups.length)}`),
    el("p", { class: "quiet" }, `${number(decisions.decided)} decided`),
    el(
      "span",
      { class: "group" },
      button("previous", "← Previous", () => go(-1), { title: "Previous group (k)" }),
      button("next", "Next →", () => go(1), { title: "Next group (j)" }),
      button("again", "Look again", () => begin()),
      back(),
    ),
  );
}

function foot(group) {
  const count = decisions.pictures.length;
  const proposed = Decisions.proposed(group).length;
  return el(
    "div",
    { class: "review-foot" },
    el(
      "span",
      { class: "group" },
      button("accept", proposed ? `Keep the best, delete ${number(proposed)} (y)` : "Keep all, as proposed (y)", () => decided(Decisions.proposed(group)), { class: "main" }),
      button("keep", "Keep all (n)", () => decided([])),
      decisions.isDecided(group) ? button("undo", "Take back (u)", () => (decisions.undo(group), draw())) : null,
    ),
    button("delete", count ? `Delete ${counted(count, "picture")}…` : "Nothing to delete yet", confirmed, { class: "danger", disabled: !count }),
  );
}
