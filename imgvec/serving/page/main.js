// The parts of the page, and its start. A part that joins in (app.js says how) is named here.
import "./notes.js";
import "./token.js";
import "./question.js";
import "./answer.js";
import "./detail.js";
import "./matches.js";
import "./why.js";
import "./like.js";
import "./own.js";
import "./facets.js";
import "./upload.js";
import "./keys.js";
import "./selection.js";
import "./review.js";
import { start } from "./start.js";

start();
