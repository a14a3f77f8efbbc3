// Which hits are matches: said of a calibrated collection. Where one isn't, or was calibrated long ago, it can be done here,
// by a job of the server.

import { at } from "./api.js";
import { app } from "./app.js";
import { counted, el, find, share } from "./dom.js";
import { cancel, followed, result, started } from "./jobs.js";
import { dialog } from "./notes.js";
import { state } from "./state.js";

const ENOUGH = 132; // pictures that a false-match rate of 1 % takes: see "What a calibration promises" in the README

const button = el("button", { type: "button", class: "quiet", hidden: true, onclick: offer });

/** Whether the question is one that a calibration judges: a picture, without + and −. */
const isJudged = () => (state.get("id") ?? state.get("pic")) !== null && !state.all("plus").length && !state.all("minus").length;

app.on("collection", () => find("controls").prepend(button));
app.on("answer", () => {
  const verdict = app.answer?.verdict;
  button.hidden = !(app.may("admin") && isJudged() && app.answer && (verdict ? verdict.note : app.collection.pictures >= ENOUGH));
  button.textContent = verdict ? "Calibrate again" : "Which are matches?";
  button.title = verdict?.note ?? "";
});

function offer() {
  const note = app.answer?.verdict?.note;
  const said = el("p", { role: "status" });
  const bar = el("progress", { "aria-label": "Progress", hidden: true });
  const go = el("button", { type: "button", class: "main", onclick: calibrate }, "Calibrate");
  const leave = el("button", { type: "button", onclick: () => made.close() }, "Cancel");
  const stop = new AbortController();
  let job = null;
  const name = app.collection.served_as;
  const made = dialog({
    label: "Which are matches?",
    content: [
      el("h2", {}, "Which are matches?"),
      note ? el("p", {}, `This collection was ${note}.`) : null,
      el(
        "p",
        {},
        "The nearest pictures come whether anything matches or not. A calibrated collection says from which score on a picture is a " +
          "match, how likely each one is, and when there is nothing like it. Its own pictures are searched for, and edited copies of " +
          "some: no labels are needed.",
      ),
      el("p", { class: "hint" }, "By command: ", el("code", {}, `imgvec calibrate -c ${name}`)),
      said,
      bar,
      el("p", { class: "answers" }, leave, go),
    ],
    close() {
      stop.abort();
      if (job) cancel(job).catch(app.failed);
    },
  });

  async function calibrate() {
    go.disabled = true;
    bar.hidden = false;
    said.textContent = "Starting…";
    try {
      job = await started(at(name, "calibrate"), {});
      await followed(job, told, stop.signal);
      const { found_of_all: found } = await result(job);
      job = null;
      said.textContent = outcome(found);
      leave.textContent = "Close";
      go.hidden = true;
      leave.focus();
      app.emit("written"); // what is shown is asked for again, and judged
    } catch (error) {
      job = null;
      if (error.name === "AbortError") return;
      said.textContent = error.message;
      go.disabled = false;
      if (error.status === undefined) console.error(error);
    } finally {
      bar.hidden = true;
    }
  }

  function told({ progress }) {
    if (!progress) return;
    const { stage, done, total } = progress;
    said.textContent = `${stage.replace(/^./, (first) => first.toUpperCase())}…`;
    if (total) Object.assign(bar, { max: total, value: done });
    else bar.removeAttribute("value");
  }
}

/** What is found at the lowest rate, in words. */
function outcome(found) {
  if (!found.length) return "Done. No copies could be made of its pictures, so hits have no probability; they are judged all the same.";
  const [{ found: reached, of, rate }] = found; // at the lowest rate
  return `Done. Of ${counted(of, "edited copy", "edited copies")} it finds ${share(reached / of)}, at a false-match rate of ${share(rate)}.`;
}
