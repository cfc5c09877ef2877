// The charts: Grafana's panels in frames if Grafana responds, otherwise drawn here.

import { NotAllowed, read } from "./api.js";
import { writeComparison } from "./comparisons.js";
import { knowsNothing, mark, NO_ANSWER } from "./degraded.js";
import { number } from "./formats.js";
import { Frame } from "./frame.js";
import { Plot, pointNames } from "./plot.js";
import { savePng } from "./png.js";
import { recall, remember } from "./remembered.js";

const OWN_DATA = "drawn from HiveSync's own data";
const ENDED = "The session has ended";

export class Charts {
  #charts;
  #grafana;

  /** `page`: the page's data; `uPlot`: null if it is not installed; `refused(status)` follows the end of the session. */
  constructor(root, page, uPlot, sources, { isRefreshing, refused }) {
    this.#grafana = page.grafanaUp === true ? { configured: true, up: true } : null;
    this.#charts = [...root.querySelectorAll("[data-chart]")].map(
      (panel) => new Chart(panel, page, uPlot, sources, { isRefreshing, refused }),
    );
    for (const chart of this.#charts) chart.begin(this.#grafana);
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

  /** Load the frames again that are there now and still there after `refreshed`, a promise. */
  async reloadFrames(refreshed) {
    const before = this.#charts.map((chart) => [chart, chart.framed]);
    await refreshed;
    for (const [chart, url] of before) if (url !== null && chart.framed === url) chart.reloadFrame();
  }

  /** The session has ended: no frame remains, and nothing is requested any more. */
  end() {
    for (const chart of this.#charts) chart.end();
  }
}

class Chart {
  #panel;
  #page;
  #sources;
  #isRefreshing;
  #refused;
  #frames;
  #frame;
  #range;
  #slot;
  #details;
  #plot = null;
  #grafana = null;
  #shown = null;
  #failed = false;
  #isTurning = false; // from a frame to its own drawing, whose document is on its way
  #ended = false;

  constructor(panel, page, uPlot, sources, { isRefreshing, refused }) {
    this.#panel = panel;
    this.#page = page;
    this.#sources = sources;
    this.#isRefreshing = isRefreshing;
    this.#refused = refused;
    this.#frames = page.frames[panel.dataset.chart];
    this.#slot = panel.querySelector("[data-slot]");
    this.#details = panel.querySelector("[data-details]");
    const { height, unit } = panel.dataset;
    this.#frame = new Frame(this.#slot, { title: panel.querySelector("h3").textContent, height });
    if (uPlot) {
      this.#plot = new Plot(uPlot, page.labelStyles, this.#slot, { height: Number(height), unit, hasDays: "days" in panel.dataset });
    }
    this.#slot.style.minHeight = `${height}px`;
    this.#details.addEventListener("toggle", () => this.#details.open && !this.#shown && this.#fetch());
    this.#panel.querySelector("[data-png]").addEventListener("click", () => this.#save());
    this.#chooseRange();
  }

  get document() {
    return this.#panel.dataset.document + (this.#range ? `?range=${this.#range}` : "");
  }

  /** Whether it is drawn here, or its data table is open. */
  get needsDocument() {
    return !this.framed || this.#details.open;
  }

  /** The URL of Grafana's panel if it is to be shown, else null. */
  get framed() {
    return (!this.#ended && this.#grafana?.up === true && this.#frames[this.#range]) || null;
  }

  /** Draw before the first document. */
  begin(grafana) {
    this.#grafana = grafana;
    this.redraw();
  }

  /** `document`: undefined if it was not requested, an Error without a response. */
  show(grafana, document) {
    this.#grafana = grafana;
    this.#failed = document instanceof Error;
    if (this.#failed) this.#mark(NO_ANSWER);
    else if (document) this.#take(document);
    this.#isTurning = document === undefined && !this.framed && this.#frame.isThere;
    this.redraw();
    if (document === undefined && this.needsDocument) this.#fetch();
  }

  redraw() {
    if (this.framed) this.#drawFrame();
    else if (!this.#isTurning) this.#drawOwn();
    this.#panel.querySelector("[data-png]").hidden = this.framed !== null || !this.#plot?.picture;
    this.#caption();
  }

  reloadFrame() {
    this.#frame.reload();
  }

  end() {
    this.#ended = true;
    this.#isTurning = false;
    for (const input of this.#panel.querySelectorAll("input")) input.disabled = true;
    this.redraw();
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

  #drawFrame() {
    this.#frame.show(this.framed, { refreshes: this.#isRefreshing(), clear: () => this.#plot?.clear() });
  }

  #drawOwn() {
    if (!this.#shown) this.#say(this.#ended ? `${ENDED}: no chart` : this.#failed ? "No answer yet" : "Loading…");
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

  #save() {
    const picture = this.#plot?.picture;
    if (!picture) return;
    const name = ["hivesync", this.#panel.dataset.chart, this.#range].filter(Boolean).join("-");
    savePng(picture.canvas, { name, title: this.#panel.querySelector("h3").textContent, entries: picture.entries });
  }

  #caption() {
    const caption = this.#panel.querySelector("[data-caption]");
    if (this.#ended && this.#shown) caption.textContent = `${ENDED}: this is the last drawing`;
    else if (this.#ended || this.framed || !this.#grafana) caption.textContent = "";
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
    if (this.#ended) return;
    const asked = this.document;
    const answer = await read(this.#page.base, asked).catch((error) => error);
    if (answer instanceof NotAllowed) this.#refused(answer.status);
    else if (asked === this.document && !this.#ended) this.show(this.#grafana, answer);
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
