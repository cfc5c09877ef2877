"""The middleware configured for tests, and an application behind it."""

from __future__ import annotations

from pathlib import Path

from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from admin.access.authentication import Access
from admin.access.login import login_routes
from admin.access.login_codes import LoginCodes
from admin.access.middleware import AccessMiddleware
from admin.access.origins import Origins
from admin.access.rate_limit import RateLimit
from admin.access.session_list import session_routes
from admin.access.sessions import COOKIE, SESSIONS_FILE, Sessions
from admin.access.tokens import AdminCredentials, Authenticator
from admin.app import with_refusals
from admin.page import Page, render_refusal
from exporter.state import StateFile
from tests.admin.access.credentials import API_KEY, SECRET, bad_tokens, public_pem, rsa_key, token
from tests.admin.client import ROOT

DATA = "what only admins see"
LOGIN_PAGE = "<h1>Log in</h1>"
FAILED_PAGE = "<h1>Not accepted</h1>"
SECTION_ORIGIN = "https://admin.example"


class Clock:
    """Seconds, set by a test."""

    def __init__(self, now: float = 1_800_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def credentials() -> AdminCredentials:
    """A secret, a public key and an API key at once."""
    return AdminCredentials(jwt_secret=SECRET, jwt_public_key=public_pem(rsa_key()), api_key=API_KEY)


def access_of(
    configured: AdminCredentials | None = None,
    *,
    clock: Clock | None = None,
    failures: int = 10,
    state: Path | None = None,
    origins: tuple[str, ...] = (),
    public_url: str | None = None,
    follows_token: bool = False,
) -> Access:
    """Access for these credentials (default: all three)."""
    clock = clock or Clock()
    return Access(
        Authenticator(configured or credentials()),
        Sessions(
            b"k" * 32,
            8 * 3600,
            clock,
            StateFile(state, SESSIONS_FILE) if state else None,
            follows_token=follows_token,
        ),
        RateLimit(clock, failures),
        LoginCodes(clock),
        Origins(origins, public_url),
    )


def render_login(_: Request, failed: bool) -> str:
    """A stand-in for the page's template."""
    return FAILED_PAGE if failed else LOGIN_PAGE


class Behind:
    """Responds to every admitted request, and keeps the last scope."""

    def __init__(self) -> None:
        self.scope: Scope | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Respond."""
        self.scope = scope
        await PlainTextResponse(DATA)(scope, receive, send)


def section_of(access: Access, behind: ASGIApp | None = None, frame_ancestors: tuple[str, ...] = ()) -> ASGIApp:
    """The section with its layers in order: headers, middleware, login, all else."""
    routes = Starlette(
        routes=[
            *login_routes(access, render_login),
            *session_routes(access, Page().render_sessions),
            Mount("/", behind or Behind()),
        ]
    )
    return with_refusals(AccessMiddleware(routes, access, render_login), render_refusal, frame_ancestors)


async def _own_of_hivesync(_: Request) -> Response:
    return PlainTextResponse("HiveSync")


def on_its_own(section: ASGIApp) -> ASGIApp:
    """The section as on the admin port."""
    return Starlette(routes=[Mount(ROOT, section)])


def in_hivesync(section: ASGIApp) -> ASGIApp:
    """The section as in an application of HiveSync's."""
    app = FastAPI(routes=[Route("/", _own_of_hivesync)])
    app.mount(ROOT, section)
    return app


def bad_credentials(session: str) -> dict[str, list[tuple[str, str]]]:
    """Invalid credentials by their defect, as headers; `session`: a valid session."""
    good = token()
    bad = {name: [("Authorization", f"Bearer {value}")] for name, value in bad_tokens().items()}
    return bad | {
        "none": [],
        "no scheme": [("Authorization", good)],
        "another scheme": [("Authorization", f"Basic {good}")],
        "a token twice": [("Authorization", f"Bearer {good}"), ("Authorization", f"Bearer {good}")],
        "a bad token beside a good key": [("Authorization", "Bearer x"), ("X-API-Key", API_KEY)],
        "a bad token beside a session": [("Authorization", "Bearer x"), ("Cookie", f"{COOKIE}={session}")],
        "a bad key beside a session": [("X-API-Key", "x"), ("Cookie", f"{COOKIE}={session}")],
        "wrong key": [("X-API-Key", "wrong")],
        "empty key": [("X-API-Key", "")],
        "key not ASCII": [("X-API-Key", "\xff")],
        "key twice": [("X-API-Key", API_KEY), ("X-API-Key", API_KEY)],
        "the secret as a key": [("X-API-Key", SECRET)],
        "key in the query's place": [("X-Api-Token", API_KEY)],
        "a tampered session": [("Cookie", f"{COOKIE}={session[:-2]}xx")],
        "a truncated session": [("Cookie", f"{COOKIE}={session[:-1]}")],
        "a token as a session": [("Cookie", f"{COOKIE}={good}")],
        "an empty session": [("Cookie", f"{COOKIE}=")],
        "a session of another name": [("Cookie", f"session={session}")],
    }
