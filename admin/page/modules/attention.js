// What needs attention, at the top of the page, with its runbook; one quiet line if there is nothing.

import { NotAllowed, readText } from "./api.js";
import { asOf, number, writeTime } from "./formats.js";

const FORMATS = { cost: "dollars", queue: "about" };
const SEVERITIES = { critical: "Critical", warning: "Warning" };
const UNKNOWN = {
  unknown: "Prometheus does not answer, so alerts are not known",
  not_configured: "alerts are not read, as no Prometheus is configured",
};

export class Attention {
  #page;
  #announcer;
  #refused;
  #title;
  #list;
  #quiet;
  #queues;
  #items = new Map();
  #pageTitle = document.title;

  document = "attention";

  constructor(root, page, { announcer, refused }) {
    this.#page = page;
    this.#announcer = announcer;
    this.#refused = refused;
    this.#title = root.querySelector("h2");
    this.#list = root.querySelector("[data-findings]");
    this.#quiet = root.querySelector("[data-quiet]");
    this.#queues = page.labelStyles.queues;
  }

  /** Show this document; an Error leaves the last findings, and says so. */
  show(document) {
    if (document instanceof Error) {
      this.#quiet.textContent = "Whether more needs attention is not known: no answer from HiveSync Analytics";
      return;
    }
    const { findings, left_out: leftOut } = document;
    const items = new Map(findings.map((finding) => [keyOf(finding), finding]));
    for (const [key, item] of this.#items) if (!items.has(key)) item.element.remove();
    this.#items = new Map([...items].map(([key, finding]) => [key, this.#items.get(key) ?? this.#make(finding)]));
    for (const [key, finding] of items) this.#write(this.#items.get(key), finding, document.drains);
    const elements = [...this.#items.values()].map((item) => item.element);
    if (elements.some((element, index) => element !== this.#list.children[index])) this.#list.replaceChildren(...elements);

    const count = findings.length + leftOut;
    this.#title.hidden = count === 0;
    window.document.title = count ? `(${count}) ${this.#pageTitle}` : this.#pageTitle;
    this.#quiet.textContent = this.#inOneLine(document, count);
    const words = findings.map((finding) => finding.title).join("; ");
    this.#announcer.state("attention", count ? `Needs attention: ${words}` : "Nothing needs attention any more", {
      first: count ? `Needs attention: ${words}` : "",
    });
  }

  /** The session has ended: the findings are no longer known. */
  end() {
    window.document.title = this.#pageTitle;
    this.#quiet.textContent = "";
  }

  #inOneLine({ ready, alerts, findings, drains, left_out: leftOut }, count) {
    const parts = [];
    if (count === 0 && !ready) parts.push("Starting: not everything has been read yet");
    else if (count === 0) parts.push("All is well");
    if (leftOut) parts.push(`${number(leftOut)} more`);
    if (UNKNOWN[alerts]) parts.push(count === 0 && ready ? `${parts.pop()} by HiveSync's own data; ${UNKNOWN[alerts]}` : UNKNOWN[alerts]);
    const said = new Set(findings.map((finding) => finding.about));
    for (const { queue, seconds } of drains.filter((drain) => !said.has(drain.queue))) parts.push(`${this.#queues[queue]?.title ?? queue} queue: ${emptyIn(seconds)}`);
    return parts.map((part) => `${part[0].toUpperCase()}${part.slice(1)}.`).join(" ");
  }

  #make({ runbook }) {
    const element = document.createElement("li");
    element.className = "finding";
    const head = Object.assign(document.createElement("p"), { className: "finding-head" });
    const detail = Object.assign(document.createElement("p"), { className: "finding-detail" });
    element.append(head, detail);
    if (runbook) element.append(this.#runbook(runbook));
    return { element, head, detail };
  }

  #write({ element, head, detail }, finding, drains) {
    element.dataset.severity = finding.severity;
    const badge = Object.assign(document.createElement("span"), {
      className: "badge",
      textContent: SEVERITIES[finding.severity],
    });
    const title = Object.assign(document.createElement("b"), { textContent: finding.title });
    head.replaceChildren(badge, " ", title);
    if (finding.since) {
      const time = document.createElement("time");
      writeTime(time, finding.since, asOf);
      head.append(finding.kind === "alert" ? ", since " : ", last read ", time);
    }
    const drain = drains.find((one) => finding.kind === "alert" && one.queue === finding.about);
    detail.textContent = [valueOf(finding), finding.detail, drain && `${sentence(emptyIn(drain.seconds))}.`]
      .filter(Boolean)
      .join(" ");
  }

  #runbook(name) {
    const details = document.createElement("details");
    const summary = Object.assign(document.createElement("summary"), { textContent: "What to do" });
    summary.append(Object.assign(document.createElement("span"), { className: "unseen", textContent: ` (${name})` }));
    const place = Object.assign(document.createElement("div"), { className: "runbook" });
    details.append(summary, place);
    details.addEventListener("toggle", () => details.open && !place.firstChild && this.#fill(place, name));
    return details;
  }

  async #fill(place, name) {
    const base = `${this.#page.base}runbooks/`;
    try {
      const text = await readText(this.#page.base, `runbooks/${name}`);
      const content = new DOMParser().parseFromString(text, "text/html").querySelector("[data-runbook]");
      for (const link of content.querySelectorAll("a")) link.href = base + link.getAttribute("href");
      place.replaceChildren(...content.childNodes);
    } catch (error) {
      if (error instanceof NotAllowed) this.#refused(error.status);
      const link = Object.assign(document.createElement("a"), { href: base + name, textContent: name });
      place.replaceChildren("The runbook could not be loaded: ", link);
    }
  }
}

/** The same thing at two refreshes has the same key. */
const keyOf = ({ kind, name, about, detail }) => [kind, name, about, kind === "alert" ? detail : ""].join("/");

const emptyIn = (seconds) => (seconds < 60 ? "empty in less than a minute" : `empty in about ${number(seconds, "about")}`);

const sentence = (words) => words[0].toUpperCase() + words.slice(1);

function valueOf({ kind, amount, limit }) {
  if (amount === null) return "";
  const [shown, most] = [amount, limit].map((one) => number(one, FORMATS[kind]));
  return kind === "queue" ? `${sentence(emptyIn(amount))}; the limit is ${most}.` : `${shown}; the limit is ${most}.`;
}
