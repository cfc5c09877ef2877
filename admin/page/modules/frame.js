// The inside of a frame with one of Grafana's panels, which is on the page's own origin.

/** Let the card's background show through: a panel without a background of its own stands on that of Grafana's page,
    and a page of another colour scheme than the frame on an opaque one. */
export function clearBackground(frame) {
  const page = frame.contentDocument;
  if (!page) return;
  page.documentElement.style.setProperty("color-scheme", getComputedStyle(frame).colorScheme);
  for (const element of [page.documentElement, page.body]) {
    element.style.setProperty("background", "transparent", "important");
  }
}
