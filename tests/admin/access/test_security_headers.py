"""Security headers: strict on the section's responses, compatible on Grafana's."""

from __future__ import annotations

import asyncio

import pytest
from starlette.responses import PlainTextResponse
from starlette.types import Message, Receive, Scope, Send

from admin.access.security_headers import SecurityHeaders
from tests.admin.access.credentials import API_KEY
from tests.admin.access.guarded import access_of, section_of
from tests.admin.client import ask

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self';"
    " font-src 'self'; frame-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'self'"
)


@pytest.mark.parametrize(
    ("path", "headers"),
    [("/", {"X-API-Key": API_KEY}), ("/", {}), ("/", {"Accept": "text/html"}), ("/login", {}), ("/static/x.js", {})],
    ids=["data", "a refusal", "the login in its place", "the login", "a file"],
)
def test_every_response_of_the_section_has_them(path: str, headers: dict[str, str]) -> None:
    answer = ask(section_of(access_of()), path, "GET", headers)
    assert answer.header("content-security-policy") == POLICY
    assert answer.header("x-content-type-options") == "nosniff"
    assert answer.header("referrer-policy") == "same-origin"
    assert answer.header("cross-origin-opener-policy") == "same-origin"
    assert answer.header("cross-origin-resource-policy") == "same-origin"
    assert "camera=()" in str(answer.header("permissions-policy"))
    assert answer.header("strict-transport-security") is None


def test_hsts_is_set_on_https() -> None:
    answer = ask(section_of(access_of()), "/login", scheme="https")
    assert answer.header("strict-transport-security") == "max-age=31536000"


def test_configured_origins_may_frame_the_pages() -> None:
    section = section_of(access_of(), frame_ancestors=("https://hivesync.example",))
    ancestors = "frame-ancestors 'self' https://hivesync.example"
    assert str(ask(section, "/login").header("content-security-policy")).endswith(f"; {ancestors}")
    grafana = ask(section, "/grafana/d-solo/x/y", "GET", {"X-API-Key": API_KEY})
    assert grafana.header("content-security-policy") == ancestors


async def _grafana(scope: Scope, receive: Receive, send: Send) -> None:
    headers = {"Content-Security-Policy": "script-src 'self' 'unsafe-eval'", "Referrer-Policy": "no-referrer"}
    await PlainTextResponse("panel", headers=headers)(scope, receive, send)


def test_grafana_keeps_its_policy_and_may_be_framed_by_the_section_only() -> None:
    answer = ask(section_of(access_of(), _grafana), "/grafana/d-solo/x/y", "GET", {"X-API-Key": API_KEY})
    assert answer.all("content-security-policy") == ["script-src 'self' 'unsafe-eval'", "frame-ancestors 'self'"]
    assert answer.header("referrer-policy") == "no-referrer"
    assert answer.header("x-content-type-options") == "nosniff"
    assert answer.header("cross-origin-opener-policy") is None
    assert answer.header("permissions-policy") is None


def test_other_scopes_pass_unchanged() -> None:
    seen: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope["type"])
        await send({"type": "lifespan.startup.complete"})

    async def receive() -> Message:
        return {"type": "lifespan.startup"}

    async def send(message: Message) -> None:
        seen.append(message["type"])

    asyncio.run(SecurityHeaders(app)({"type": "lifespan"}, receive, send))
    assert seen == ["lifespan", "lifespan.startup.complete"]
