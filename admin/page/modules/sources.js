// The status line of all sources, and the text of the reason of a degraded value.

import { asOf } from "./formats.js";

/** "connection_refused" -> "connection refused" */
const inWords = (kind) => kind.replaceAll("_", " ");

/** Gives the reason of degraded values, from the latest status. */
export class Sources {
  #titles;
  #status = null;

  constructor(titles) {
    this.#titles = titles;
  }

  /** Set the status; null: unknown. */
  set status(status) {
    this.#status = status;
    if (status) this.#draw(status);
  }

  /** The reason for a degraded value of these sources: the source and the kind of its error. */
  reason(sources) {
    const title = (name) => this.#titles[name] ?? name;
    const down = (this.#status?.sources ?? []).filter((one) => sources.includes(one.source) && one.up === false);
    if (down.length) return down.map((one) => `${title(one.source)}: ${inWords(one.error ?? "down")}`).join("; ");
    const failing = (this.#status?.collectors ?? []).find(
      (one) => one.up === false && one.sources.some((source) => sources.includes(source)),
    );
    if (failing) return `${failing.sources.map(title).join(", ")}: ${inWords(failing.error ?? "failed")}`;
    return `${sources.map(title).join(", ")}: not read yet`;
  }

  #draw({ sources, grafana }) {
    for (const one of sources) this.#say(one.source, one.provided ? one.up : null, this.#words(one));
    this.#say("grafana", grafana.up, !grafana.configured ? "not configured" : grafana.up ? "up" : "unavailable");
  }

  #words({ up, error, last_success: last, provided }) {
    if (!provided) return "not recorded by this HiveSync";
    if (up) return "up";
    if (up === null) return "not read yet";
    const since = last ? `, last read ${asOf(new Date(last))}` : "";
    return `down (${inWords(error ?? "no answer")}${since})`;
  }

  #say(name, up, words) {
    const item = document.querySelector(`#sources [data-source="${CSS.escape(name)}"]`);
    if (!item) return;
    item.querySelector(".dot").dataset.up = String(up);
    item.querySelector("[data-state]").textContent = words;
  }
}
