// The filters beside the grid, made of the collection's fields: choices with how often they occur, ranges of numbers, dates
// on a line of time. What can be counted is counted among what the other filters leave.

import { at, json, withQuery } from "./api.js";
import { app } from "./app.js";
import { el, find, number, svg } from "./dom.js";
import { expression, range } from "./filters.js";
import { title } from "./orders.js";
import { state } from "./state.js";

const OWN = new Set(["id", "uri", "content_hash", "image_id", "box", "at_ms"]);
const LATER = new Set(["media_type", "width", "height", "ingested_at", "view"]); // below, closed at first
const SHOWN = 8;
const MOST = 200;
const BINS = { number: 32, date: 64 }; // five years of months

let abort = new AbortController();
const wide = new Set(); // fields of which all values are shown
const open = new Set();

const fields = () => app.collection.schema.filter((field) => field.kind && !OWN.has(field.name));
const given = (field) => state.all(`f.${field.name}`);
const put = (field, values) => state.set({ [`f.${field.name}`]: values });

export const filtered = () => fields().filter((field) => given(field).length);

/** {field name: what is counted of it}, each among the rows that match the other filters. */
async function counted(wanted, signal) {
  const found = {};
  const name = app.collection.served_as;
  const spread = wanted.filter(({ kind }) => kind === "number" || kind === "date");
  const named = wanted.filter((field) => !spread.includes(field));
  const together = named.filter((field) => !given(field).length);
  const groups = [together, ...named.filter((field) => given(field).length).map((field) => [field])].filter((each) => each.length);
  await Promise.all([
    ...groups.map(async (group) => {
      const where = expression({ without: group.length === 1 ? group[0].name : null });
      const asked = { field: group.map((field) => field.name), where, most: MOST };
      const { facets } = await json("GET", withQuery(at(name, "facets"), asked), { signal });
      Object.assign(found, facets);
    }),
    ...spread.map(async (field) => {
      const asked = { field: field.name, where: expression({ without: field.name }), bins: BINS[field.kind] };
      try {
        found[field.name] = await json("GET", withQuery(at(name, "histogram"), asked), { signal });
      } catch (error) {
        if (error.name === "AbortError") throw error;
        found[field.name] = { bins: [], without: 0 };
      }
    }),
  ]);
  return found;
}

let last = {};

async function update() {
  if (!app.collection || state.get("view")) return;
  abort.abort();
  abort = new AbortController();
  const { signal } = abort;
  await new Promise((done) => setTimeout(done)); // until a Tab that ended the typing has come where it leads
  if (signal.aborted) return;
  draw();
  const narrow = matchMedia("(max-width: 720px)").matches && !document.body.classList.contains("filtering");
  if (narrow) return; // it is not in sight: nothing is counted
  const wanted = fields().filter((field) => !LATER.has(field.name) || open.has("more"));
  try {
    const found = await counted(wanted, signal);
    if (signal.aborted) return;
    last = found;
    draw();
  } catch (error) {
    if (error.name !== "AbortError") find("filters").append(el("p", { class: "hint" }, error.message));
  }
}

function draw() {
  const root = find("filters");
  const focused = root.contains(document.activeElement) ? document.activeElement : null;
  const top = root.scrollTop;
  const used = filtered().length;
  const main = fields().filter((field) => !LATER.has(field.name));
  const later = fields().filter((field) => LATER.has(field.name));
  root.replaceChildren(
    el(
      "div",
      { class: "head" },
      el("h2", {}, "Filters"),
      used ? el("button", { type: "button", class: "quiet", onclick: clear }, "Clear") : null,
      el("button", { type: "button", class: "main done", onclick: () => toggle(false) }, "Show"),
    ),
    ...main.map(section),
    later.length
      ? el(
          "details",
          { open: open.has("more") || later.some((field) => given(field).length), ontoggle: more },
          el("summary", {}, "The files"),
          ...later.map(section),
        )
      : null,
  );
  root.scrollTop = top;
  const again = focused?.id && find(focused.id);
  if (!again) return;
  again.focus();
  if (again.type !== "checkbox") again.value = focused.value; // what is being typed stays
}

function more(event) {
  if (event.target.open === open.has("more")) return;
  if (event.target.open) open.add("more");
  else open.delete("more");
  if (event.target.open) update();
}

const clear = () => state.set(Object.fromEntries(filtered().map((field) => [`f.${field.name}`, null])));

function section(field) {
  const found = last[field.name];
  const body = {
    choice: choices, list: choices, truth: choices, number: line, date: line,
  }[field.kind](field, found);
  return el("section", { class: "facet", "aria-label": title(field.name), title: field.about || null }, el("h3", {}, title(field.name)), body);
}

function choices(field, found) {
  const chosen = given(field);
  const counts = (found?.counts ?? []).filter(({ value }) => value !== null && value !== "");
  const text = ({ value }) => (field.kind === "truth" ? String(Boolean(value)) : String(value));
  const known = new Set(counts.map(text));
  const lines = [...chosen.filter((value) => !known.has(value)).map((value) => ({ value, count: 0 })), ...counts];
  if (!lines.length) return found ? el("p", { class: "hint" }, "No values") : el("p", { class: "hint" }, "…");
  // as good as every row has its own: there is nothing to choose from
  if (found && !chosen.length && found.values > 50 && found.values > found.total / 2) return exact(field);
  const shown = wide.has(field.name) ? lines : lines.filter((each, index) => index < SHOWN || chosen.includes(text(each)));
  const most = Math.max(...lines.map(({ count }) => count), 1);
  return el(
    "div",
    {},
    el("ul", { class: "choices" }, shown.map((each) => choice(field, text(each), each.count, chosen, most))),
    found && found.values > MOST && wide.has(field.name) ? exact(field) : null,
    lines.length > shown.length || wide.has(field.name)
      ? el(
          "button",
          {
            type: "button", class: "quiet", id: `wide-${field.name}`,
            onclick: () => {
              if (!wide.delete(field.name)) wide.add(field.name);
              draw();
            },
          },
          wide.has(field.name) ? "Fewer" : `${number(lines.length - shown.length)} more`,
        )
      : null,
  );
}

