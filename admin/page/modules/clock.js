// The page's clock: the time of the next refresh. It stops while it is switched off or the tab is hidden, catches up when
// the tab is shown, and slows down during failures.

/** The share by which an interval varies, so that many pages do not refresh at the same time. */
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

  /** Refresh now, and from now on at each interval. */
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

  /** Stop for good. */
  stop() {
    this.#ended = true;
    clearTimeout(this.#timer);
  }

  /** Refresh now, on or off; the next refresh follows a full interval later. */
  async refresh() {
    if (this.#running || this.#ended) return;
    this.#running = true;
    clearTimeout(this.#timer);
    try {
      const result = await this.#task();
      this.#ended ||= result === "ended";
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
