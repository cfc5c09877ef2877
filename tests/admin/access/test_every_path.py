"""Every path of the section with every invalid credential: no route is reached."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest
from structlog.testing import capture_logs

import admin.access.authentication
from admin.access.rate_limit import RateLimit
from admin.app import AnalyticsSection
from tests.admin.access.credentials import API_KEY, SECRET, public_pem, rsa_key, token
from tests.admin.access.guarded import bad_credentials
from tests.admin.client import ask
from tests.rows import NO_DATABASE, NOWHERE
from tests.scenario import settings_for

BAD = sorted(bad_credentials(""))


def _asked() -> NoReturn:
    pytest.fail("a request without a valid credential has reached the snapshot")


@pytest.fixture(scope="module")
def section(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AnalyticsSection]:
    """The section with an unreachable Grafana and without a rate limit."""
    folder: Path = tmp_path_factory.mktemp("section")
    (folder / "public.pem").write_bytes(public_pem(rsa_key()))
    settings = settings_for(
        NO_DATABASE,
        NOWHERE,
        folder,
        state_dir=folder,
        admin_jwt_secret=SECRET,
        admin_jwt_public_key_file=folder / "public.pem",
        admin_api_key=API_KEY,
        grafana_url="http://127.0.0.1:9",
    )
    with pytest.MonkeyPatch.context() as patch, capture_logs():
        patch.setattr(admin.access.authentication, "RateLimit", lambda clock: RateLimit(clock, failures=10**6))
        yield AnalyticsSection(settings, folder, _asked)


@pytest.fixture(scope="module")
def paths(section: AnalyticsSection) -> list[str]:
    """The paths of the OpenAPI document, and others."""
    found = [path.replace("{name}", "x").replace("{chart}", "x") for path in section.api.openapi()["paths"]]
    assert len(found) >= 13
    return [
        *found,
        "",
        "/",
        "/openapi.json",
        "/docs",
        "/redoc",
        "/grafana/d-solo/x/y",
        "/grafana/api/ds/query",
        "/runbooks/HiveSyncSourceDown",
        "/none",
    ]


@pytest.mark.parametrize("name", BAD)
def test_no_path_is_open(name: str, section: AnalyticsSection, paths: list[str]) -> None:
    headers = bad_credentials(section.access.sessions.open())[name]
    for path in paths:
        for method in ("GET", "HEAD", "POST", "DELETE"):
            answer = ask(section.app, path, method, headers)
            assert (answer.status, answer.header("content-type")) == (401, "application/problem+json"), (method, path)


def test_a_valid_token_without_the_scope_is_forbidden(section: AnalyticsSection, paths: list[str]) -> None:
    for path in paths:
        for method in ("GET", "HEAD", "POST", "DELETE"):
            answer = ask(section.app, path, method, {"Authorization": f"Bearer {token(scope='user')}"})
            assert (answer.status, answer.header("content-type")) == (403, "application/problem+json"), (method, path)


def test_only_the_login_and_its_files_are_open(section: AnalyticsSection) -> None:
    assert ask(section.app, "/login").status == 200
    assert ask(section.app, "/static/styles/tokens.css").status == 200
    assert ask(section.app, "/static/../summary").status == 404
    assert ask(section.app, "/static/%2e%2e/templates/page.html").status == 404
    assert ask(section.app, "/static/styles/..%2f__init__.py").status == 404
