"""Admin tokens: no token that HiveSync has not signed is accepted, and of the signed those that the definition allows.

An input is a token's header and its claims, a line each. It is sent as it is, unsigned, and signed with HiveSync's
secret; docs/definitions.md#access has the rules.
"""

from __future__ import annotations

import base64
import hmac
import json
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from admin.access.tokens import LEEWAY_SECONDS, Admin, AdminCredentials, Authenticator, Refusal
from fuzz.inputs import damaged, nested
from fuzz.target import ByteTarget, Check

SECRET = "the secret of a HiveSync, which is long enough"  # noqa: S105 - for tests
API_KEY = "the key of an admin, long enough to be one"
FAR = 4_102_444_800
"""The year 2100."""

STATUSES = {401, 403}


def encoded(content: bytes) -> bytes:
    """A part of a token."""
    return base64.urlsafe_b64encode(content).rstrip(b"=")


def signed(header: bytes, claims: bytes) -> bytes:
    """A token with HiveSync's signature."""
    content = encoded(header) + b"." + encoded(claims)
    return content + b"." + encoded(hmac.digest(SECRET.encode(), content, "sha256"))


@contextmanager
def opened(_: Path) -> Iterator[Check]:
    """The check, with an authenticator."""
    authenticator = Authenticator(AdminCredentials(jwt_secret=SECRET, api_key=API_KEY))

    def refused(answer: Admin | Refusal) -> None:
        assert isinstance(answer, Refusal)
        assert answer.status in STATUSES
        assert answer.challenge.isprintable()

    def check(content: bytes) -> None:
        header, _, claims = content.partition(b"\n")
        unsigned = encoded(header) + b"." + encoded(claims) + b"."
        refused(authenticator.check_token(content))
        if content.strip() != API_KEY.encode():
            refused(authenticator.check_api_key(content))
        for token in (unsigned, unsigned + encoded(claims)):
            refused(authenticator.check([(b"authorization", b"Bearer " + token)]))
        refused(authenticator.check([(b"authorization", header), (b"authorization", claims)]))
        answer = authenticator.check_token(signed(header, claims))
        if not isinstance(answer, Admin):
            refused(answer)
            return
        assert _may_be_admin(header, claims), "accepted against the rules"
        assert answer.ends_at is not None
        assert math.isfinite(answer.ends_at)
        assert answer.ends_at > time.time() - LEEWAY_SECONDS

    yield check


def _may_be_admin(header: bytes, claims: bytes) -> bool:
    """Whether the definition allows an admin with these claims."""
    try:
        head, body = json.loads(header), json.loads(claims)
    except (ValueError, RecursionError):
        return False
    if not isinstance(head, dict) or not isinstance(body, dict) or head.get("alg") != "HS256":
        return False
    scope = body.get("scope")
    is_admin = "admin" in scope.split(" ") if isinstance(scope, str) else isinstance(scope, list) and "admin" in scope
    now = time.time()
    return is_admin and _time(body["exp"]) > now - LEEWAY_SECONDS - 1 and not _later(body, now)


def _later(body: dict[str, Any], now: float) -> bool:
    return any(name in body and _time(body[name]) > now + LEEWAY_SECONDS + 1 for name in ("nbf", "iat"))


def _time(value: Any) -> float:
    return float(int(value))


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
_headers = st.dictionaries(st.sampled_from(["alg", "typ", "crit", "b64", "kid", "jwk", "zip", "cty"]), _json).flatmap(
    lambda extra: st.sampled_from(
        [extra, {**extra, "alg": "HS256"}, {**extra, "alg": "none"}, {**extra, "alg": "RS256"}]
    )
)
_claims = st.builds(
    lambda plain, extra: {**plain, **extra},
    st.sampled_from([{}, {"exp": FAR}, {"exp": FAR, "scope": "admin"}, {"exp": 1, "scope": ["admin"]}]),
    st.dictionaries(st.sampled_from(["exp", "nbf", "iat", "aud", "iss", "sub", "jti", "scope"]), _json, max_size=3),
)
_texts = st.one_of(_claims, _headers).map(lambda content: json.dumps(content).encode())

TARGET = ByteTarget(
    name="tokens",
    promise="A token that HiveSync has not signed is refused with 401 or 403, and a signed one is accepted only where"
    " the definition of access allows it.",
    opened=opened,
    inputs=damaged(
        st.builds(
            lambda header, claims: header + b"\n" + claims,
            st.one_of(_headers.map(lambda content: json.dumps(content).encode()), nested(b"[", b"]")),
            st.one_of(_texts, nested(b'{"exp":', b"}"), st.binary(max_size=20)),
        ),
        (b"1e999", b"-1e999", b"NaN", b"9" * 5_000, b"null", b"\\ud800", b"\xff", b".", b"=", b"\0"),
    ),
    seeds=(
        b'{"alg":"HS256"}\n{"exp":%d,"scope":"admin"}' % FAR,
        b'{"alg":"HS256","typ":"JWT"}\n{"exp":%d,"nbf":1,"iat":1,"scope":["admin","x"]}' % FAR,
        b'{"alg":"none"}\n{"exp":%d,"scope":"admin"}' % FAR,
        b'{"alg":"HS256","crit":["b64"],"b64":false}\n{}',
        b'{"alg":"HS256"}\n{"exp":1,"scope":"superadmin"}',
    ),
    words=(
        b'"exp":',
        b'"nbf":',
        b'"scope":',
        b'"admin"',
        b'"alg":',
        b'"none"',
        b'"RS256"',
        b"1e999",
        b"Infinity",
        b"NaN",
    ),
    examples=250,
)
