// What was decided about groups of duplicates. Nothing of it is done before it is confirmed, and all of it can be taken
// back until then; it is kept for this tab, so that a reload loses nothing.

export class Decisions {
  #place;
  #gone; // by the id of a group's best picture, the ids that are to go; no entry where nothing is decided

  constructor(job, groups) {
    this.#place = `imgvec-duplicates-${job}`;
    this.groups = groups;
    this.#gone = new Map();
    try {
      const kept = JSON.parse(sessionStorage.getItem(this.#place)) ?? [];
      for (const [best, ids] of kept) this.#gone.set(best, new Set(ids));
    } catch {
      // begun afresh
    }
  }

  /** All pictures of a group, the best one first. */
  static members = (group) => [group.best, ...group.others];

  /** What is proposed: all that are copies of the best go; what is merely of one burst stays. */
  static proposed = (group) => group.others.filter((each) => !["burst", "vector"].includes(each.kind)).map((each) => each.id);

  isDecided = (group) => this.#gone.has(group.best.id);

  goes = (group, id) => this.#gone.get(group.best.id)?.has(id) ?? false;

  decide(group, ids) {
    this.#gone.set(group.best.id, new Set(ids));
    this.#keep();
  }

  undo(group) {
    this.#gone.delete(group.best.id);
    this.#keep();
  }

  /** Whether it could be turned round: the last one that stays, stays. */
  toggle(group, id) {
    const gone = new Set(this.#gone.get(group.best.id));
    if (gone.has(id)) gone.delete(id);
    else gone.add(id);
    if (gone.size === Decisions.members(group).length) return false;
    this.decide(group, gone);
    return true;
  }

  /** The groups of which something goes. */
  get waiting() {
    return this.groups.filter((each) => (this.#gone.get(each.best.id)?.size ?? 0) > 0);
  }

  get decided() {
    return this.groups.filter(this.isDecided).length;
  }

  /** The pictures that are to go. */
  get pictures() {
    return this.waiting.flatMap((group) => this.going(group));
  }

  going = (group) => Decisions.members(group).filter((each) => this.goes(group, each.id));

  staying = (group) => Decisions.members(group).filter((each) => !this.goes(group, each.id));

  /** These pictures are no longer there. */
  forget(ids) {
    const gone = new Set(ids);
    const left = [];
    for (const group of this.groups) {
      const rest = Decisions.members(group).filter((each) => !gone.has(each.id));
      if (rest.length === Decisions.members(group).length) left.push(group);
      else if (rest.length > 1) left.push({ ...group, best: rest[0], others: rest.slice(1) });
      if (rest.length !== Decisions.members(group).length) this.#gone.delete(group.best.id);
    }
    this.groups = left;
    this.#keep();
  }

  #keep() {
    try {
      sessionStorage.setItem(this.#place, JSON.stringify([...this.#gone].map(([best, ids]) => [best, [...ids]])));
    } catch {
      // it is forgotten with the tab
    }
  }
}
