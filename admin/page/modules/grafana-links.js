// The links into Grafana: its dashboards, and the panel of each chart at the chart's range; hidden while it is not up.

import { shownTheme } from "./theme.js";

export class GrafanaLinks {
  #links;
  #page;
  #up;

  constructor(root, page) {
    this.#page = page;
    this.#links = [...root.querySelectorAll("[data-grafana-link]")];
    this.#up = page.grafanaUp === true;
    for (const input of root.querySelectorAll("[data-chart] input[type=radio]")) {
      input.addEventListener("change", () => this.#draw());
    }
    this.#draw();
  }

  /** `up`: whether Grafana responds. */
  show(up) {
    this.#up = up;
    this.#draw();
  }

  /** Redraw after a change of the theme. */
  redraw() {
    this.#draw();
  }

  #draw() {
    for (const link of this.#links) {
      const chart = link.closest("[data-chart]");
      const url = chart ? this.#urlOf(chart) : link.dataset.grafanaLink;
      (link.closest("li") ?? link).hidden = !this.#up || !url;
      if (url) link.href = `${url}&theme=${shownTheme()}`;
    }
  }

  #urlOf(chart) {
    const range = chart.querySelector("input[type=radio]:checked")?.value ?? "";
    return this.#page.panels[chart.dataset.chart][range];
  }
}
