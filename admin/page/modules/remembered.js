// The browser's storage of the theme, the ranges and the automatic refresh. Storage may be forbidden or full; a choice
// then lasts as long as the page.

const PREFIX = "hivesync-analytics.";

export function recall(name, otherwise) {
  try {
    return JSON.parse(localStorage.getItem(PREFIX + name)) ?? otherwise;
  } catch {
    return otherwise;
  }
}

export function remember(name, value) {
  try {
    localStorage.setItem(PREFIX + name, JSON.stringify(value));
  } catch {
    // No storage: see above.
  }
}