function choice(field, value, count, chosen, most) {
  const id = `f-${field.name}-${value}`;
  const label = field.kind === "truth" ? { true: "Yes", false: "No" }[value] : value;
  const bar = el("span", { class: "part", "aria-hidden": "true" });
  bar.style.width = `${(100 * count) / most}%`;
  return el(
    "li",
    {},
    el(
      "label",
      { for: id },
      el("input", {
        type: "checkbox", id, checked: chosen.includes(value),
        onchange: (event) => {
          const others = field.kind === "truth" ? [] : chosen.filter((each) => each !== value);
          put(field, event.target.checked ? [...others, value] : others);
        },
      }),
      el("span", { class: "value" }, label),
      el("span", { class: "count" }, number(count)),
    ),
    bar,
  );
}

function exact(field) {
  return el("input", {
    type: "text", id: `f-${field.name}`, placeholder: "Is exactly…", "aria-label": `${title(field.name)} is exactly`,
    onchange: (event) => put(field, event.target.value || null),
  });
}

function line(field, found) {
  const [from, to] = range(given(field)[0]);
  const dates = field.kind === "date";
  const bins = found?.bins ?? [];
  const set = (low, high) => put(field, low === "" && high === "" ? null : `${low}..${high}`);
  const now = () => range(given(field)[0]); // the other end may have changed since this was drawn
  const end = (side, value) =>
    el("input", {
      type: dates ? "date" : "number", step: "any", value, id: `f-${field.name}-${side}`,
      placeholder: bins.length ? short(side === "from" ? bins[0].from : bins[bins.length - 1].to) : "",
      "aria-label": `${title(field.name)}, ${side}`,
      onchange: (event) => (side === "from" ? set(event.target.value, now()[1]) : set(now()[0], event.target.value)),
    });
  return el(
    "div",
    { class: dates ? "line dates" : "line" },
    bins.length > 1 ? bars(field, bins, from, to, set) : null,
    el("div", { class: "ends" }, end("from", from), el("span", {}, "–"), end("to", to)),
    found?.without ? el("p", { class: "hint" }, `${number(found.without)} without a ${dates ? "date" : "value"}`) : null,
  );
}

/** A date as it is; a number as it is read, without the digits that single precision adds. */
const short = (value) => (typeof value === "number" ? String(Number(value.toPrecision(7))) : String(value));

/** Bars of how many there are; one is pressed for its range, and dragging takes several. */
function bars(field, bins, from, to, set) {
  const most = Math.max(...bins.map(({ count }) => count));
  const inside = (bin) => (from === "" || below(from, bin.to)) && (to === "" || below(bin.from, to));
  const below = (left, right) => (field.kind === "date" ? left <= right : Number(left) <= Number(right));
  let begun = null;
  const drawn = svg(
    "svg",
    { class: "bars", viewBox: `0 0 ${bins.length} 40`, preserveAspectRatio: "none", "aria-hidden": "true" },
    bins.map((bin, index) => {
      const height = bin.count ? Math.max(2, (38 * bin.count) / most) : 0;
      return svg(
        "g",
        { "data-index": index, class: inside(bin) ? "in" : "out" },
        svg("title", {}, `${short(bin.from)} – ${short(bin.to)}: ${number(bin.count)}`),
        svg("rect", { class: "back", x: index, y: 0, width: 1, height: 40 }),
        svg("rect", { x: index + 0.08, y: 40 - height, width: 0.84, height }),
      );
    }),
  );
  const binAt = (event) => {
    const { left, width } = drawn.getBoundingClientRect();
    return Math.max(0, Math.min(bins.length - 1, Math.floor(((event.clientX - left) / width) * bins.length)));
  };
  drawn.addEventListener("pointerdown", (event) => {
    begun = binAt(event);
    drawn.setPointerCapture(event.pointerId);
  });
  drawn.addEventListener("pointermove", (event) => {
    if (begun === null) return;
    const [low, high] = [Math.min(begun, binAt(event)), Math.max(begun, binAt(event))];
    [...drawn.children].forEach((each, index) => each.setAttribute("class", index >= low && index <= high ? "in" : "out"));
  });
  drawn.addEventListener("pointerup", (event) => {
    if (begun === null) return;
    const [low, high] = [Math.min(begun, binAt(event)), Math.max(begun, binAt(event))];
    begun = null;
    const [start, stop] = [String(bins[low].from), String(bins[high].to)];
    if (start === from && stop === to) set("", "");
    else set(start, stop);
  });
  return drawn;
}

function toggle(on = !document.body.classList.contains("filtering")) {
  document.body.classList.toggle("filtering", on);
  if (on) {
    update();
    find("filters").querySelector("button, input")?.focus();
  }
}

app.command({ id: "filters", label: "Filters", key: "f", sign: "⚟", place: "bar", run: () => toggle() });
app.on("escape", () => toggle(false));
app.on("collection", () => {
  last = {};
  wide.clear();
  open.clear();
  update();
});
app.on("written", update);
app.on("view", update);
state.watch((changed) => {
  if (!changed.has("c") && [...changed].some((name) => name.startsWith("f."))) update();
});


