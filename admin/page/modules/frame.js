// Grafana's panel in a frame: the only picture in its slot while it is there.

import { shownTheme } from "./theme.js";

export class Frame {
  #slot;
  #title;
  #height;

  constructor(slot, { title, height }) {
    this.#slot = slot;
    this.#title = title;
    this.#height = height;
  }

  /** Whether the slot has a frame. */
  get isThere() {
    return this.#element !== null;
  }

  /** Show the panel at this URL in the current theme; the frame stays if it shows it already. `clear()` makes room. */
  show(url, { refreshes, clear }) {
    const address = new URL(url, location.href);
    address.searchParams.set("theme", shownTheme());
    if (!refreshes) address.searchParams.delete("refresh");
    if (this.#element?.src === address.href) return;
    clear();
    const frame = document.createElement("iframe");
    frame.title = this.#title;
    frame.loading = "lazy";
    frame.height = this.#height;
    frame.src = address.href;
    frame.addEventListener("load", () => clearBackground(frame));
    this.#slot.replaceChildren(frame);
  }

  /** Load the panel again; a frame that was never in sight has not been loaded and stays so. */
  reload() {
    const frame = this.#element;
    if (frame && frame.contentWindow.location.href !== "about:blank") frame.contentWindow.location.replace(frame.src);
  }

  get #element() {
    return this.#slot.querySelector("iframe");
  }
}

/** Let the card's background show through (the panel's page is on the page's own origin): a panel without a background
    of its own stands on that of Grafana's page, and a page of another colour scheme than the frame on an opaque one. */
function clearBackground(frame) {
  const page = frame.contentDocument;
  if (!page) return;
  page.documentElement.style.setProperty("color-scheme", getComputedStyle(frame).colorScheme);
  for (const element of [page.documentElement, page.body]) {
    element.style.setProperty("background", "transparent", "important");
  }
}
