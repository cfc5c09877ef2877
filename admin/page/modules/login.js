// The login: with a credential, or with the code of a one-time link, which is in the fragment and so in no server's log.
// The forms work without this module too.

const panel = document.querySelector("[data-base]");
const base = panel.dataset.base;
const error = document.getElementById("error");
const progress = document.getElementById("progress");

const WORDS = {
  401: "The credential was not accepted. Check it and try again.",
  403: "The credential is valid, but not an administrator's.",
};
const LINK_WORDS = { 401: "This link has been used or has expired. Make a new one, or log in below." };

/** Send a credential; on success, go to the page. */
async function logIn(credential, words) {
  error.hidden = true;
  progress.hidden = false;
  try {
    const answer = await fetch(`${base}login`, {
      method: "POST",
      credentials: "same-origin",
      headers: { "Content-Type": "application/json", Accept: "application/json" },
      body: JSON.stringify(credential),
    });
    if (answer.ok) return location.replace(base);
    fail(words[answer.status] ?? tooMany(answer) ?? "The login failed. Try again later.");
  } catch {
    fail("HiveSync Analytics does not answer. Try again later.");
  }
}

function tooMany(answer) {
  if (answer.status !== 429) return null;
  const seconds = Number(answer.headers.get("Retry-After"));
  const wait = seconds > 0 ? `in ${Math.ceil(seconds / 60)} min` : "later";
  return `Too many attempts from your address. Try again ${wait}.`;
}

function fail(words) {
  progress.hidden = true;
  error.textContent = words;
  error.hidden = false;
}

for (const form of document.querySelectorAll("[data-login]")) {
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    logIn(Object.fromEntries(new FormData(form)), WORDS);
  });
}

const code = new URLSearchParams(location.hash.slice(1)).get("code");
if (code) {
  history.replaceState(null, "", location.pathname); // a code is valid once, and belongs in no history
  logIn({ code }, { ...WORDS, ...LINK_WORDS });
} else {
  document.getElementById("api-key").focus();
}
