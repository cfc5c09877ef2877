// The charts: Grafana's panels in frames if Grafana responds and has a panel for the range, otherwise drawn here.

import { read } from "./api.js";
import { writeComparison } from "./comparisons.js";
import { knowsNothing, mark, NO_ANSWER } from "./degraded.js";
import { number } from "./formats.js";
import { Plot, pointNames } from "./plot.js";
import { recall, remember } from "./remembered.js";
import { shownTheme } from "./theme.js";

const OWN_DATA = "drawn from HiveSync's own data";

export class Charts {
  #charts;
  #grafana;

  /** `page`: the page's data; `uPlot`: null if it is not installed. */
  constructor(root, page, uPlot, sources, isRefreshing) {
    this.#grafana = page.grafanaUp === true ? { configured: true, up: true } : null;
    this.#charts = [...root.querySelectorAll("[data-chart]")].map(
      (panel) => new Chart(panel, page, uPlot, sources, isRefreshing),
    );
    for (const chart of this.#charts) chart.show(this.#grafana);
  }

  /** The documents of the charts that are drawn here. */
  get documents() {
    return this.#charts.filter((chart) => chart.needsDocument).map((chart) => chart.document);
  }

  /** Show these documents, or frames while `grafana` (of the status; null: unknown) is up. */
  show(documents, grafana) {
    this.#grafana = grafana ?? this.#grafana;
    for (const chart of this.#charts) chart.show(this.#grafana, documents.get(chart.document));
  }

  /** Redraw after a change of the theme or of the automatic refresh. */
  redraw() {
    for (const chart of this.#charts) chart.redraw();
  }
}

class Chart {
  #panel;
  #page;
  #sources;
  #isRefreshing;
  #frames;
  #range;
  #slot;
  #details;
  #plot = null;
  #grafana = null;
  #shown = null;

  constructor(panel, page, uPlot, sources, isRefreshing) {
    this.#panel = panel;
    this.#page = page;
    this.#sources = sources;
    this.#isRefreshing = isRefreshing;
    this.#frames = page.frames[panel.dataset.chart];
    this.#slot = panel.querySelector("[data-slot]");
    this.#details = panel.querySelector("[data-details]");
    const { height, unit } = panel.dataset;
    if (uPlot) {
      this.#plot = new Plot(uPlot, page.labelStyles, this.#slot, { height: Number(height), unit, hasDays: "days" in panel.dataset });
    }
    this.#slot.style.minHeight = `${height}px`;
    this.#details.addEventListener("toggle", () => this.#details.open && !this.#shown && this.#fetch());
    this.#chooseRange();
  }

  get document() {
    return this.#panel.dataset.document + (this.#range ? `?range=${this.#range}` : "");
  }

  /** Whether it is drawn here, or its data table is open. */
  get needsDocument() {
    return !this.#frame || this.#details.open;
  }

  /** `document`: undefined if it was not requested, an Error without a response. */
  show(grafana, document) {
    this.#grafana = grafana;
    if (document instanceof Error) this.#mark(NO_ANSWER);
    else if (document) this.#take(document);
    this.redraw();
  }

  redraw() {
    if (this.#frame) this.#drawFrame(this.#frame);
    else this.#drawOwn();
    this.#caption();
  }

  /** The URL of Grafana's panel, if it is shown. */
  get #frame() {
    return (this.#grafana?.up === true && this.#frames[this.#range]) || null;
  }

  #take(document) {
    if (!this.#shown || !knowsNothing(document)) this.#shown = document;
    this.#mark(document.status === "ok" ? "" : this.#sources.reason(document.sources));
    this.#compare(document.status === "ok" && document.comparison);
    this.#drawTable();
  }

  #mark(reason) {
    this.#panel.toggleAttribute("data-old", reason !== "");
    mark(this.#panel, { reason, asOf: this.#shown?.as_of ?? null });
  }

  #drawFrame(url) {
    const address = new URL(url, location.href);
    address.searchParams.set("theme", shownTheme());
    if (!this.#isRefreshing()) address.searchParams.delete("refresh");
    const there = this.#slot.querySelector("iframe");
    if (there?.src === address.href) return;
    this.#plot?.clear();
    const frame = document.createElement("iframe");
    frame.title = this.#panel.querySelector("h3").textContent;
    frame.loading = "lazy";
    frame.height = this.#panel.dataset.height;
    frame.src = address.href;
    this.#slot.replaceChildren(frame);
  }

  #drawOwn() {
    if (!this.#shown) this.#say("Loading…");
    else if (!this.#plot) {
      this.#details.open = true;
      this.#slot.replaceChildren();
      this.#slot.style.minHeight = "";
    } else if (this.#isEmpty) this.#say("No data in this range");
    else this.#plot.draw(this.#shown);
  }

  get #isEmpty() {
    return this.#shown.series.every((series) => series.values.every((value) => value === null));
  }

  #say(words) {
    this.#plot?.clear();
    const message = Object.assign(document.createElement("p"), { className: "chart-message", textContent: words });
    message.style.height = `${this.#panel.dataset.height}px`;
    this.#slot.replaceChildren(message);
  }

  #caption() {
    const caption = this.#panel.querySelector("[data-caption]");
    if (this.#frame || !this.#grafana) caption.textContent = "";
    else if (this.#grafana.up === true) caption.textContent = `Grafana has no panel for this range: ${OWN_DATA}`;
    else if (!this.#grafana.configured) caption.textContent = `Grafana is not configured: ${OWN_DATA}`;
    else caption.textContent = `Grafana unavailable: ${OWN_DATA}`;
  }

  #chooseRange() {
    const inputs = [...this.#panel.querySelectorAll("input[type=radio]")];
    const key = `range.${this.#panel.dataset.chart}`;
    const remembered = inputs.find((input) => input.value === recall(key, null));
    if (remembered) remembered.checked = true;
    this.#range = inputs.find((input) => input.checked)?.value ?? "";
    this.#link();
    for (const input of inputs) {
      input.addEventListener("change", () => {
        this.#range = input.value;
        remember(key, input.value);
        this.#link();
        this.#shown = null;
        this.redraw();
        if (this.needsDocument) this.#fetch();
      });
    }
  }

  #link() {
    const link = this.#panel.querySelector("[data-csv]");
    const query = new URLSearchParams({ ...(this.#range && { range: this.#range }), format: "csv" });
    link.href = `${this.#page.base}${this.#panel.dataset.document}?${query}`;
  }

  async #fetch() {
    const asked = this.document;
    const answer = await read(this.#page.base, asked).catch((error) => error);
    if (asked === this.document) this.show(this.#grafana, answer);
  }

  #compare(comparison) {
    const format = this.#panel.dataset.unit;
    const options = { than: comparison ? `in ${comparison.than} (${comparison.counts})` : "", format, lessIsBetter: format === "seconds" };
    writeComparison(this.#panel.querySelector("[data-comparison]"), comparison || {}, options);
  }

  #drawTable() {
    const { series, kind } = this.#shown;
    const names = pointNames(this.#shown, this.#page.labelStyles, "days" in this.#panel.dataset);
    const columns = series.flatMap((one) => [
      [one.label ?? one.name, one.values],
      ...(one.previous ? [["Before", one.previous]] : []),
    ]);
    const head = row("th", [kind === "bar" ? "" : "Time", ...columns.map(([title]) => title)]);
    const rows = names.map((name, index) =>
      row("td", [name, ...columns.map(([, values]) => number(values[index], this.#panel.dataset.unit))]),
    );
    const [top, body] = [document.createElement("thead"), document.createElement("tbody")];
    top.append(head);
    body.append(...(kind === "bar" ? rows : rows.reverse()));
    this.#panel.querySelector("[data-table]").replaceChildren(top, body);
  }
}

function row(name, texts) {
  const element = document.createElement("tr");
  element.append(
    ...texts.map((text, index) => {
      const cell = Object.assign(document.createElement(name), { textContent: text, className: index ? "number" : "" });
      if (name === "th") cell.scope = "col";
      return cell;
    }),
  );
  return element;
}
