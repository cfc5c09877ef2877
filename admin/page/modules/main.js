// The entry point of the Analytics page: requests all documents at every tick of the clock, and shows them.

import "./kept-page.js";
import { Announcer } from "./announcer.js";
import { NotAllowed, readAll } from "./api.js";
import { Attention } from "./attention.js";
import { Cards } from "./cards.js";
import { Charts } from "./charts.js";
import { Clock } from "./clock.js";
import { mindDefinitions } from "./definitions.js";
import { timeOfDaySeconds } from "./formats.js";
import { GrafanaLinks } from "./grafana-links.js";
import { recall, remember } from "./remembered.js";
import { Sources } from "./sources.js";
import { Tables } from "./tables.js";
import { chooseTheme } from "./theme.js";

const page = JSON.parse(document.getElementById("page-data").textContent);
const uPlot = page.hasUplot ? (await import("../uplot/uPlot.esm.js")).default : null;
const autoRefresh = document.getElementById("auto-refresh");
const notice = document.getElementById("notice");

const clock = new Clock(refresh, {
  seconds: page.refreshSeconds,
  longest: page.longestPauseSeconds,
  on: recall("auto-refresh", true) === true,
});
const announcer = new Announcer(document.getElementById("announced"));
const attention = new Attention(document.getElementById("attention"), page, { announcer, refused: end });
const sources = new Sources(page.sources);
const cards = new Cards(document, sources);
const tables = new Tables(document, page, sources);
const charts = new Charts(document, page, uPlot, sources, { isRefreshing: () => clock.on, refused: end });
const grafanaLinks = new GrafanaLinks(document, page);

/** Request all documents and show them. The result for the clock: "ok", "troubled" or "ended". */
async function refresh() {
  document.documentElement.dataset.refreshing = "";
  try {
    return await readAndShow();
  } finally {
    delete document.documentElement.dataset.refreshing;
  }
}

async function readAndShow() {
  let documents;
  try {
    documents = await readAll(page.base, [
      "status",
      attention.document,
      ...new Set([...cards.documents, ...tables.documents, ...charts.documents]),
    ]);
  } catch (error) {
    if (!(error instanceof NotAllowed)) throw error;
    end(error.status);
    return "ended";
  }
  const status = documents.get("status");
  const known = !(status instanceof Error);
  sources.status = known ? status : null;
  attention.show(documents.get(attention.document));
  cards.show(documents);
  tables.show(documents);
  charts.show(documents, known ? status.grafana : null);
  if (known) grafanaLinks.show(status.grafana.up === true);

  const failed = [...documents.values()].filter((document) => document instanceof Error).length;
  if (failed === documents.size) {
    say("error", "HiveSync Analytics does not answer. The last values are shown; the page keeps trying.");
    return "troubled";
  }
  say("", "");
  document.getElementById("updated").textContent = `Updated ${timeOfDaySeconds(new Date())}`;
  return failed || !known || status.degraded ? "troubled" : "ok";
}

/** Show a notice at the top, and announce it once; none if `kind` is empty. */
function say(kind, ...parts) {
  notice.dataset.kind = kind;
  notice.hidden = kind === "";
  notice.replaceChildren(...parts);
  announcer.state("notice", notice.textContent);
}

/** The session has ended (401), or the user is no admin any more (403): for good. */
function end(status) {
  clock.stop();
  attention.end();
  charts.end();
  grafanaLinks.show(false);
  if (!page.hasLogin) {
    document.documentElement.dataset.ended = "";
    say("error", "HiveSync no longer allows you to see these numbers; these are the last values.");
    return;
  }
  const link = Object.assign(document.createElement("a"), { href: `${page.base}login`, textContent: "Log in again" });
  document.documentElement.dataset.ended = "";
  if (status === 401) say("error", "Your session has ended; these are the last values. ", link, ".");
  else say("error", "You have no access to these numbers. ", link, " as an administrator.");
}

function showSwitch() {
  autoRefresh.setAttribute("aria-checked", String(clock.on));
}

autoRefresh.addEventListener("click", () => {
  clock.on = !clock.on;
  remember("auto-refresh", clock.on);
  showSwitch();
  charts.redraw();
});
document.getElementById("refresh-now").addEventListener("click", async () => {
  await charts.reloadFrames(clock.refresh());
  if (notice.hidden) announcer.say(document.getElementById("updated").textContent);
});
showSwitch();
chooseTheme(document.getElementById("theme"), () => {
  charts.redraw();
  grafanaLinks.redraw();
});
mindDefinitions(document);
await clock.start();
