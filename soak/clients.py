"""The clients of a soak, in a process of their own: `python -m soak.clients DIRECTORY`, where a file holds the `Crowd`.

A scraper requests /metrics as Prometheus does, over a connection that is kept. A page client logs in with the API key,
loads the page and its files, and then requests the page's documents at the page's interval, with their ETags, as the
page's script does; now and then it loads the page again. A connection that was closed while it was idle is opened
again, as browsers and Prometheus do; a request that fails on a new connection counts as missing.
"""

from __future__ import annotations

import asyncio
import json
import re
import signal
import sys
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from urllib.parse import urljoin, urlsplit

import httpx2

from demo.exporting import PROJECT
from servers.bound import slowness
from servers.child import Child

SCRAPE_SECONDS = 1.0
ANSWER_SECONDS = 10.0
"""Time, on a quiet machine, after which an answer counts as missing."""

RELOAD_REFRESHES = 8
MOST_SHOWN = 5
BROWSERS_CONNECTIONS = 6
PATIENCE_SECONDS = 1.0
ARRIVAL_SECONDS = 0.5
"""Time from one page client to the next. If all came at once, they would need more connections than a port has."""

LINKED = re.compile(r'(?:href|src)="([^"#]+)"')
PAGE_DATA = re.compile(r'id="page-data">(.*?)</script>', re.DOTALL)
PROMETHEUS = {"Accept": "application/openmetrics-text;version=1.0.0;q=0.75,text/plain;version=0.0.4;q=0.5"}
LOGIN = "login"


@dataclass(frozen=True, slots=True)
class Crowd:
    """The clients: their number, and the addresses and the key that they use."""

    metrics_url: str
    page_url: str
    api_key: str
    scrapers: int
    pages: int
    seed: int


@dataclass(frozen=True, slots=True)
class ClientReport:
    """The requests of all clients: by kind the answers, the missing ones and the slowest (seconds); the first ones that
    were wrong, in words."""

    answered: dict[str, int]
    missing: dict[str, int]
    slowest: dict[str, float]
    wrong: list[str]


class Clients(Child):
    """The process of the clients."""

    name = "Clients"

    def __init__(self, directory: Path, crowd: Crowd) -> None:
        super().__init__(directory)
        self.environment = {**self.environment, "PYTHONPATH": str(PROJECT)}
        self._crowd = crowd
        self._result = self.directory / "tally.json"

    @property
    def url(self) -> str:
        return self._crowd.metrics_url

    def prepare(self) -> None:
        """Write the file of the crowd, which holds the key."""
        crowd = self.directory / "crowd.json"
        crowd.touch(mode=0o600)
        crowd.write_text(json.dumps(asdict(self._crowd)))

    def command(self) -> Sequence[str]:
        return [sys.executable, "-m", "soak.clients", str(self.directory)]

    def is_ready(self) -> bool:
        return self._result.exists()

    def tally(self) -> ClientReport:
        """Return the requests up to the end of the process."""
        return ClientReport(**json.loads(self._result.read_text()))


