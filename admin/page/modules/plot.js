// A chart drawn here, with uPlot, from one document of charts/*: lines over time, or bars over categories.

import { axisTime, dayAndTime, dayInUtc, NOTHING, number } from "./formats.js";

const HEIGHT_OF_LEGEND = 28;

/** The current value of a token of tokens.css, for the canvas. */
function token(element, name) {
  const probe = document.createElement("i");
  probe.style.color = `var(${name})`;
  element.append(probe);
  const color = getComputedStyle(probe).color;
  probe.remove();
  return color;
}

/** The title and colour of each series (of bars: of each category), from the label styles of the page. */
function seriesStyles(document, labelStyles) {
  const known = Object.assign({}, ...Object.values(labelStyles));
  const spare = Object.values(labelStyles.queues).map((style) => style.color);
  const names =
    document.kind === "bar"
      ? document.categories.map((name) => ({ name, label: known[name]?.title ?? name }))
      : document.series;
  return names.map(({ name, label }, index) => ({
    title: label ?? known[name]?.title ?? name,
    color: known[name]?.color ?? spare[index % spare.length],
  }));
}

/** The lines of a document: its series, and for each that has it the span before, in the colour `quiet`. */
function lines(document, styles, quiet) {
  return [
    ...document.series.map(({ values }, index) => ({ values, ...styles[index], isBefore: false })),
    ...document.series
      .filter(({ previous }) => previous)
      .map(({ previous }) => ({ values: previous, title: "Before", color: quiet, isBefore: true })),
  ];
}

/** The label of each point of a document. */
export function pointNames(document, labelStyles, hasDays) {
  if (document.kind === "bar") return seriesStyles(document, labelStyles).map((style) => style.title);
  return document.times.map((time) => (hasDays ? dayInUtc : dayAndTime)(new Date(time * 1000)));
}

/** Draws one chart into a slot, repeatedly. */
export class Plot {
  #uPlot;
  #labelStyles;
  #slot;
  #height;
  #unit;
  #hasDays;
  #plot = null;
  #legend = null;
  #document = null;
  #styles = [];
  #drawn = [];
  #watch;

