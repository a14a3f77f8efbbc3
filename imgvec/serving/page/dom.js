// Elements, made of text alone: nothing that is stored or typed is ever read as HTML.
//
//     el("button", {class: "quiet", type: "button", "aria-label": "Close", onclick: close}, "×")

const SVG = "http://www.w3.org/2000/svg";

export function el(tag, given = {}, ...children) {
  return filled(document.createElement(tag), given, children);
}

export function svg(tag, given = {}, ...children) {
  return filled(document.createElementNS(SVG, tag), given, children);
}

function filled(made, given, children) {
  for (const [name, value] of Object.entries(given)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (name === "value" || name === "checked" || name === "hidden") made[name] = value;
    else made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.flat().filter((each) => each !== null && each !== undefined && each !== false));
  return made;
}

export const find = (id) => document.getElementById(id);

const whole = new Intl.NumberFormat();
const percent = new Intl.NumberFormat(undefined, { style: "percent", maximumFractionDigits: 0 });
const dated = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });

export const number = (value) => whole.format(value);
export const share = (value) => percent.format(value);
export const counted = (count, one, many = `${one}s`) => `${number(count)} ${count === 1 ? one : many}`;
/** As people write it; a number that is no date, which others may have stored, as it is. */
export const date = (milliseconds) => (Math.abs(milliseconds) <= 8.64e15 ? dated.format(milliseconds) : String(milliseconds));

/** The last part of a path or an address. */
export function baseName(uri) {
  const parts = String(uri).split(/[\\/]/).filter(Boolean);
  return parts.length ? parts[parts.length - 1] : String(uri);
}

/** Bytes for people. */
export function size(bytes) {
  const units = ["B", "KiB", "MiB", "GiB"];
  let step = 0;
  while (bytes >= 1024 && step < units.length - 1) [bytes, step] = [bytes / 1024, step + 1];
  return `${step ? bytes.toFixed(1) : bytes} ${units[step]}`;
}
