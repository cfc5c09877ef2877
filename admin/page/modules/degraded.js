// The state of a card, chart or table: degraded, with a badge, the time and the reason; or a quiet line about values
// that do not exist, as this HiveSync does not have their input.

import { asOf, writeTime } from "./formats.js";

export const NO_ANSWER = "no answer from HiveSync Analytics";

/** A value of the API: `{value, status, sources, as_of}`. */
export const isValue = (item) =>
  item !== null && typeof item === "object" && "value" in item && "status" in item && "as_of" in item;

/** Whether the value was never read, as after the server's start; the page then keeps its last value. */
export const knowsNothing = ({ status, as_of: since }) => status === "degraded" && since === null;

/** Whether the value does not exist in this HiveSync. */
export const isNotProvided = (value) => value?.status === "not_provided";

/** Show the names of the values that do not exist; nothing if there are none. */
export function markNotProvided(panel, names) {
  const line = panel.querySelector("[data-not-provided]");
  line.hidden = names.length === 0;
  line.textContent = names.length ? `${names.join(", ")}: not recorded by this HiveSync` : "";
}

/** The state of many values: whether any is degraded, their sources, and the oldest time. */
export function inSum(values) {
  const given = values.filter((value) => !isNotProvided(value));
  const bad = given.filter((value) => value.status !== "ok");
  const times = (bad.length ? bad : given).map((value) => value.as_of).filter(Boolean);
  return {
    degraded: bad.length > 0,
    sources: [...new Set(bad.flatMap((value) => value.sources))],
    asOf: times.sort()[0] ?? null,
  };
}

/** Show the state on a panel. `reason`: empty if not degraded; `asOf`: ISO time, or null without a value. */
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
