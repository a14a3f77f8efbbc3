// Keeps the visitor's own pictures in this browser for a day, so that a reload, or Back from elsewhere, asks by them again.
// Where the browser keeps nothing (as in some private windows), they last as long as the page is open.

const [NAME, STORE] = ["imgvec", "pictures"];
const MOST = 30;
const DAY = 24 * 60 * 60 * 1000;

const done = (asked) =>
  new Promise((resolve, reject) => {
    asked.addEventListener("success", () => resolve(asked.result));
    asked.addEventListener("error", () => reject(asked.error));
  });

let opening = null;

function opened() {
  opening ??= new Promise((resolve, reject) => {
    const asked = indexedDB.open(NAME, 1);
    asked.addEventListener("upgradeneeded", () => asked.result.createObjectStore(STORE));
    done(asked).then(resolve, reject);
  });
  return opening;
}

const store = async (mode) => (await opened()).transaction(STORE, mode).objectStore(STORE);

/** Keep a picture by its name; the oldest ones, and those of another day, are let go. Never fails. */
export async function stow(name, file) {
  try {
    await done((await store("readwrite")).put({ file, at: Date.now() }, name));
    const kept = await store("readwrite");
    const [names, all] = await Promise.all([done(kept.getAllKeys()), done(kept.getAll())]);
    const byAge = names.map((each, index) => ({ name: each, at: all[index].at })).sort((left, right) => right.at - left.at);
    const old = byAge.filter(({ at }, index) => index >= MOST || at < Date.now() - DAY);
    for (const { name: each } of old) kept.delete(each);
  } catch {
    // it lasts as long as the page
  }
}

/** The picture of that name, or null. Never fails. */
export async function stowed(name) {
  try {
    const found = await done((await store("readonly")).get(name));
    return found && found.at >= Date.now() - DAY ? found.file : null;
  } catch {
    return null;
  }
}
