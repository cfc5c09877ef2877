// The theme: the system's, or a chosen and remembered theme. tokens.css has the colours.

import { recall, remember } from "./remembered.js";

const system = matchMedia("(prefers-color-scheme: dark)");

/** The current theme: "light" or "dark". */
export function shownTheme() {
  return document.documentElement.dataset.theme ?? (system.matches ? "dark" : "light");
}

/** Bind the radio buttons to the theme; `changed()` follows each change. */
export function chooseTheme(fieldset, changed) {
  const chosen = recall("theme", "system");
  for (const input of fieldset.querySelectorAll("input")) {
    input.checked = input.value === chosen;
    input.addEventListener("change", () => {
      remember("theme", input.value);
      if (input.value === "system") delete document.documentElement.dataset.theme;
      else document.documentElement.dataset.theme = input.value;
      changed();
    });
  }
  system.addEventListener("change", changed);
}
