// What the page shows, kept in the address after `#`, so that a link, a reload and Back lead to the same view. Browsers
// never send that part to a server. Each name has one value or several; all of them are text.
//
//     state.get("c")                       the value, or null
//     state.all("plus")                    its values, in their order
//     state.set({id: "0b1f", text: null})  null and [] take a name out; a step of the history of its own
//     state.set({open: "0b1f"}, {replace: true})
//     state.watch((changed) => …)          `changed` is the Set of names whose values have changed

const watchers = new Set();
let now = read();

function read() {
  return new URLSearchParams(location.hash.slice(1));
}

function told(before) {
  const names = new Set([...before.keys(), ...now.keys()]);
  const changed = new Set([...names].filter((name) => before.getAll(name).join("\n") !== now.getAll(name).join("\n")));
  if (changed.size) for (const each of [...watchers]) each(changed);
}

export const state = {
  get: (name) => now.get(name),
  all: (name) => now.getAll(name),
  names: () => [...new Set(now.keys())],

  set(values, { replace = false } = {}) {
    const before = now;
    now = new URLSearchParams(before);
    for (const [name, value] of Object.entries(values)) {
      now.delete(name);
      for (const each of Array.isArray(value) ? value : [value]) {
        if (each !== null && each !== undefined && each !== "") now.append(name, each);
      }
    }
    const address = `#${now}`;
    if (address === (location.hash || "#")) return;
    history[replace ? "replaceState" : "pushState"](null, "", address);
    told(before);
  },

  watch(watcher) {
    watchers.add(watcher);
    return () => watchers.delete(watcher);
  },
};

function moved() {
  const before = now;
  now = read();
  told(before);
}

addEventListener("popstate", moved);
addEventListener("hashchange", moved);