class _Client:
    """One client, with connections of its own."""

    def __init__(self, kind: str, base: str, counts: _Counts, random: Random) -> None:
        self.kind, self.base, self.counts, self.random = kind, base, counts, random
        self.http = _connections()
        self.etags: dict[str, str] = {}
        self.cookie = ""

    async def ask(self, path: str, headers: dict[str, str], body: bytes | None = None) -> httpx2.Response | None:
        """Return the answer; None without one, which is counted."""
        url, method = urljoin(self.base, path), "GET" if body is None else "POST"
        started = time.perf_counter()
        try:
            try:
                answer = await self.http.request(method, url, headers=headers, content=body)
            except (httpx2.RemoteProtocolError, httpx2.ReadError, httpx2.WriteError):
                async with _connections() as new:  # the connection was kept, and closed in the meantime
                    answer = await new.request(method, url, headers=headers, content=body)
        except httpx2.HTTPError as error:
            self.counts.miss(self.kind, path, error)
            return None
        self.counts.count(self.kind, path, answer.status_code, time.perf_counter() - started)
        return answer

    async def scrape(self) -> None:
        """Scrape for ever."""
        await asyncio.sleep(self.random.uniform(0, SCRAPE_SECONDS))
        while True:
            await self.ask("metrics", PROMETHEUS)
            await asyncio.sleep(SCRAPE_SECONDS * self.random.uniform(0.9, 1.1))

    async def watch_page(self, arrival: float) -> None:
        """Use the page for ever, from that second on."""
        await asyncio.sleep(arrival)
        while True:
            page = await self._load() if self.cookie or await self._log_in() else None
            if page is None:
                await asyncio.sleep(PATIENCE_SECONDS)
                continue
            documents, interval = page
            for _ in range(RELOAD_REFRESHES):
                answers = await asyncio.gather(*(self._read(path) for path in documents))
                if 401 in answers:
                    self.cookie = ""
                    break
                await asyncio.sleep(interval * self.random.uniform(0.97, 1.03))

    async def _log_in(self) -> bool:
        parts = urlsplit(self.base)
        headers = {"Origin": f"{parts.scheme}://{parts.netloc}", "Content-Type": "application/json"}
        answer = await self.ask(LOGIN, headers, json.dumps({"api_key": self.counts.key}).encode())
        if answer is None or not answer.is_success:
            return False
        self.cookie = answer.headers["Set-Cookie"].partition(";")[0]
        return True

    async def _load(self) -> tuple[list[str], float] | None:
        """Load the page with its files. Return its documents and its interval (seconds)."""
        answer = await self.ask("", {"Cookie": self.cookie})
        if answer is None or answer.status_code != 200:
            self.cookie = ""
            return None
        linked = {urljoin(self.base, path) for path in LINKED.findall(answer.text)}
        below = {url.removeprefix(self.base) for url in linked if url.startswith(self.base)}
        files = sorted(path for path in below if path.startswith("static/"))
        documents = sorted(path for path in below if path and not path.startswith("static/") and path.isascii())
        documents = [path for path in documents if "?" not in path and path not in {"sessions", "logout", LOGIN}]
        await asyncio.gather(*(self._read(path) for path in files))
        found = PAGE_DATA.search(answer.text)
        return documents, float(json.loads(found[1])["refreshSeconds"] if found else SCRAPE_SECONDS)

    async def _read(self, path: str) -> int:
        """Read a document or a file, if it has changed. Return the status; 0 without an answer."""
        headers = {"Cookie": self.cookie}
        if etag := self.etags.get(path):
            headers["If-None-Match"] = etag
        answer = await self.ask(path, headers)
        if answer is None:
            return 0
        if answer.status_code == 200 and "ETag" in answer.headers:
            self.etags[path] = answer.headers["ETag"]
        return answer.status_code


def _connections() -> httpx2.AsyncClient:
    """Return a client with as many connections as a browser has to a server, none of them open yet."""
    limits = httpx2.Limits(max_connections=BROWSERS_CONNECTIONS)
    return httpx2.AsyncClient(timeout=ANSWER_SECONDS * slowness(), trust_env=False, verify=False, limits=limits)


class _Counts:
    """The tally, as it is counted."""

    def __init__(self, key: str) -> None:
        self.key = key
        self.answered: Counter[str] = Counter()
        self.missing: Counter[str] = Counter()
        self.slowest: dict[str, float] = {}
        self.wrong: dict[str, None] = {}

    def count(self, kind: str, path: str, status: int, seconds: float) -> None:
        """Count an answer."""
        self.answered[kind] += 1
        self.slowest[kind] = max(self.slowest.get(kind, 0.0), seconds)
        if status not in {200, 204, 304}:
            self.note(f"{kind}: {path or 'the page'} was answered with {status}")

    def miss(self, kind: str, path: str, error: Exception) -> None:
        """Count a request without an answer."""
        self.missing[kind] += 1
        self.note(f"{kind}: {path or 'the page'} was not answered ({type(error).__name__})")

    def note(self, problem: str) -> None:
        """Note a problem, once."""
        if len(self.wrong) < MOST_SHOWN:
            self.wrong[problem] = None

    def write(self, path: Path) -> None:
        """Write the tally, as a whole."""
        new = path.with_suffix(".new")
        new.write_text(
            json.dumps(asdict(ClientReport(dict(self.answered), dict(self.missing), self.slowest, list(self.wrong))))
        )
        new.rename(path)


async def _end(over: asyncio.Event) -> None:
    await over.wait()


async def _run(directory: Path, crowd: Crowd) -> None:
    over, counts, random = asyncio.Event(), _Counts(crowd.api_key), Random(crowd.seed)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, over.set)
    scrapers = [_Client("scrape", f"{crowd.metrics_url}/", counts, random) for _ in range(crowd.scrapers)]
    pages = [_Client("page", crowd.page_url, counts, random) for _ in range(crowd.pages)]
    tasks = [asyncio.ensure_future(each.scrape()) for each in scrapers]
    tasks += [asyncio.ensure_future(each.watch_page(number * ARRIVAL_SECONDS)) for number, each in enumerate(pages)]
    result = directory / "tally.json"
    counts.write(result)
    ended = asyncio.ensure_future(_end(over))
    done, _ = await asyncio.wait([ended, *tasks], return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    for client in (*scrapers, *pages):
        with suppress(httpx2.HTTPError):
            await client.http.aclose()
    counts.write(result)
    for task in done - {ended}:
        task.result()  # a client must not end; its error becomes that of the process


if __name__ == "__main__":
    place = Path(sys.argv[1])
    asyncio.run(_run(place, Crowd(**json.loads((place / "crowd.json").read_text()))))
