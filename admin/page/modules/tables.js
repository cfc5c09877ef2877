// The tables: rows of the API under the heads of the page, sortable by each column.

import { inSum, isNotProvided, isValue, knowsNothing, mark, markNotProvided, NO_ANSWER } from "./degraded.js";
import { NOTHING, number, writeTime } from "./formats.js";
import { Selection } from "./selection.js";

const collator = new Intl.Collator(undefined, { numeric: true, sensitivity: "base" });

export class Tables {
  #tables;

  constructor(root, page, sources) {
    this.#tables = [...root.querySelectorAll(".table-panel")].map((panel) => new Table(panel, page, sources));
  }

  /** The documents of all tables. */
  get documents() {
    return [...new Set(this.#tables.map((table) => table.document))];
  }

  /** Show these documents; an Error leaves the last rows, in grey. */
  show(documents) {
    const inputs = documents.get("status")?.inputs ?? [];
    const lacking = new Set(inputs.filter((one) => !one.provided).map((one) => one.input));
    for (const table of this.#tables) table.show(documents.get(table.document), lacking);
  }
}

class Table {
  #panel;
  #page;
  #sources;
  #columns;
  #selection;
  #rows = [];
  #known = false;
  #asOf = null;
  #sorted = null;
  #lacking = new Set();

  constructor(panel, page, sources) {
    this.#panel = panel;
    this.#page = page;
    this.#selection = new Selection(panel, () => this.#draw());
    this.#sources = sources;
    this.#columns = [...panel.querySelectorAll("thead th")].map((head) => ({
      head,
      name: head.dataset.name,
      type: head.dataset.type,
      styles: page.labelStyles[head.dataset.styles] ?? {},
      isCode: "code" in head.dataset,
      hasDot: "dot" in head.dataset,
      when: head.dataset.when,
      runbooks: "runbooks" in head.dataset ? page.incidentRunbooks : {},
    }));
    for (const column of this.#columns) {
      column.head.querySelector("button").addEventListener("click", () => this.#sortBy(column));
    }
  }

  get document() {
    return this.#panel.dataset.document;
  }

  /** `lacking`: the inputs that are not provided. */
  show(document, lacking) {
    const rows = document?.[this.#panel.dataset.rows];
    if (!Array.isArray(rows)) {
      this.#panel.dataset.old = "";
      mark(this.#panel, { reason: NO_ANSWER, asOf: this.#asOf });
      return;
    }
    const whole = "status" in document ? [document] : [];
    if (this.#asOf && whole.some(knowsNothing)) {
      this.#panel.dataset.old = "";
      mark(this.#panel, { reason: this.#sources.reason(document.sources), asOf: this.#asOf });
      return;
    }
    const state = inSum([...whole, ...rows.flatMap((row) => Object.values(row).filter(isValue))]);
    const given = rows.filter((row) => !Object.values(row).some(isNotProvided));
    this.#showNotProvided(document, rows.filter((row) => !given.includes(row)), lacking);
    this.#rows = given.map((row) =>
      Object.fromEntries(Object.entries(row).map(([name, cell]) => [name, isValue(cell) ? cell.value : cell])),
    );
    this.#known = true;
    this.#asOf = state.asOf;
    this.#panel.toggleAttribute("data-old", state.degraded);
    mark(this.#panel, { reason: state.degraded ? this.#sources.reason(state.sources) : "", asOf: state.asOf });
    this.#draw();
  }

  /** Hide the columns without values, and the whole table without rows, and name below what does not exist. */
  #showNotProvided(document, rows, lacking) {
    const isMissing = lacking.has(this.#panel.dataset.input);
    const columns = new Set((document.columns ?? []).filter(isNotProvided).map((one) => one.name));
    this.#lacking = columns;
    this.#panel.toggleAttribute("data-not-there", isMissing);
    const names = this.#columns.filter(({ name }) => columns.has(name)).map(({ head }) => head.textContent.trim());
    const named = this.#columns.find((column) => Object.keys(column.styles).length > 0);
    const ofRows = rows.map((row) => this.#text(named, row[named.name]));
    markNotProvided(this.#panel, isMissing ? [this.#title] : [...names, ...ofRows]);
  }

  get #title() {
    return this.#panel.querySelector("h3").textContent;
  }

  get #shown() {
    return this.#columns.filter(({ head }) => !head.hidden);
  }

  #sortBy(column) {
    const first = column.type === "text" ? "ascending" : "descending";
    const other = first === "ascending" ? "descending" : "ascending";
    const direction = this.#sorted?.column === column && this.#sorted.direction === first ? other : first;
    this.#sorted = { column, direction };
    for (const { head } of this.#columns) {
      if (head === column.head) head.setAttribute("aria-sort", direction);
      else head.removeAttribute("aria-sort");
    }
    this.#draw();
  }

  #inOrder(rows) {
    if (!this.#sorted) return rows;
    const { column, direction } = this.#sorted;
    const sign = direction === "ascending" ? 1 : -1;
    const key = (row) => (column.type === "text" ? this.#text(column, row[column.name]) : row[column.name]);
    const compare = (a, b) => (typeof a === "number" ? a - b : collator.compare(a, b));
    return rows.toSorted((one, other) => {
      const [a, b] = [key(one), key(other)];
      if (a == null || b == null) return (a == null) - (b == null); // nulls are last in both directions
      return sign * compare(a, b);
    });
  }

  #draw() {
    const body = this.#panel.querySelector("tbody");
    for (const { head, name, when } of this.#columns) head.hidden = this.#lacking.has(name) || this.#selection.hides(when);
    if (!this.#known) return;
    const rows = this.#selection.of(this.#rows, this.#asOf);
    if (rows.length === 0) {
      const cell = Object.assign(document.createElement("td"), {
        colSpan: this.#shown.length,
        textContent: this.#rows.length ? "None of this kind and range" : "old" in this.#panel.dataset ? NOTHING : this.#panel.dataset.empty,
      });
      const row = Object.assign(document.createElement("tr"), { className: "table-empty" });
      row.append(cell);
      body.replaceChildren(row);
      return;
    }
    body.replaceChildren(
      ...this.#inOrder(rows).map((values) => {
        const row = document.createElement("tr");
        row.append(...this.#shown.map((column) => this.#cell(column, values[column.name])));
        return row;
      }),
    );
  }

  #text(column, value) {
    if (value == null || value === "") return null;
    return column.styles[String(value)]?.title ?? String(value);
  }

  /** The text, as a link if its value has a runbook. */
  #linked(column, value) {
    const text = this.#text(column, value);
    const runbook = column.runbooks[value];
    const href = `${this.#page.base}runbooks/${runbook}`;
    return runbook ? Object.assign(document.createElement("a"), { href, textContent: text }) : text;
  }

  #cell(column, value) {
    const cell = document.createElement("td");
    cell.className = column.isCode ? "code" : column.type;
    if (value == null || value === "") {
      cell.textContent = NOTHING;
    } else if (column.type === "number") {
      cell.textContent = number(value);
    } else if (column.type === "time") {
      const time = document.createElement("time");
      writeTime(time, value);
      cell.append(time);
    } else {
      const color = column.hasDot && column.styles[String(value)]?.color;
      if (color) {
        const dot = Object.assign(document.createElement("span"), { className: "dot" });
        dot.style.backgroundColor = color;
        cell.append(dot);
      }
      cell.append(this.#linked(column, value));
      cell.title = cell.textContent; // the cell may be too narrow for it
    }
    return cell;
  }
}
