// Notes that go away by themselves, and questions that are answered yes or no.

import { app } from "./app.js";
import { el, find } from "./dom.js";

app.on("note", ({ text, bad = false, action = null }) => {
  const note = el(
    "p",
    { class: bad ? "note bad" : "note" },
    el("span", {}, text),
    action && el("button", { type: "button", onclick: action.run }, action.label),
    el("button", { type: "button", class: "close", "aria-label": "Dismiss", onclick: () => note.remove() }, "×"),
  );
  find("notes").append(note);
  // what can be done with it stays until it is dismissed
  if (!action) setTimeout(() => note.remove(), bad ? 12000 : 5000);
  while (find("notes").children.length > 4) find("notes").firstChild.remove();
});

/** A dialog that is closed by Escape; `close` is called once, with what it was closed by. */
export function dialog({ label, content, close, wide = false }) {
  const made = el("dialog", { "aria-label": label, class: wide ? "wide" : null }, content);
  const back = document.activeElement;
  made.addEventListener("close", () => {
    made.remove();
    if (back?.isConnected) back.focus();
    close?.(made.returnValue);
  });
  made.addEventListener("click", (event) => {
    if (event.target === made) made.close("");
  });
  document.body.append(made);
  made.showModal();
  return made;
}

app.on("choose", ({ title, text, yes = "Yes", no = "Cancel", danger = false, answer }) => {
  const done = (value) => () => made.close(value);
  const made = dialog({
    label: title,
    content: [
      el("h2", {}, title),
      text ? el("p", {}, text) : null,
      el(
        "p",
        { class: "answers" },
        el("button", { type: "button", onclick: done("") }, no),
        el("button", { type: "button", class: danger ? "danger" : "main", onclick: done("yes") }, yes),
      ),
    ],
    close: (value) => answer(value === "yes"),
  });
});
