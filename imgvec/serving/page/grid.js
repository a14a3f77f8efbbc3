// The pictures, as a grid of which only the rows in sight are elements: a hundred thousand scroll as a hundred do.
//
//     grid.show({items, total, more, top})   `more()` gives {items, total} of those that follow, which are added when the
//                                            end comes near; none means that there are no more. `top` is where to scroll.
//     grid.items, grid.total, grid.active    what is there so far; how many there are; the index of the active one
//     grid.go(index)                         make it active, in sight and focused
//     grid.refresh()                         fill all tiles again
//
// The roles are those of a grid (ARIA Authoring Practices): arrows, Home, End, Page Up and Page Down move within it.

import { app } from "./app.js";
import { baseName, el } from "./dom.js";
import { show, thumbnail } from "./pictures.js";
import { made, outline, worth } from "./tile.js";

const GAP = 10;
const CAPTION = 26;
const AHEAD = 3; // rows beyond what is in sight, before and after
const EAGER = 400; // pixels of wanted tiles, times rows, before the end when more is asked for

export class Grid {
  items = [];
  total = 0;
  active = 0;
  #rows = new Map();
  #free = [];
  #columns = 1;
  #side = 160;
  #wanted = 168;
  #more = null;
  #loading = false;
  #turn = 0;
  #frame = 0;

