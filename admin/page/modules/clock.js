// The page's one clock: when the next refresh is due. It stands still while it is switched off or nobody looks at the
// page, catches up when somebody does, and slows down while something is wrong.

/** Of the time to the next refresh, so that many pages do not ask in step. */
const JITTER = 0.03;

export class Clock {
  #task;
  #seconds;
  #longest;
  #on;
  #pause;
  #due = 0;
  #timer = 0;
  #running = false;
  #ended = false;

  /** `task()` resolves to "ok", to "troubled" (slow down) or to "ended" (stop for good). */
  constructor(task, { seconds, longest, on }) {
    this.#task = task;
    this.#seconds = this.#pause = seconds;
    this.#longest = longest;
    this.#on = on;
  }

  /** The first refresh, and from now on whenever one is due. */
  start() {
    document.addEventListener("visibilitychange", () => this.#plan());
    return this.refresh();
  }

  get on() {
    return this.#on;
  }

  /** Switch it on or off; switched on, it catches up with what is overdue. */
  set on(on) {
    this.#on = on;
    this.#plan();
  }

  /** Refresh now, whether it is on or off; the next one is due a whole pause later. */
  async refresh() {
    if (this.#running || this.#ended) return;
    this.#running = true;
    clearTimeout(this.#timer);
    try {
      const result = await this.#task();
      this.#ended = result === "ended";
      this.#pause = result === "ok" ? this.#seconds : Math.min(this.#pause * 2, this.#longest);
    } finally {
      this.#running = false;
      const jitter = 1 + JITTER * (2 * Math.random() - 1);
      this.#due = Date.now() + this.#pause * 1000 * jitter;
      this.#plan();
    }
  }

  #plan() {
    clearTimeout(this.#timer);
    if (!this.#on || this.#ended || this.#running || document.hidden) return;
    this.#timer = setTimeout(() => this.refresh(), Math.max(0, this.#due - Date.now()));
  }
}
