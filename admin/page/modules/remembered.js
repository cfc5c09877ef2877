// What this browser remembers: the theme, ranges, and whether the page refreshes itself. Storage may be forbidden or
// full; then a choice lasts as long as the page.

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
    // As said above.
  }
}
