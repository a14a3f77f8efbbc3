// Saves an answer of the server as a file of the visitor's.

import { el } from "./dom.js";

/** The whole of a response, under the name that it says. */
export async function save(response) {
  const name = /filename="([^"]+)"/.exec(response.headers.get("Content-Disposition") ?? "")?.[1] ?? "pictures";
  const url = URL.createObjectURL(await response.blob());
  const link = el("a", { href: url, download: name });
  document.body.append(link);
  link.click();
  link.remove();
  // the browser has begun to read it by then; what it reads stays
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}
