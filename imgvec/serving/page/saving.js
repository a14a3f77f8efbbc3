// Saves an answer of the server as a file of the visitor's.

import { at, request } from "./api.js";
import { el } from "./dom.js";

/** The whole of a response, under the name that it says. */
export async function save(response) {
  const name = /filename="([^"]+)"/.exec(response.headers.get("Content-Disposition") ?? "")?.[1] ?? "pictures";
  saveAs(name, await response.blob());
}

function saveAs(name, blob) {
  const url = URL.createObjectURL(blob);
  const link = el("a", { href: url, download: name });
  document.body.append(link);
  link.click();
  link.remove();
  // the browser has begun to read it by then; what it reads stays
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}

/** What a note offers once these are deleted: the paths of their files, which stay. To be asked for before they go; null
 *  where somebody else has deleted them all. */
export async function pathsOf(collection, ids) {
  let got;
  try {
    got = await request("POST", at(collection, "images", "export"), { body: { ids, form: "paths" } });
  } catch (error) {
    if (error.kind === "row-not-found") return null;
    throw error;
  }
  const list = await got.blob();
  return { label: "Save their paths", run: () => saveAs("deleted-paths.txt", list) };
}
