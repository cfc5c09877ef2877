// The API's documents as JSON. They are kept in this page's memory alone, never in the browser's cache, where they would
// outlive a logout; with their ETags, so that a refresh of unchanged documents sends no bodies (304).

/** The session has ended, or the user is no admin: a retry is of no use. */
export class NotAllowed extends Error {
  constructor(status) {
    super(`status ${status}`);
    this.status = status;
  }
}

/** The time-out of a request; the server has the response in memory. */
const PATIENCE_MS = 15_000;

/** The last response of each URL: its ETag and its text. */
const kept = new Map();

/** The document at this path below the section. Rejects with NotAllowed, or another Error without a response. */
export async function read(base, path) {
  return JSON.parse(await readText(base, path, "application/json"));
}

/** The text at this path below the section; rejects as `read` does. */
export async function readText(base, path, type = "text/html") {
  const giveUp = new AbortController();
  const timer = setTimeout(() => giveUp.abort(), PATIENCE_MS);
  const url = base + path;
  const before = kept.get(url);
  try {
    const answer = await fetch(url, {
      cache: "no-store",
      credentials: "same-origin",
      redirect: "error",
      headers: { Accept: type, ...(before?.etag && { "If-None-Match": before.etag }) },
      signal: giveUp.signal,
    });
    if (answer.status === 401 || answer.status === 403) throw new NotAllowed(answer.status);
    if (answer.status === 304 && before) return before.text;
    if (!answer.ok) throw new Error(`status ${answer.status}`);
    const text = await answer.text();
    kept.set(url, { etag: answer.headers.get("ETag"), text });
    return text;
  } finally {
    clearTimeout(timer);
  }
}

/** All of these at once: a Map from path to document, or to its Error. Rejects with NotAllowed only. */
export async function readAll(base, paths) {
  const results = await Promise.allSettled(paths.map((path) => read(base, path)));
  const refused = results.find((result) => result.reason instanceof NotAllowed);
  if (refused) throw refused.reason;
  return new Map(paths.map((path, index) => [path, results[index].value ?? results[index].reason]));
}
