// The API's documents as JSON. The browser caches and revalidates each (ETag, 304), so that a refresh of unchanged
// documents sends no bodies.

/** The session has ended, or the user is no admin: a retry is of no use. */
export class NotAllowed extends Error {
  constructor(status) {
    super(`status ${status}`);
    this.status = status;
  }
}

/** The time-out of a request; the server has the response in memory. */
const PATIENCE_MS = 15_000;

/** The document at this path below the section. Rejects with NotAllowed, or another Error without a response. */
export async function read(base, path) {
  const giveUp = new AbortController();
  const timer = setTimeout(() => giveUp.abort(), PATIENCE_MS);
  try {
    const answer = await fetch(base + path, {
      cache: "no-cache",
      credentials: "same-origin",
      redirect: "error",
      headers: { Accept: "application/json" },
      signal: giveUp.signal,
    });
    if (answer.status === 401 || answer.status === 403) throw new NotAllowed(answer.status);
    if (!answer.ok) throw new Error(`status ${answer.status}`);
    return await answer.json();
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
