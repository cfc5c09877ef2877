// The rows of a table as chosen above it: of one kind, of the last hours or days, and equal ones as one row.

import { recall, remember } from "./remembered.js";

const HOURS = { "24h": 24, "7d": 168 };

export class Selection {
  #inputs;
  #equal;

  /** `changed()` follows each choice; a panel without controls keeps all rows. */
  constructor(panel, changed) {
    this.#equal = panel.dataset.equal?.split(" ") ?? [];
    this.#inputs = [...panel.querySelectorAll("[data-choice]")];
    for (const input of this.#inputs) {
      const key = `${panel.id}.${input.dataset.choice}`;
      this.#restore(input, recall(key, null));
      input.addEventListener("change", () => {
        remember(key, input.type === "checkbox" ? input.checked : input.value);
        changed();
      });
    }
  }

  /** The chosen rows; `asOf`: the time of the rows, an ISO time or null. */
  of(rows, asOf) {
    if (this.#inputs.length === 0) return rows;
    const since = (asOf ? Date.parse(asOf) : Date.now()) - HOURS[this.#chosen("range")] * 3_600_000;
    const kind = this.#chosen("kind");
    const chosen = rows.filter((row) => (kind === "" || row.kind === kind) && Date.parse(row.time) > since);
    return this.#chosen("group") ? this.#grouped(chosen) : chosen.map((row) => ({ ...row, count: 1, first: row.time }));
  }

  /** Whether a column is hidden that is shown only of grouped rows ("grouped") or of single ones ("single"). */
  hides(when) {
    if (!when || this.#inputs.length === 0) return false;
    return (when === "grouped") !== this.#chosen("group");
  }

  #restore(input, value) {
    if (input.type === "checkbox") input.checked = value ?? input.checked;
    else if (input.type === "radio") input.checked = value === null ? input.checked : input.value === value;
    else if ([...input.options].some((option) => option.value === value)) input.value = value;
  }

  #chosen(choice) {
    const inputs = this.#inputs.filter((input) => input.dataset.choice === choice);
    if (inputs[0].type === "checkbox") return inputs[0].checked;
    return (inputs.length === 1 ? inputs[0] : (inputs.find((input) => input.checked) ?? inputs[0])).value;
  }

  /** One row for equal ones: the latest, with their number and the time of the first. */
  #grouped(rows) {
    const groups = new Map();
    for (const row of rows) {
      const key = JSON.stringify(this.#equal.map((name) => row[name]));
      const group = groups.get(key);
      if (!group) groups.set(key, { ...row, count: 1, first: row.time });
      else {
        const latest = Date.parse(row.time) > Date.parse(group.time) ? row : group;
        const first = Date.parse(row.time) < Date.parse(group.first) ? row.time : group.first;
        groups.set(key, { ...latest, count: group.count + 1, first });
      }
    }
    return [...groups.values()];
  }
}
