"""The list of open sessions, and their end by an admin."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from starlette.types import ASGIApp
from structlog.testing import capture_logs

from admin.access.authentication import Access
from admin.access.session_list import SessionCommands
from admin.access.sessions import COOKIE
from exporter.errors import StateError
from tests.admin.access.credentials import API_KEY
from tests.admin.access.guarded import SECTION_ORIGIN, access_of, section_of
from tests.admin.client import Answer, ask

KEY = {"X-API-Key": API_KEY}
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
BROWSER = "text/html,*/*;q=0.8"


@pytest.fixture
def access(tmp_path: Path) -> Access:
    return access_of(state=tmp_path)


@pytest.fixture
def app(access: Access) -> ASGIApp:
    return section_of(access)


def cookie(value: str) -> dict[str, str]:
    return {"Cookie": f"{COOKIE}={value}"}


def end(app: ASGIApp, body: str, headers: dict[str, str]) -> Answer:
    return ask(app, "/sessions/end", "POST", {**FORM, **headers}, body.encode())


def test_programs_get_the_open_sessions_as_json(app: ASGIApp, access: Access) -> None:
    value = access.sessions.open("token", "192.0.2.9")
    access.sessions.open("code", "192.0.2.10")
    answer = ask(app, "/sessions", "GET", cookie(value))
    assert (answer.header("content-type"), answer.header("cache-control")) == ("application/json", "no-store")
    one, other = answer.json["sessions"]
    assert one == {
        "session": access.sessions.all()[0].name,
        "opened_at": "2027-01-15 08:00Z",
        "ends_at": "2027-01-15 16:00Z",
        "via": "token",
        "address": "192.0.2.9",
        "current": True,
    }
    assert (other["via"], other["current"]) == ("code", False)
    assert value not in answer.body.decode()


def test_a_browser_gets_a_page_with_a_button_for_each(app: ASGIApp, access: Access) -> None:
    value = access.sessions.open("token", "192.0.2.9")
    answer = ask(app, "/sessions", "GET", {"Accept": BROWSER, **cookie(value)})
    assert (answer.status, answer.header("cache-control")) == (200, "no-store")
    page = answer.body.decode()
    assert f'name="session" value="{access.sessions.all()[0].name}"' in page
    assert "192.0.2.9" in page
    assert "(this one)" in page
    assert value not in page


def test_one_session_is_ended_and_the_others_go_on(app: ASGIApp, access: Access, tmp_path: Path) -> None:
    one, other = access.sessions.open(), access.sessions.open()
    name = access.sessions.all()[0].name
    with capture_logs() as events:
        answer = end(app, f"session={name}", {"Origin": SECTION_ORIGIN, **cookie(other)})
    assert (answer.status, answer.header("location")) == (303, "../sessions")
    for served in (app, section_of(access_of(state=tmp_path))):
        assert ask(served, "/summary", "GET", cookie(one)).status == 401
        assert ask(served, "/summary", "GET", cookie(other)).status == 200
    assert [(event["event"], event["session"], event["by"]) for event in events] == [
        ("admin.session.ended", name, "page")
    ]


def test_all_sessions_are_ended_with_a_key(app: ASGIApp, access: Access) -> None:
    values = [access.sessions.open() for _ in range(3)]
    assert end(app, "all=true", KEY).status == 303
    assert [ask(app, "/summary", "GET", cookie(value)).status for value in values] == [401] * 3


def test_ending_sessions_needs_an_admin_and_the_own_origin(app: ASGIApp, access: Access) -> None:
    value = access.sessions.open()
    with capture_logs():
        for headers, status in (
            ({}, 401),
            ({"X-API-Key": "wrong"}, 401),
            ({"Origin": SECTION_ORIGIN}, 401),
            (cookie(value), 403),
            ({**cookie(value), "Origin": "https://evil.example"}, 403),
            ({**cookie(value), "Sec-Fetch-Site": "same-site"}, 403),
        ):
            assert end(app, "all=true", headers).status == status
    assert len(access.sessions.all()) == 1
    for method in ("GET", "PUT", "DELETE", "HEAD"):
        answer = ask(app, "/sessions/end", method, KEY)
        assert (answer.status, answer.header("allow")) == (405, "POST")
    assert ask(app, "/sessions", "POST", KEY).status == 405


@pytest.mark.parametrize("body", ["", "session=", "all=false", "all=true&session=x", "x=1", "a=1&" * 9, "all=true;"])
def test_a_form_without_a_choice_ends_nothing(body: str, app: ASGIApp, access: Access) -> None:
    access.sessions.open()
    assert end(app, body, KEY).status == 400
    assert ask(app, "/sessions/end", "POST", {**KEY, "Content-Type": "text/plain"}, b"all=true").status == 415
    assert len(access.sessions.all()) == 1


def test_the_commands_list_and_end_sessions(access: Access) -> None:
    commands = SessionCommands(access.sessions)
    assert commands.list() == "no open sessions"
    access.sessions.open("token", "192.0.2.9")
    access.sessions.open("code", "2001:db8::/64")
    first, second = (session.name for session in access.sessions.all())
    assert commands.list().splitlines() == [
        "SESSION       LOGIN              ENDS               WITH   ADDRESS",
        f"{first}  2027-01-15 08:00Z  2027-01-15 16:00Z  token  192.0.2.9",
        f"{second}  2027-01-15 08:00Z  2027-01-15 16:00Z  code   2001:db8::/64",
    ]
    with capture_logs():
        assert asyncio.run(commands.end(first)) == f"session {first} has ended"
        with pytest.raises(StateError, match="no open session has the name"):
            asyncio.run(commands.end(first))
        assert asyncio.run(commands.end_all()) == "1 sessions have ended"
    assert commands.list() == "no open sessions"
