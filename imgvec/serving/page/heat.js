// Draws what two pictures have in common over one of them, as the library draws it (imgvec/explanation/drawing.py): grey
// where nothing is shared, warm where much is, and dark where the encoder does not look.

import { el } from "./dom.js";

const SIDE = 480; // pixels of the longer side, as drawn
const PAIRS = 8; // more would hide the picture
const HOT = [255, 80, 0];
const GAMMA = 0.7;
const UNSEEN = 150 / 255;
const COLOURS = ["#1f77b4", "#2ca02c", "#9467bd", "#e377c2", "#17becf", "#bcbd22", "#d62728", "#8c564b"];

/** The best pairs of patches that do not lie next to each other. */
export function spread(pairs) {
  const chosen = [];
  for (const pair of pairs) {
    const [x0, y0, x1, y1] = pair.query;
    const near = ({ query: [x, y] }) => Math.abs(x - x0) < 1.5 * (x1 - x0) && Math.abs(y - y0) < 1.5 * (y1 - y0);
    if (!chosen.some(near)) chosen.push(pair);
    if (chosen.length === PAIRS) break;
  }
  return chosen;
}

/** A picture and what is drawn over it: {root, show(on), only(index)}. `side` is the server's account of it, `image` an
 *  ImageBitmap or null, and `part` the place in it that was compared, in shares of it. */
export function heated({ side, image, part, pairs, label }) {
  const [width, height] = side.size;
  const scale = SIDE / Math.max(width, height);
  const canvas = el("canvas", { role: "img", width: Math.max(1, Math.round(width * scale)), height: Math.max(1, Math.round(height * scale)) });
  const marks = pairs.map((box, index) => mark(box, index, side.size));
  const root = el("div", { class: "heated" }, canvas, marks);
  const mask = maskOf(side, canvas, scale);

  return {
    root,
    show(on) {
      canvas.setAttribute("aria-label", on ? `${label}, with what it shares marked` : label);
      paint(canvas, image, part, on ? mask : null);
      for (const each of marks) each.hidden = !on;
    },
    /** Mark one pair alone, or all again (null). */
    only(index) {
      marks.forEach((each, at) => each.classList.toggle("other", index !== null && at !== index));
    },
  };
}

function mark([x0, y0, x1, y1], index, [width, height]) {
  const made = el("span", { class: "pair", "aria-hidden": "true" }, el("b", {}, index + 1));
  made.style.setProperty("--pair", COLOURS[index]);
  Object.assign(made.style, {
    left: `${(100 * x0) / width}%`, top: `${(100 * y0) / height}%`,
    width: `${(100 * (x1 - x0)) / width}%`, height: `${(100 * (y1 - y0)) / height}%`,
  });
  return made;
}

/** {heat, seen}: for each pixel of the canvas how warm it is, and whether it is seen, from 0 to 255. */
function maskOf({ heat, seen }, { width, height }, scale) {
  const rows = heat.length;
  const columns = heat[0].length;
  const peak = Math.max(...heat.flat());
  const small = new OffscreenCanvas(columns, rows);
  const cells = new ImageData(columns, rows);
  heat.flat().forEach((value, index) => {
    const level = peak > 0 ? 255 * (Math.max(0, value) / peak) ** GAMMA : 0;
    cells.data.set([level, 255, 0, 255], 4 * index);
  });
  small.getContext("2d").putImageData(cells, 0, 0);
  const whole = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
  const [x0, y0, x1, y1] = seen.map((each) => each * scale);
  whole.drawImage(small, x0, y0, x1 - x0, y1 - y0);
  return whole.getImageData(0, 0, width, height).data; // red: how warm, green: whether it is seen
}

function paint(canvas, image, part, mask) {
  const { width, height } = canvas;
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.fillStyle = "#888";
  context.fillRect(0, 0, width, height);
  if (image) {
    const [x0, y0, x1, y1] = part ?? [0, 0, 1, 1];
    const [w, h] = [image.width, image.height];
    context.drawImage(image, x0 * w, y0 * h, (x1 - x0) * w, (y1 - y0) * h, 0, 0, width, height);
  }
  if (!mask) return;
  const drawn = context.getImageData(0, 0, width, height);
  const { data } = drawn;
  for (let at = 0; at < data.length; at += 4) {
    const heat = mask[at] / 255;
    const light = 1 - UNSEEN * (1 - mask[at + 1] / 255);
    const grey = 0.75 * (0.299 * data[at] + 0.587 * data[at + 1] + 0.114 * data[at + 2]) + 0.25 * 255;
    for (let each = 0; each < 3; each++) {
      const warm = 0.65 * data[at + each] + 0.35 * HOT[each];
      data[at + each] = light * (grey + heat * (warm - grey));
    }
  }
  context.putImageData(drawn, 0, 0);
}
