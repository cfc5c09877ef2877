"""The Analytics section as the admin port serves it: loaded beside everything else, tried again after a failure, and
503 meanwhile.

    __main__ -> Section (this) -> admin.app, and httpd, which serves it

Nothing that fails while the section is loaded (a damaged package, a file that cannot be read, a lack of memory) ends
the process: the metrics need none of it. This module imports nothing of `admin` for that reason.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import orjson
import structlog
from starlette.types import ASGIApp, Receive, Scope, Send

from exporter import disk
from exporter.errors import AnalyticsError, SettingsError, StateError

RETRY_SECONDS = 10.0
"""Time between two attempts."""

BODY_BYTES = 4096
"""The limit of a request's body before the section is loaded."""

_log = structlog.get_logger()


class Loadable(Protocol):
    """The section, as far as this module knows it."""

    def changed(self) -> None:
        """Note a change of the snapshot."""

    async def run(self) -> None:
        """Run its background work until cancelled."""


S = TypeVar("S", bound=Loadable)


@dataclass(frozen=True)
class LoadedSection(Generic[S]):
    """The section, its site, and the limit of a request's body by its target."""

    section: S
    site: ASGIApp
    body_limit: Callable[[bytes], int]


class Section(Generic[S]):
    """The section that `load` returns, which runs in a thread."""

    def __init__(self, load: Callable[[], LoadedSection[S]], retry_seconds: float = RETRY_SECONDS) -> None:
        self._load, self._retry_seconds = load, retry_seconds
        self._loaded: LoadedSection[S] | None = None
        self._tried, self._replaced = asyncio.Event(), asyncio.Event()

    @property
    def is_loaded(self) -> bool:
        """Whether it is served."""
        return self._loaded is not None

    def changed(self) -> None:
        """Note a change of the snapshot."""
        if self._loaded is not None:
            self._loaded.section.changed()

    async def get(self) -> S:
        """Return the section. Raises StateError when the first attempt to load it has failed."""
        await self._tried.wait()
        if self._loaded is None:
            raise StateError("the Analytics section is not loaded: see admin.section.failed in the exporter's log")
        return self._loaded.section

    async def run(self) -> None:
        """Load the section, and run it until cancelled. Raises SettingsError for a setting that it cannot use at the
        start."""
        reported: dict[str, str] | None = None
        while self._loaded is None:
            try:
                self._loaded = await disk.run(self._load)
            except Exception as error:
                if isinstance(error, SettingsError) and not self._tried.is_set():
                    raise
                if (reason := _reason(error)) != reported:
                    _log.error("admin.section.failed", **reason)
                reported = reason
                self._tried.set()
                await asyncio.sleep(self._retry_seconds)
        self._tried.set()
        if reported is not None:
            _log.info("admin.section.loaded")
        while True:
            running = asyncio.ensure_future(self._loaded.section.run())
            replaced = asyncio.ensure_future(self._replaced.wait())
            try:
                await asyncio.wait({running, replaced}, return_when=asyncio.FIRST_COMPLETED)
                if running.done():
                    running.result()
            finally:
                replaced.cancel()
                running.cancel()
                await asyncio.gather(running, return_exceptions=True)
            self._replaced.clear()

    async def reload(self) -> None:
        """Load the section again, and put it in place. Raises what loading raises; the present one then stays."""
        self._loaded = await disk.run(self._load)
        self._replaced.set()

    def body_limit(self, target: bytes) -> int:
        """Return the limit of a request's body."""
        return BODY_BYTES if self._loaded is None else self._loaded.body_limit(target)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request; at the start, once the first attempt to load the section has ended."""
        await self._tried.wait()
        await (_unavailable if self._loaded is None else self._loaded.site)(scope, receive, send)


async def _unavailable(scope: Scope, _: Receive, send: Send) -> None:
    """Answer 503, as the section answers problems (RFC 9457)."""
    if scope["type"] != "http":
        return
    detail = "The Analytics section could not be loaded; the exporter's log has the reason. It is tried again."
    content = {"type": "about:blank", "title": "Service Unavailable", "status": 503, "detail": detail}
    body = orjson.dumps(content)
    headers = {
        "content-type": "application/problem+json",
        "content-length": str(len(body)),
        "cache-control": "no-store",
        "retry-after": f"{RETRY_SECONDS:.0f}",
    }
    pairs = [(name.encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": 503, "headers": pairs})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})


def _reason(error: Exception) -> dict[str, str]:
    """Return the reason of a failure: the message of an error of ours; of others the type and place, as their message
    may contain data."""
    if isinstance(error, AnalyticsError):
        return {"kind": type(error).__name__, "reason": str(error)}
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    where = {} if trace is None else {"where": f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}"}
    return {"kind": type(error).__name__, **where}
