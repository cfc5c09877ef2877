// Comparisons with the span before: absolute and per cent, in words, an arrow and a colour.

import { number } from "./formats.js";

/**
 * Write a comparison into an element, or hide it where the value or the one before is not known.
 * `than`: the span before, in words; `lessIsBetter`: of the colour.
 */
export function writeComparison(element, { value, previous, change }, { than, format, lessIsBetter = false }) {
  const isKnown = typeof value === "number" && typeof previous === "number";
  element.hidden = !isKnown;
  if (!isKnown) return element.replaceChildren();
  const difference = value - previous;
  const arrow = Object.assign(document.createElement("span"), { textContent: difference > 0 ? "▲" : difference < 0 ? "▼" : "=" });
  arrow.setAttribute("aria-hidden", "true");
  element.dataset.judged = difference === 0 ? "same" : difference > 0 === lessIsBetter ? "worse" : "better";
  element.replaceChildren(arrow, ` ${inWords(difference, previous, change, format)}`, ` ${than}`);
}

function inWords(difference, previous, change, format) {
  const before = number(previous, format);
  if (difference === 0) return `the same, ${before},`;
  if (change === null) return `new: ${before}`;
  const direction = difference > 0 ? "up" : "down";
  return `${direction} ${number(Math.abs(difference), format)} (${number(Math.abs(change), "percent")}) from ${before}`;
}
