// The state of the page; views are called with changes, at most once a frame.

export class Store {
  #values;
  #views = [];
  #changed = new Set();
  #scheduled = false;

  constructor(values) {
    this.#values = { ...values };
  }

  get(name) {
    if (!(name in this.#values)) throw new Error(`The store holds no ${name}.`);
    return this.#values[name];
  }

  set(changes) {
    for (const [name, value] of Object.entries(changes)) {
      if (Object.is(this.get(name), value)) continue;
      this.#values[name] = value;
      this.#changed.add(name);
    }
    if (this.#changed.size && !this.#scheduled) {
      this.#scheduled = true;
      requestAnimationFrame(() => this.#tell());
    }
  }

  // Calls view(store) when any of the names has changed.
  on(names, view) {
    this.#views.push({ names, view });
  }

  #tell() {
    const changed = this.#changed;
    this.#changed = new Set();
    this.#scheduled = false;
    for (const { names, view } of this.#views) {
      if (names.some((name) => changed.has(name))) view(this);
    }
  }
}
