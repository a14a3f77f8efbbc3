// Asks the visitor for a token where the server wants one.

import { tokensBy } from "./api.js";
import { el } from "./dom.js";
import { dialog } from "./notes.js";

tokensBy(
  (refused) =>
    new Promise((done) => {
      const field = el("input", {
        type: "password", name: "token", required: true, autocomplete: "off", spellcheck: "false", "aria-label": "Token",
      });
      const form = el(
        "form",
        { method: "dialog" },
        el("h2", {}, "A token, please"),
        el(
          "p",
          {},
          refused ? "This one is not known here, or has ended. " : "",
          "Whoever runs this server makes one with ",
          el("code", {}, "imgvec serve --new-token NAME --token-file FILE"),
          ". It is kept for this tab alone.",
        ),
        el("p", { class: "answers" }, field, el("button", { class: "main" }, "Go on")),
      );
      const ask = () => {
        const made = dialog({
          label: "Token",
          content: form,
          // there is nothing to see without: it is asked for again
          close: () => (field.value ? done(field.value.trim()) : ask()),
        });
        made.classList.add("token");
        field.focus();
      };
      ask();
    }),
);
