// A part of a picture, drawn as a box: by pointer, or by keys (arrows move it, with Shift they resize it).

import { el } from "./dom.js";

const LEAST = 8; // pixels on the screen

/** Lets a box be drawn on `frame`, in which a picture of `width` by `height` pixels is shown whole and fills it.
 *  `done([x0, y0, x1, y1])` is called with it, in pixels of the picture, or with null once it is taken back. `select()`
 *  shows one to begin with. */
export function part(frame, { width, height, done }) {
  let box = null; // in shares of the picture
  let from = null;
  const mark = el("div", {
    class: "part-box", tabindex: 0, role: "group", hidden: true,
    "aria-label": "Part of the picture. Arrows move it, with Shift they resize it, Enter searches for it, Escape takes it back.",
  });
  frame.append(mark);
  frame.classList.add("cuttable");

  const clamp = (value, low = 0, high = 1) => Math.max(low, Math.min(high, value));
  const at = (event) => {
    const { left, top, width: w, height: h } = frame.getBoundingClientRect();
    return [clamp((event.clientX - left) / w), clamp((event.clientY - top) / h)];
  };

  function show(next) {
    box = next;
    mark.hidden = !box;
    if (!box) return;
    const [x0, y0, x1, y1] = box;
    Object.assign(mark.style, {
      left: `${100 * x0}%`, top: `${100 * y0}%`, width: `${100 * (x1 - x0)}%`, height: `${100 * (y1 - y0)}%`,
    });
  }

  const inPixels = () => {
    const [x0, y0, x1, y1] = box;
    const left = Math.floor(x0 * width);
    const top = Math.floor(y0 * height);
    return [left, top, Math.max(left + 1, Math.ceil(x1 * width)), Math.max(top + 1, Math.ceil(y1 * height))];
  };
  const tell = () => done(box ? inPixels() : null, { now: false });

  let moved = false;
  frame.addEventListener("pointerdown", (event) => {
    moved = false;
    const button = event.target.closest("button");
    // a drag may begin on the box of a view, which may be as large as the picture
    if (event.button !== 0 || (button && !button.matches(".spot"))) return;
    event.preventDefault();
    from = [event.clientX, event.clientY, ...at(event)];
    (button ?? frame).setPointerCapture(event.pointerId);
  });
  frame.addEventListener("pointermove", (event) => {
    if (!from) return;
    const [x, y, left, top] = from;
    moved ||= Math.hypot(event.clientX - x, event.clientY - y) >= LEAST / 2;
    if (!moved) return;
    const to = at(event);
    show([Math.min(left, to[0]), Math.min(top, to[1]), Math.max(left, to[0]), Math.max(top, to[1])]);
  });
  frame.addEventListener("click", (event) => moved && event.detail && event.stopPropagation(), { capture: true });
  const end = () => {
    if (!from) return;
    from = null;
    if (!moved) return;
    const { width: w, height: h } = frame.getBoundingClientRect();
    if (box && ((box[2] - box[0]) * w < LEAST || (box[3] - box[1]) * h < LEAST)) show(null);
    tell();
    if (box) mark.focus({ preventScroll: true });
  };
  frame.addEventListener("pointerup", end);
  frame.addEventListener("pointercancel", end);

  mark.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (step) {
      const [dx, dy] = step.map((each) => each * 0.04);
      const [x0, y0, x1, y1] = box;
      if (event.shiftKey) show([x0, y0, clamp(x1 + dx, x0 + 0.05), clamp(y1 + dy, y0 + 0.05)]);
      else {
        const [sx, sy] = [clamp(dx, -x0, 1 - x1), clamp(dy, -y0, 1 - y1)];
        show([x0 + sx, y0 + sy, x1 + sx, y1 + sy]);
      }
      tell();
    } else if (event.key === "Enter") {
      done(inPixels(), { now: true });
    } else if (event.key === "Escape") {
      show(null);
      tell();
    } else return;
    event.preventDefault();
    event.stopPropagation();
  });

  return {
    select() {
      show([0.25, 0.25, 0.75, 0.75]);
      tell();
      mark.focus({ preventScroll: true });
    },
    clear: () => show(null),
    shown: (given) => show(given && [given[0] / width, given[1] / height, given[2] / width, given[3] / height]),
  };
}
