// Filters, as the address holds them: f.album=cats (several for any of them), f.width=800..1600, f.taken_at=2024..2024-06.

import { app } from "./app.js";
import { state } from "./state.js";

export const fieldOf = (name) => app.collection.schema.find((each) => each.name === name) ?? null;

// as Milvus reads strings back, and no other: it knows neither \u0001 nor \b, which JSON writes for such characters
const ESCAPED = { "\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t" };
export const quoted = (value) => `"${String(value).replace(/[\\"\n\r\t]/g, (each) => ESCAPED[each])}"`;

/** The filter of one field as a Milvus expression; null where the address holds nothing that it understands. */
function one(field, values) {
  const { name, kind } = field;
  if (!values.length) return null;
  if (kind === "choice") {
    return values.length === 1 ? `${name} == ${quoted(values[0])}` : `${name} in [${values.map(quoted).join(", ")}]`;
  }
  if (kind === "list") return `array_contains_any(${name}, [${values.map((each) => element(field, each)).join(", ")}])`;
  if (kind === "truth") return `${name} == ${values[0] === "true"}`;
  const [from, to] = range(values[0]);
  const bound = kind === "date" ? quoted : Number;
  return [from === "" ? null : `${name} >= ${bound(from)}`, to === "" ? null : `${name} <= ${bound(to)}`]
    .filter(Boolean)
    .join(" and ");
}

const element = (field, value) => (field.element === "VARCHAR" ? quoted(value) : Number(value));

/** ["from", "to"] of "from..to", either of which may be empty. */
export function range(text) {
  const [from, to] = (text ?? "..").split("..");
  return [from ?? "", to ?? ""];
}

/** All filters of the address as a Milvus expression, "" where there is none; those of one field may be left out. */
export function expression({ without = null } = {}) {
  return app.collection.schema
    .filter((field) => field.kind && field.name !== without)
    .map((field) => one(field, state.all(`f.${field.name}`)))
    .filter(Boolean)
    .join(" and ");
}
