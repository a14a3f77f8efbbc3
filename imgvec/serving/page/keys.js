// Keys, and the help that lists them.

import { app } from "./app.js";
import { el, find } from "./dom.js";
import { dialog } from "./notes.js";

const MOVES = [
  ["← → ↑ ↓", "Go from picture to picture"],
  ["Enter, space", "Look at the picture"],
  ["Escape", "Close what is open, or clear the question"],
];

const SAID = { " ": "space" };

app.command({ id: "help", label: "Help", key: "?", sign: "?", place: "bar", run: help });
app.command({
  id: "words",
  label: "Go to the search field",
  key: "/",
  run: () => (find("words").hidden ? find("pick") : find("words")).focus(),
});

function help() {
  if (document.querySelector("dialog")) return;
  const keyed = app.commands.filter((each) => each.key && each.keys !== "");
  const lines = [...MOVES, ...keyed.map((each) => [each.keys ?? SAID[each.key] ?? each.key, each.label])];
  const made = dialog({
    label: "Help",
    wide: true,
    content: [
      // focused, so that the help begins at its top
      el("h2", { tabindex: -1, autofocus: true }, "What you can do"),
      el(
        "ul",
        {},
        [
          "Drop a picture anywhere on this page, paste one, or pick one: you see what is most like it.",
          "Look at a picture, and draw a box on it: that part is searched for.",
          "Say + to what you want and − to what you don't: the order follows.",
          "Narrow it down with the filters; the address holds it all, so send it to somebody, or go back.",
          "Select pictures to save them as a file; look through duplicates, and say what goes.",
        ].map((each) => el("li", {}, each)),
      ),
      el(
        "table",
        { class: "keys" },
        el("thead", {}, el("tr", {}, el("th", {}, "Key"), el("th", {}, "What it does"))),
        el("tbody", {}, lines.map(([key, said]) => el("tr", {}, el("td", {}, el("kbd", {}, key)), el("td", {}, said)))),
      ),
      el("p", { class: "answers" }, el("button", { type: "button", class: "main", onclick: () => made.close() }, "Close")),
    ],
  });
}

const FIELDS = "input:not([type=checkbox], [type=radio], [type=range]), textarea, select, [contenteditable]";

addEventListener("keydown", (event) => {
  if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return;
  if (document.querySelector("dialog[open]")) return;
  if (event.key === "Escape") {
    app.emit("escape", event);
    return;
  }
  if (event.target.closest(FIELDS)) return;
  // space and Enter press what is focused
  if ((event.key === " " || event.key === "Enter") && event.target.closest("button, a, summary, input")) return;
  const hit = app.current();
  const command = app.commands.find((each) => each.key === event.key && app.can(each, hit));
  if (!command) return;
  event.preventDefault();
  app.run(command, hit, event);
});
