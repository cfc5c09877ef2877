// The page's only live region: each change in a sentence, and nothing at refreshes without one.

export class Announcer {
  #region;
  #states = new Map();

  constructor(region) {
    this.#region = region;
  }

  /** Announce the answer to an action of the user. */
  say(words) {
    this.#region.textContent = words;
  }

  /** Announce a state when it changes; `first` is announced for the first one. An empty text is not announced. */
  state(name, words, { first = words } = {}) {
    const isFirst = !this.#states.has(name);
    const said = isFirst ? first : this.#states.get(name) === words ? "" : words;
    this.#states.set(name, words);
    if (said) this.say(said);
  }
}
