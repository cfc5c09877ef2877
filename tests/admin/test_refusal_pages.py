"""Refusals of documents and frames: a page in place of JSON."""

from __future__ import annotations

import re

import pytest
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send
from structlog.testing import capture_logs

from admin.problem import problem
from admin.refusal_pages import RefusalPages
from admin.site import build_site
from tests.admin.access.credentials import API_KEY, token
from tests.admin.access.guarded import access_of, section_of
from tests.admin.client import ask

SHOWN = ("document", "iframe", "frame", "embed", "object")
KEY = {"X-API-Key": API_KEY}
PANEL = "/admin/analytics/grafana/d-solo/x/y"


@pytest.fixture
def site() -> ASGIApp:
    return build_site(section_of(access_of()), ["admin.example"])


@pytest.mark.parametrize("shown", SHOWN)
@pytest.mark.parametrize(
    ("path", "method", "headers", "status"),
    [
        (PANEL, "GET", {}, 401),
        ("/admin/analytics/summary", "GET", {}, 401),
        ("/admin/analytics/summary", "GET", {"X-API-Key": "wrong"}, 401),
        (PANEL, "GET", {"Authorization": f"Bearer {token(scope='user')}"}, 403),
        (PANEL, "PUT", KEY, 405),
        ("/admin/analytics/login", "POST", {}, 403),
        ("/nowhere", "GET", KEY, 404),
        ("/admin/analytics/", "GET", {"Host": "evil.example"}, 421),
    ],
)
def test_a_refused_document_is_a_page(
    path: str, method: str, headers: dict[str, str], status: int, shown: str, site: ASGIApp
) -> None:
    with capture_logs():
        answer = ask(site, path, method, {**headers, "Sec-Fetch-Dest": shown}, root_path="")
    assert (answer.status, answer.header("content-type")) == (status, "text/html; charset=utf-8")
    assert answer.header("content-length") == str(len(answer.body))
    assert answer.header("cache-control") == "no-store"
    page = answer.body.decode()
    assert page.startswith("<!doctype html>")
    links = re.findall(r'(?:href|src)="([^"]*)"', page)
    assert len(links) > 4
    assert [link for link in links if not link.startswith("/admin/analytics/")] == []
    assert ('href="/admin/analytics/login" target="_top"' in page) == (status == 401)


@pytest.mark.parametrize("shown", ["empty", "script", "image", "", None])
def test_programs_and_scripts_get_the_problem(shown: str | None, site: ASGIApp) -> None:
    headers = {} if shown is None else {"Sec-Fetch-Dest": shown}
    with capture_logs():
        answer = ask(site, PANEL, "GET", headers, root_path="")
    assert (answer.status, answer.header("content-type")) == (401, "application/problem+json")


def test_a_wait_and_the_allowed_methods_are_still_told(site: ASGIApp) -> None:
    shown = {"Sec-Fetch-Dest": "iframe"}
    with capture_logs():
        for _ in range(11):
            answer = ask(site, PANEL, "GET", {"X-API-Key": "wrong", **shown}, root_path="")
        assert (answer.status, answer.header("retry-after")) == (429, "300")
        assert ask(site, PANEL, "PUT", {**KEY, **shown}, root_path="").header("allow") == "GET, HEAD"


def test_other_responses_pass_unchanged() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await PlainTextResponse("fine", 404)(scope, receive, send)

    answer = ask(RefusalPages(app, lambda *_: "a page"), "/", "GET", {"Sec-Fetch-Dest": "iframe"})
    assert (answer.status, answer.body) == (404, b"fine")


def test_a_text_in_a_problem_is_no_html(site: ASGIApp) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await problem(422, detail="<script>alert(1)</script>")(scope, receive, send)

    answer = ask(section_of(access_of(), app), "/x", "GET", {**KEY, "Sec-Fetch-Dest": "document"})
    assert answer.status == 422
    assert b"<script>alert" not in answer.body
    assert b"&lt;script&gt;" in answer.body
