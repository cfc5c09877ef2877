// The formats of numbers and times, in the viewer's language and time zone, by the browser's Intl.

export const NOTHING = "–";

const count = new Intl.NumberFormat(undefined, { maximumFractionDigits: 0 });
const ratio = new Intl.NumberFormat(undefined, { maximumFractionDigits: 2 });
const percent = new Intl.NumberFormat(undefined, { style: "percent", maximumFractionDigits: 0 });
const smallPercent = new Intl.NumberFormat(undefined, { style: "percent", maximumFractionDigits: 1 });
const dollars = new Intl.NumberFormat(undefined, { style: "currency", currency: "USD" });
const oneDigit = new Intl.NumberFormat(undefined, { maximumFractionDigits: 1 });

/** A duration in the unit that suits it; the units' symbols are the same in every language. */
function seconds(value) {
  const [size, symbol] =
    value > 0 && value < 1 ? [0.001, "ms"] : value < 120 ? [1, "s"] : value < 7200 ? [60, "min"] : [3600, "h"];
  return `${(symbol === "ms" ? count : oneDigit).format(value / size)}\u00a0${symbol}`;
}

/** A duration in round numbers: "less than a minute", "12 min", "3.5 h". */
function about(value) {
  if (value < 60) return "less than a minute";
  return value < 7200 ? `${count.format(value / 60)}\u00a0min` : `${oneDigit.format(value / 3600)}\u00a0h`;
}

const FORMATS = {
  count: (value) => count.format(value),
  ratio: (value) => ratio.format(value),
  percent: (value) => (value < 0.1 ? smallPercent : percent).format(value),
  dollars: (value) => dollars.format(value),
  seconds,
  about,
};

/** A number in one of the formats of cards.py; `empty` for null. */
export function number(value, format = "count", empty = "") {
  return typeof value === "number" ? FORMATS[format](value) : empty || NOTHING;
}

const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
const clockSeconds = new Intl.DateTimeFormat(undefined, {
  hour: "2-digit",
  minute: "2-digit",
  second: "2-digit",
  hourCycle: "h23",
});
const day = new Intl.DateTimeFormat(undefined, { month: "short", day: "numeric" });
const dayOfYear = new Intl.DateTimeFormat(undefined, { year: "numeric", month: "short", day: "numeric" });
const utcDay = new Intl.DateTimeFormat(undefined, { month: "short", day: "numeric", timeZone: "UTC" });

/** HH:MM, or with seconds, of a Date. */
const timeOfDay = (date) => clock.format(date);
export const timeOfDaySeconds = (date) => clockSeconds.format(date);
/** Day and time of a Date; the year only if it is not the current one. */
export function dayAndTime(date) {
  const year = date.getFullYear() === new Date().getFullYear() ? day : dayOfYear;
  return `${year.format(date)}, ${clock.format(date)}`;
}
/** The label of a time axis: the day at midnight, otherwise the time. */
export function axisTime(date) {
  return date.getHours() || date.getMinutes() ? clock.format(date) : day.format(date);
}
/** The UTC day of a Date. */
export const dayInUtc = (date) => utcDay.format(date);
/** "14:05" for today, otherwise with the day. */
export function asOf(date, now = new Date()) {
  return date.toDateString() === now.toDateString() ? timeOfDay(date) : dayAndTime(date);
}

/** Write a time into a <time> in the viewer's time zone, with UTC as its tooltip. */
export function writeTime(element, iso, write = dayAndTime) {
  const date = new Date(iso);
  element.dateTime = iso;
  element.title = `${date.toISOString().slice(0, 19).replace("T", " ")} UTC`;
  element.textContent = write(date);
}