  constructor(scroller) {
    this.scroller = scroller;
    this.sheet = el("div", { class: "sheet", role: "grid", "aria-label": "Pictures", "aria-multiselectable": "true" });
    scroller.append(this.sheet);
    scroller.addEventListener("scroll", () => this.#later(), { passive: true });
    new ResizeObserver(() => this.#resized()).observe(scroller);
    this.sheet.addEventListener("click", (event) => this.#clicked(event));
    scroller.addEventListener("keydown", (event) => this.#pressed(event));
    this.sheet.addEventListener("focusin", (event) => this.#focused(event));
  }

  show({ items, total = items.length, more = null, top = 0 }) {
    this.#turn++;
    this.items = items;
    this.total = Math.max(total, items.length);
    this.active = 0;
    this.#more = more;
    this.#loading = false;
    for (const row of this.#rows.values()) this.#release(row);
    this.#rows.clear();
    this.#measure();
    this.scroller.scrollTop = top;
    this.#draw();
  }

  /** How wide a tile should be, about. */
  set wanted(pixels) {
    this.#wanted = pixels;
    this.#resized();
  }

  refresh() {
    for (const [index, row] of this.#rows) this.#fill(row, index);
  }

  go(index, { focus = true } = {}) {
    if (!this.items.length) return;
    const before = this.active;
    this.active = Math.max(0, Math.min(index, this.items.length - 1));
    const height = this.#height;
    const top = Math.floor(this.active / this.#columns) * height;
    const { scrollTop, clientHeight } = this.scroller;
    if (top < scrollTop) this.scroller.scrollTop = top;
    else if (top + height > scrollTop + clientHeight) this.scroller.scrollTop = top + height - clientHeight;
    this.#draw();
    for (const each of [before, this.active]) this.#tile(each)?.setAttribute("tabindex", each === this.active ? 0 : -1);
    if (focus) this.#tile(this.active)?.focus({ preventScroll: true });
    if (before !== this.active) app.emit("active", this.items[this.active]);
  }

  /** The element of a picture, where it is in sight. */
  #tile(index) {
    return this.#rows.get(Math.floor(index / this.#columns))?.children[index % this.#columns] ?? null;
  }

  get #height() {
    return this.#side + CAPTION + GAP;
  }

  #measure() {
    const width = this.scroller.clientWidth - 2 * GAP;
    this.#columns = Math.max(2, Math.floor((width + GAP) / (this.#wanted + GAP)));
    this.#side = Math.max(60, Math.floor((width - GAP * (this.#columns - 1)) / this.#columns));
    const rows = Math.ceil(this.total / this.#columns);
    const { sheet } = this;
    sheet.style.height = `${rows * this.#height}px`;
    sheet.style.setProperty("--side", `${this.#side}px`);
    sheet.style.setProperty("--columns", this.#columns);
    sheet.setAttribute("aria-rowcount", rows);
    sheet.setAttribute("aria-colcount", this.#columns);
  }

  #resized() {
    const before = [this.#columns, this.#side].join();
    const first = Math.floor(this.scroller.scrollTop / this.#height) * this.#columns;
    this.#measure();
    // only lower or higher, as when the tray opens: the tiles stay, and so does the focus
    if (before === [this.#columns, this.#side].join()) return void this.#draw();
    const focused = this.sheet.contains(document.activeElement);
    for (const row of this.#rows.values()) this.#release(row);
    this.#rows.clear();
    this.#free = [];
    this.scroller.scrollTop = Math.floor(first / this.#columns) * this.#height;
    this.#draw();
    if (focused) this.go(this.active);
  }

  #later() {
    this.#frame ||= requestAnimationFrame(() => {
      this.#frame = 0;
      this.#draw();
    });
  }

  #draw() {
    const { scrollTop, clientHeight } = this.scroller;
    const rows = Math.ceil(this.total / this.#columns);
    const first = Math.max(0, Math.floor(scrollTop / this.#height) - AHEAD);
    const last = Math.min(rows - 1, Math.ceil((scrollTop + clientHeight) / this.#height) + AHEAD);
    for (const [index, row] of this.#rows) {
      if (index < first || index > last) {
        if (row.contains(document.activeElement)) this.scroller.focus({ preventScroll: true });
        this.#release(row);
        this.#rows.delete(index);
      }
    }
    let below = null; // they stand in their order, also for who hears them
    for (let index = last; index >= first; index--) {
      let row = this.#rows.get(index);
      if (!row) {
        row = this.#free.pop() ?? this.#made();
        this.#rows.set(index, row);
        row.style.transform = `translateY(${index * this.#height}px)`;
        this.sheet.insertBefore(row, below);
        this.#fill(row, index);
      }
      below = row;
    }
    const ahead = Math.ceil(EAGER / this.#height) * this.#columns;
    if ((last + 1) * this.#columns + ahead > this.items.length) this.#load();
  }

  async #load() {
    if (this.#loading || !this.#more) return;
    const turn = this.#turn;
    this.#loading = true;
    let got;
    try {
      got = await this.#more();
    } catch (error) {
      if (turn === this.#turn) {
        this.#more = null;
        this.total = this.items.length;
        this.#measure();
        app.failed(error);
      }
      return;
    }
    if (turn !== this.#turn) return;
    this.#loading = false;
    const known = this.items.length;
    if (!got.items.length) this.#more = null;
    this.items.push(...got.items);
    this.total = this.#more ? Math.max(got.total ?? this.total, this.items.length) : this.items.length;
    this.#measure();
    for (const [index, row] of this.#rows) {
      if ((index + 1) * this.#columns > known) this.#fill(row, index);
    }
    app.emit("items");
    this.#draw();
  }

  #release(row) {
    row.remove();
    for (const tile of row.children) show(tile.querySelector("img"), null);
    this.#free.push(row);
  }

  #made() {
    const row = el("div", { class: "row", role: "row" });
    for (let column = 0; column < this.#columns; column++) row.append(made());
    return row;
  }

  #fill(row, index) {
    row.setAttribute("aria-rowindex", index + 1);
    [...row.children].forEach((tile, column) => {
      const at = index * this.#columns + column;
      this.#fillTile(tile, this.items[at], at, column);
    });
  }

  #fillTile(tile, hit, index, column) {
    const image = tile.querySelector("img");
    const frame = tile.firstElementChild;
    tile.className = "tile";
    tile.hidden = index >= this.total;
    tile.dataset.index = index;
    tile.setAttribute("aria-colindex", column + 1);
    tile.setAttribute("tabindex", index === this.active ? 0 : -1);
    frame.querySelector("svg")?.remove();
    if (!hit) {
      tile.classList.add("empty");
      tile.setAttribute("aria-label", "Not there yet");
      show(image, null);
      for (const each of tile.querySelectorAll(".name, .worth")) each.textContent = "";
      return;
    }
    const name = baseName(hit.uri);
    tile.setAttribute("aria-label", [name, worth(hit, true)].filter(Boolean).join(", "));
    tile.title = hit.uri;
    tile.querySelector(".name").textContent = name;
    tile.querySelector(".worth").textContent = worth(hit, false);
    tile.classList.toggle("whole", Boolean(hit.box));
    show(image, thumbnail(hit, this.#side));
    if (hit.box && hit.fields?.width) frame.append(outline(hit));
    for (const decorator of app.decorators) decorator(tile, hit, index);
  }

  #clicked(event) {
    const tile = event.target.closest(".tile");
    if (!tile) return;
    const index = Number(tile.dataset.index);
    const hit = this.items[index];
    if (!hit) return;
    this.go(index, { focus: !event.target.closest("button") });
    const named = event.target.closest("button")?.dataset.command;
    if (named) app.run(app.commands.find((each) => each.id === named), hit, event);
    else app.emit("picked", { hit, index, event });
  }

  #focused(event) {
    const tile = event.target.closest(".tile");
    const index = tile ? Number(tile.dataset.index) : this.active;
    if (index !== this.active) this.go(index, { focus: false });
  }

  #pressed(event) {
    if (event.target.closest("button") || event.ctrlKey || event.metaKey || event.altKey) return;
    const page = Math.max(1, Math.floor(this.scroller.clientHeight / this.#height)) * this.#columns;
    const steps = {
      ArrowLeft: -1, ArrowRight: 1, ArrowUp: -this.#columns, ArrowDown: this.#columns, PageUp: -page, PageDown: page,
      Home: -Infinity, End: Infinity,
    };
    const step = steps[event.key];
    if (step === undefined) {
      if (event.key === "Enter" && this.items[this.active]) {
        app.emit("picked", { hit: this.items[this.active], index: this.active, event });
        event.preventDefault();
      }
      return;
    }
    event.preventDefault();
    this.go(this.active + step);
  }
}
