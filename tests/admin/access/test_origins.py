"""The check of a request's origin."""

from __future__ import annotations

from typing import Any

import pytest

from admin.access.origins import Origins
from tests.admin.client import scope_of


@pytest.mark.parametrize(
    ("headers", "scheme", "expected"),
    [
        ({"Host": "admin.example", "Origin": "https://admin.example"}, "https", True),
        ({"Host": "admin.example", "Origin": "https://admin.example"}, "http", True),  # https ends at a proxy
        ({"Host": "admin.example:443", "Origin": "https://admin.example"}, "https", True),
        ({"Host": "127.0.0.1:10178", "Origin": "http://127.0.0.1:10178"}, "http", True),
        ({"Host": "[::1]:10178", "Origin": "http://[::1]:10178"}, "http", True),
        ({"Host": "Admin.Example", "Origin": "https://admin.example"}, "https", True),
        ({"Host": "127.0.0.1:10178", "Origin": "http://127.0.0.1:10179"}, "http", False),
        ({"Host": "admin.example", "Origin": "http://admin.example"}, "https", False),
        ({"Host": "admin.example", "Origin": "https://evil.example"}, "https", False),
        ({"Host": "admin.example", "Origin": "https://admin.example.evil.example"}, "https", False),
        ({"Host": "admin.example", "Origin": "https://x.admin.example"}, "https", False),
        ({"Host": "admin.example", "Origin": "https://admin.example:8443"}, "https", False),
        ({"Host": "admin.example", "Origin": "null"}, "https", False),
        ({"Host": "admin.example", "Origin": ""}, "https", False),
        ({"Host": "admin.example", "Origin": "admin.example"}, "https", False),
        ({"Host": "admin.example", "Origin": "ftp://admin.example"}, "https", False),
        ({"Host": "admin.example"}, "https", False),
        ({"Host": "admin.example", "Sec-Fetch-Site": "same-origin"}, "https", True),
        ({"Host": "admin.example", "Sec-Fetch-Site": "same-site"}, "https", False),
        ({"Host": "admin.example", "Sec-Fetch-Site": "none"}, "https", False),
        ({"Host": "admin.example", "Sec-Fetch-Site": "same-origin", "Origin": "https://e.example"}, "https", False),
        ([("Host", "admin.example"), ("Origin", "https://admin.example")] * 2, "https", False),
        ([("Host", "admin.example"), *[("Origin", "https://admin.example")] * 2], "https", False),
    ],
)
def test_the_origin_is_the_one_the_request_is_for(headers: Any, scheme: str, expected: bool) -> None:
    assert Origins().is_own(scope_of("/login", "POST", headers, scheme=scheme)) is expected


def test_further_origins_are_those_of_the_settings() -> None:
    origins = Origins(("https://hivesync.example",))
    for origin, expected in (("https://hivesync.example", True), ("https://hivesync.example.evil.example", False)):
        assert origins.is_own(scope_of("/login", "POST", {"Host": "backend:8000", "Origin": origin})) is expected
