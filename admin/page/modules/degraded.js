// What a card, chart or table says about how far it can be believed: the badge, since when, and why.

import { asOf, writeTime } from "./formats.js";

export const NO_ANSWER = "no answer from HiveSync Analytics";

/** A value of the API: `{value, status, sources, as_of}`. */
export const isValue = (thing) =>
  thing !== null && typeof thing === "object" && "value" in thing && "status" in thing && "as_of" in thing;

/** Whether it was never known, as after the server's start: that takes nothing away that the page knows. */
export const knowsNothing = ({ status, as_of: since }) => status !== "ok" && since === null;

/** Of many values: whether any is degraded, their sources, and the oldest time. */
export function inSum(values) {
  const bad = values.filter((value) => value.status !== "ok");
  const times = (bad.length ? bad : values).map((value) => value.as_of).filter(Boolean);
  return {
    degraded: bad.length > 0,
    sources: [...new Set(bad.flatMap((value) => value.sources))],
    asOf: times.sort()[0] ?? null,
  };
}

/** Show it on a panel. `reason` is empty where all is well; `asOf` is an ISO time, or null when there never was a value. */
export function mark(panel, { reason, asOf: since }) {
  const degraded = reason !== "";
  panel.toggleAttribute("data-degraded", degraded);
  const note = panel.querySelector("[data-note]");
  note.hidden = !degraded;
  if (degraded) {
    const time = document.createElement("time");
    if (since) writeTime(time, since, asOf);
    note.querySelector("[data-why]").replaceChildren(...(since ? ["as of ", time, ", ", reason] : [reason]));
  }

  const meaning = panel.querySelector(".meaning-text");
  const line = meaning.querySelector("[data-as-of]");
  line.hidden = !since;
  if (since) writeTime(line.querySelector("time"), since);
  const why = meaning.querySelector("[data-reason]");
  why.hidden = !degraded;
  why.textContent = degraded ? `Degraded: ${reason}.` : "";
}
