// The cards: every <data data-path="document/key/..."> gets its value, and every card its state.

import { inSum, isNotProvided, isValue, knowsNothing, mark, markNotProvided, NO_ANSWER } from "./degraded.js";
import { writeComparison } from "./comparisons.js";
import { number } from "./formats.js";
import { drawTrend } from "./sparkline.js";

export class Cards {
  #cards;
  #sources;

  constructor(root, sources) {
    this.#sources = sources;
    this.#cards = [...root.querySelectorAll("[data-card]")].map((panel) => ({
      panel,
      numbers: [...panel.querySelectorAll("data[data-path]")].map((element) => {
        const [path, ...keys] = element.dataset.path.split("/");
        const changes = [...panel.querySelectorAll(`[data-of="${element.dataset.path}"]`)];
        return { element, changes, line: element.closest("[data-line]"), path, keys, last: null };
      }),
      spark: panel.querySelector("[data-trend]"),
    }));
  }

  /** The documents of all cards. */
  get documents() {
    return [...new Set(this.#cards.flatMap((card) => card.numbers.map((one) => one.path)))];
  }

  /** Show these documents; an Error leaves the last values, in grey. */
  show(documents) {
    for (const card of this.#cards) this.#show(card, documents);
  }

  #show({ panel, numbers, spark }, documents) {
    const found = numbers.map((one) => {
      const value = one.keys.reduce((inner, key) => inner?.[key], documents.get(one.path));
      one.failed = !isValue(value);
      if (!one.failed) one.last = one.last && knowsNothing(value) ? { ...one.last, status: value.status } : value;
      this.#write(one);
      return one;
    });
    const failed = found.some((one) => one.failed);
    const { degraded, sources, asOf } = inSum(found.map((one) => one.last).filter(Boolean));
    mark(panel, { reason: failed ? NO_ANSWER : degraded ? this.#sources.reason(sources) : "", asOf });
    this.#showNotProvided(panel, found);
    const trend = spark && documents.get("summary")?.trends?.[spark.dataset.trend];
    if (trend) drawTrend(spark, trend);
  }

  /** Hide the lines of values that do not exist, and name them below; the card itself if it has no others. */
  #showNotProvided(panel, numbers) {
    const lacking = numbers.filter(({ last }) => isNotProvided(last));
    for (const one of numbers) one.line.hidden = lacking.includes(one);
    const title = panel.querySelector("h3").textContent;
    markNotProvided(panel, lacking.length === numbers.length ? [title] : lacking.map(({ line }) => line.dataset.line));
    panel.toggleAttribute("data-empty-card", lacking.length === numbers.length);
  }

  #write({ element, changes, last, failed }) {
    const old = failed || last.status === "degraded";
    element.toggleAttribute("data-old", old);
    if (last === null) return;
    element.value = last.value ?? "";
    element.textContent = number(last.value, element.dataset.format, old ? "" : element.dataset.empty);
    for (const one of changes) {
      const { key, than } = one.dataset;
      const compared = { value: last.value, previous: last[key], change: last[key.replace("previous", "change")] };
      writeComparison(one, old ? {} : compared, { than, format: element.dataset.format });
    }
  }
}
