"""The settings of access to the Analytics section: the API key, the public address."""

from __future__ import annotations

import pytest

from exporter.errors import SettingsError
from exporter.settings import read_settings

REQUIRED = {
    "HIVESYNC_DATABASE_URL": "postgresql://exporter@db/hivesync",
    "HIVESYNC_REDIS_URL": "redis://redis:6379/0",
}


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in REQUIRED.items():
        monkeypatch.setenv(name, value)


def refusal() -> str:
    with pytest.raises(SettingsError) as raised:
        read_settings()
    return str(raised.value)


@pytest.mark.parametrize("key", ["k", "0123456789abcde", " 0123456789abcde  \t"])
def test_an_api_key_that_can_be_guessed_is_refused_with_the_remedy(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HIVESYNC_ADMIN_API_KEY", key)
    assert refusal() == (
        "HIVESYNC_ADMIN_API_KEY: should have at least 16 characters; make one with: openssl rand -hex 24"
    )
    monkeypatch.setenv("HIVESYNC_ADMIN_API_KEY", "0123456789abcdef")
    assert read_settings().admin_api_key


@pytest.mark.parametrize(
    "url", ["admin.example", "https://admin.example/admin/analytics/", "ftp://admin.example", "https://u:pw@a.example"]
)
def test_the_public_url_is_an_origin_and_is_not_repeated(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HIVESYNC_PUBLIC_URL", url)
    said = refusal()
    assert said.startswith("HIVESYNC_PUBLIC_URL: ")
    assert url not in said


def test_a_public_url_may_end_with_a_slash_and_is_in_lower_case(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HIVESYNC_PUBLIC_URL", "https://Admin.Example:8443/")
    assert read_settings().public_url == "https://admin.example:8443"