  constructor(uPlot, labelStyles, slot, { height, unit, hasDays }) {
    this.#uPlot = uPlot;
    this.#labelStyles = labelStyles;
    this.#slot = slot;
    this.#height = height;
    this.#unit = unit;
    this.#hasDays = hasDays;
    this.#watch = new ResizeObserver(() => {
      if (this.#plot && slot.clientWidth) this.#plot.setSize(this.#size);
    });
    this.#watch.observe(slot);
  }

  /** Draw a document, in the colours of the current theme. */
  draw(document) {
    this.clear();
    this.#document = document;
    this.#styles = seriesStyles(document, this.#labelStyles);
    this.#drawn = document.kind === "bar" ? [] : lines(document, this.#styles, token(this.#slot, "--text-quiet"));
    this.#legend = this.#buildLegend();
    const place = Object.assign(window.document.createElement("div"), { className: "plot" });
    place.setAttribute("role", "img");
    place.setAttribute("aria-label", this.#inWords());
    const isBar = document.kind === "bar";
    this.#slot.replaceChildren(...(isBar ? [] : [this.#legend]), place);
    const xs = isBar ? document.categories.map((_, index) => index) : document.times;
    const options = isBar ? this.#bars() : this.#lines();
    this.#plot = new this.#uPlot(
      { ...this.#size, legend: { show: false }, ...options },
      [xs, ...(isBar ? document.series : this.#drawn).map((series) => series.values)],
      place,
    );
    this.#say(null);
  }

  /** The drawing and its legend for a file; null without a drawing. */
  get picture() {
    if (!this.#plot) return null;
    const { kind, series } = this.#document;
    const isBar = kind === "bar";
    const entries = this.#styles.map(({ title, color }, index) => {
      const value = isBar ? series[0].values[index] : series[index].values.at(-1);
      return { color, text: `${title} ${number(value ?? null, this.#unit)}` };
    });
    return { canvas: this.#plot.ctx.canvas, entries };
  }

  /** Clear the slot. */
  clear() {
    this.#plot?.destroy();
    this.#plot = null;
    this.#slot.replaceChildren();
  }

  get #size() {
    const legend = this.#document.kind === "bar" ? 0 : HEIGHT_OF_LEGEND;
    return { width: this.#slot.clientWidth || 300, height: this.#height - legend };
  }

  #axes() {
    const font = `12px ${getComputedStyle(document.body).fontFamily}`;
    const stroke = token(this.#slot, "--text-quiet");
    const line = { stroke: token(this.#slot, "--border-subtle"), width: 1 };
    return { font, stroke, grid: line, ticks: { show: false } };
  }

  #timeAxis() {
    const name = this.#hasDays ? dayInUtc : axisTime;
    return {
      ...this.#axes(),
      grid: { show: false },
      space: 70,
      size: 24,
      values: (plot, splits) => splits.map((time) => name(new Date(time * 1000))),
    };
  }

  #valueAxis() {
    return {
      ...this.#axes(),
      size: (plot, labels) => 18 + Math.max(20, ...(labels ?? []).map((label) => label.length * 7)),
      values: (plot, splits) => splits.map((value) => (value === null ? "" : number(value, this.#unit))),
      incrs: this.#unit === "count" ? [1, 2, 5].flatMap((n) => [...Array(10).keys()].map((p) => n * 10 ** p)).sort((a, b) => a - b) : undefined,
    };
  }

  #lines() {
    const points = this.#document.times.length < 40;
    return {
      scales: { y: { range: (plot, low, high) => [0, high > 0 ? high * 1.08 : 1] } },
      axes: [this.#timeAxis(), this.#valueAxis()],
      series: [
        {},
        ...this.#drawn.map(({ title, color, isBefore }) => ({
          label: title,
          stroke: color,
          width: isBefore ? 1.5 : 2,
          dash: isBefore ? [5, 4] : undefined,
          fill: this.#styles.length === 1 && !isBefore ? `${color}1A` : undefined,
          points: { show: points && !isBefore, size: 5, fill: color, width: 0 },
          spanGaps: false,
        })),
      ],
      tzDate: this.#hasDays ? (time) => this.#uPlot.tzDate(new Date(time * 1000), "Etc/UTC") : undefined,
      cursor: { y: false, drag: { x: false, y: false }, points: { size: 8 } },
      hooks: { setCursor: [(plot) => this.#say(plot.cursor.idx ?? null)] },
    };
  }

  #bars() {
    const colors = this.#styles.map((style) => style.color);
    const count = this.#document.categories.length;
    return {
      scales: {
        x: { time: false, range: () => [-0.6, count - 0.4] },
        y: { range: (plot, low, high) => [0, high > 0 ? high * 1.15 : 1] },
      },
      axes: [
        {
          ...this.#axes(),
          grid: { show: false },
          size: 24,
          splits: () => colors.map((_, index) => index),
          values: () => this.#styles.map((style) => style.title),
        },
        this.#valueAxis(),
      ],
      series: [
        {},
        {
          label: this.#document.series[0]?.label,
          paths: this.#uPlot.paths.bars({
            size: [0.6, 90],
            radius: 0.08,
            disp: { fill: { unit: 3, values: () => colors } },
          }),
          points: { show: false },
          width: 0,
          fill: colors[0],
        },
      ],
      cursor: { show: false },
      hooks: { draw: [(plot) => this.#writeOnBars(plot)] },
    };
  }

  #writeOnBars(plot) {
    const { ctx } = plot;
    const ratio = devicePixelRatio;
    ctx.save();
    ctx.fillStyle = token(this.#slot, "--text-primary");
    ctx.font = `600 ${13 * ratio}px ${getComputedStyle(document.body).fontFamily}`;
    ctx.textAlign = "center";
    plot.data[1].forEach((value, index) => {
      if (value === null) return;
      ctx.fillText(number(value), plot.valToPos(index, "x", true), plot.valToPos(value, "y", true) - 6 * ratio);
    });
    ctx.restore();
  }

  #buildLegend() {
    const list = Object.assign(document.createElement("ul"), { className: "legend" });
    list.setAttribute("aria-hidden", "true"); // the label of the picture and the data table have the same values
    for (const { title, color } of this.#drawn) {
      const item = document.createElement("li");
      const swatch = Object.assign(document.createElement("span"), { className: "swatch" });
      swatch.style.backgroundColor = color;
      item.append(swatch, `${title} `, document.createElement("b"));
      list.append(item);
    }
    list.append(document.createElement("li"));
    return list;
  }

  /** Show the values at a point (default: the last) in the legend. */
  #say(index) {
    const { kind, times } = this.#document;
    if (kind === "bar") return;
    const at = index ?? times.length - 1;
    this.#legend.querySelectorAll("b").forEach((element, which) => {
      element.textContent = number(this.#drawn[which].values[at], this.#unit);
    });
    this.#legend.lastElementChild.textContent = pointNames(this.#document, this.#labelStyles, this.#hasDays)[at] ?? "";
  }

  #inWords() {
    const { kind, title, series } = this.#document;
    const names = pointNames(this.#document, this.#labelStyles, this.#hasDays);
    if (kind === "bar") {
      const values = names.map((name, index) => `${name} ${number(series[0].values[index], this.#unit)}`);
      return `Bar chart, ${title}: ${values.join(", ")}`;
    }
    const last = this.#styles.map(
      (style, index) => `${style.title} ${number(series[index].values.at(-1) ?? null, this.#unit)}`,
    );
    return `Line chart, ${title}. Last point, ${names.at(-1) ?? NOTHING}: ${last.join(", ")}`;
  }
}
