// The state of the page; views are called with changes, at most once a frame. What each pane has of
// its own (its series, slice, window) is read and set as that of the active pane, or by `pane(i)`.

export class Store {
  #shared;
  #panes;
  #views = [];
  #changed = new Set(); // names of shared values, and "<pane>.<name>"
  #scheduled = false;

  // shared, ofPane: first values; count: number of panes.
  constructor(shared, ofPane, count) {
    this.#shared = { ...shared, active: 0 };
    this.#panes = Array.from({ length: count }, () => ({ ...ofPane }));
  }

  get(name) {
    return this.#read(this.#shared.active, name);
  }

  set(changes) {
    this.#write(this.#shared.active, changes);
  }

  // Calls view(store) when any of the names has changed: of a pane's values, those of the active one.
  on(names, view) {
    this.#views.push({ names, view, pane: null });
  }

  // The store as a pane sees it.
  pane(index) {
    return {
      index,
      get: (name) => this.#read(index, name),
      set: (changes) => this.#write(index, changes),
      on: (names, view) => this.#views.push({ names, view, pane: index }),
    };
  }

  #read(pane, name) {
    const values = name in this.#panes[pane] ? this.#panes[pane] : this.#shared;
    if (!(name in values)) throw new Error(`The store holds no ${name}.`);
    return values[name];
  }

  #write(pane, changes) {
    for (const [name, value] of Object.entries(changes)) {
      if (Object.is(this.#read(pane, name), value)) continue;
      const isOfPane = name in this.#panes[pane];
      (isOfPane ? this.#panes[pane] : this.#shared)[name] = value;
      this.#changed.add(isOfPane ? `${pane}.${name}` : name);
    }
    if (this.#changed.size && !this.#scheduled) {
      this.#scheduled = true;
      requestAnimationFrame(() => this.#tell());
    }
  }

  #tell() {
    const changed = this.#changed;
    this.#changed = new Set();
    this.#scheduled = false;
    const hasChanged = (name, pane) => {
      if (!(name in this.#panes[0])) return changed.has(name);
      if (pane === null && changed.has("active")) return true;
      return changed.has(`${pane ?? this.#shared.active}.${name}`);
    };
    for (const { names, view, pane } of this.#views) {
      if (names.some((name) => hasChanged(name, pane))) view(this);
    }
  }
}
