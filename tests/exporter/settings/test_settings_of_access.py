"""The settings of access to the Analytics section: the API key, the public address."""

from __future__ import annotations

import pytest

from exporter.settings import read_settings
from tests.exporter.settings.given import Set, problems


@pytest.fixture(autouse=True)
def required(set_variables: Set) -> None:
    """The required settings."""
    set_variables()


@pytest.mark.parametrize("key", ["k", "0123456789abcde", " 0123456789abcde  \t"])
def test_an_api_key_that_can_be_guessed_is_refused_with_the_remedy(key: str, set_variables: Set) -> None:
    set_variables(ADMIN_API_KEY=key)
    assert problems() == {
        "HIVESYNC_ADMIN_API_KEY": "should have at least 16 characters; make one with: openssl rand -hex 24"
    }
    set_variables(ADMIN_API_KEY="0123456789abcdef")
    assert read_settings().admin_api_key


@pytest.mark.parametrize(
    "url", ["admin.example", "https://admin.example/admin/analytics/", "ftp://admin.example", "https://u:pw@a.example"]
)
def test_the_public_url_is_an_origin_and_is_not_repeated(url: str, set_variables: Set) -> None:
    set_variables(PUBLIC_URL=url)
    ((setting, said),) = problems().items()
    assert setting == "HIVESYNC_PUBLIC_URL"
    assert url not in said


def test_a_public_url_may_end_with_a_slash_and_is_in_lower_case(set_variables: Set) -> None:
    set_variables(PUBLIC_URL="https://Admin.Example:8443/")
    assert read_settings().public_url == "https://admin.example:8443"
