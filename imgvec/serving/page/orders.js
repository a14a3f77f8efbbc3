// How pictures can be ordered: by what the question gives, or by a field that has an order.

import { app } from "./app.js";
import { isAsked } from "./asked.js";

const NAMES = { ingested_at: "added", taken_at: "taken", media_type: "type", uri: "file", view: "kind of view" };
const HIDDEN = new Set(["id", "content_hash", "image_id", "view", "box", "at_ms"]);

const label = (name) => NAMES[name] ?? name.replaceAll("_", " ");

/** A field's name for a heading. */
export const title = (name) => label(name).replace(/^./, (first) => first.toUpperCase());

/** [{value, label}], the default first. */
export function orders() {
  const found = [];
  for (const field of app.collection.schema) {
    if (HIDDEN.has(field.name) || !["number", "date"].includes(field.kind)) continue;
    const [up, down] = field.kind === "date" ? ["oldest", "newest"] : ["least", "greatest"];
    found.push({ value: `-${field.name}`, label: `By ${label(field.name)}, ${down} first` });
    found.push({ value: field.name, label: `By ${label(field.name)}, ${up} first` });
  }
  if (isAsked()) return [{ value: "", label: "Most similar first" }, ...found];
  return [{ value: "", label: "As stored" }, ...found];
}

export const isOrderable = (value) => orders().some((each) => each.value === value);
