// The theme: the system's, or one that is chosen and remembered. tokens.css does the rest.

import { recall, remember } from "./remembered.js";

const system = matchMedia("(prefers-color-scheme: dark)");

/** "light" or "dark": what is shown now. */
export function shownTheme() {
  return document.documentElement.dataset.theme ?? (system.matches ? "dark" : "light");
}

/** Make the radio buttons choose it; `changed()` after each change. */
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
