"""Tokens and keys of every kind, valid and invalid."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from structlog.testing import capture_logs

from admin.access.tokens import (
    CREDENTIAL_BYTES,
    LEEWAY_SECONDS,
    Admin,
    AdminCredentials,
    Authenticator,
    Reason,
    Refusal,
)
from exporter.errors import SettingsError
from tests.admin.access.credentials import (
    API_KEY,
    SECRET,
    bad_tokens,
    claims,
    ec_key,
    forged,
    private_pem,
    public_pem,
    rsa_key,
    token,
)

BOTH = AdminCredentials(jwt_secret=SECRET, jwt_public_key=public_pem(rsa_key()), api_key=API_KEY)
BAD_TOKENS = bad_tokens()


def check(token: str, credentials: AdminCredentials = BOTH) -> Admin | Refusal:
    return Authenticator(credentials).check_token(token.encode("latin-1"))


def headers(*pairs: tuple[str, str]) -> Sequence[tuple[bytes, bytes]]:
    return [(name.lower().encode(), value.encode("latin-1")) for name, value in pairs]


def reason(outcome: Admin | Refusal) -> Reason:
    assert isinstance(outcome, Refusal)
    return outcome.reason


@pytest.mark.parametrize(
    ("key", "algorithm", "credentials"),
    [
        (SECRET, "HS256", AdminCredentials(jwt_secret=SECRET)),
        (rsa_key(), "RS256", AdminCredentials(jwt_public_key=public_pem(rsa_key()))),
        (ec_key(), "ES256", AdminCredentials(jwt_public_key=public_pem(ec_key()))),
        (SECRET, "HS256", BOTH),
        (rsa_key(), "RS256", BOTH),
    ],
)
def test_a_token_signed_by_hivesync_is_accepted(key: Any, algorithm: str, credentials: AdminCredentials) -> None:
    assert check(token(key, algorithm), credentials) == Admin("token")


@pytest.mark.parametrize("name", BAD_TOKENS)
def test_a_bad_token_is_refused_whatever_is_configured(name: str) -> None:
    for credentials in (
        BOTH,
        AdminCredentials(jwt_secret=SECRET),
        AdminCredentials(jwt_public_key=public_pem(rsa_key())),
        AdminCredentials(jwt_public_key=public_pem(ec_key()), jwt_secret=SECRET),
        AdminCredentials(api_key=API_KEY),
    ):
        outcome = check(BAD_TOKENS[name], credentials)
        assert isinstance(outcome, Refusal)
        assert outcome.status == 401
        assert outcome.challenge == 'Bearer realm="HiveSync Analytics", error="invalid_token"'


def test_a_public_key_is_never_taken_for_a_secret() -> None:
    pem = public_pem(rsa_key())
    for key in (pem, pem.strip(), pem.decode().replace("\n", "\r\n").encode()):
        confused = forged({"alg": "HS256", "typ": "JWT"}, claims(), key)
        assert reason(check(confused, AdminCredentials(jwt_public_key=pem))) is Reason.ALGORITHM
        assert reason(check(confused, BOTH)) is Reason.SIGNATURE


def test_each_key_has_one_algorithm() -> None:
    only_secret, only_key = AdminCredentials(jwt_secret=SECRET), AdminCredentials(jwt_public_key=public_pem(ec_key()))
    assert reason(check(token(SECRET * 2, "HS384"), AdminCredentials(jwt_secret=SECRET * 2))) is Reason.ALGORITHM
    assert reason(check(token(rsa_key(), "RS256"), only_secret)) is Reason.ALGORITHM
    assert reason(check(token(), only_key)) is Reason.ALGORITHM
    assert reason(check(token(rsa_key(), "RS384"), BOTH)) is Reason.ALGORITHM


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"exp": -LEEWAY_SECONDS + 10}, None),
        ({"exp": -LEEWAY_SECONDS - 1}, Reason.EXPIRED),
        ({"nbf": LEEWAY_SECONDS - 10}, None),
        ({"nbf": LEEWAY_SECONDS + 10}, Reason.NOT_YET_VALID),
        ({"iat": LEEWAY_SECONDS - 10}, None),
        ({"iat": LEEWAY_SECONDS + 10}, Reason.NOT_YET_VALID),
    ],
)
def test_clocks_may_differ_by_half_a_minute(changes: dict[str, int], expected: Reason | None) -> None:
    now = int(time.time())
    times: dict[str, Any] = {name: now + seconds for name, seconds in changes.items()}
    outcome = check(token(**times))
    assert outcome == Admin("token") if expected is None else reason(outcome) is expected


@pytest.mark.parametrize("seconds", [0, 3_600, 10**400])
def test_an_admin_knows_the_end_of_the_token(seconds: int) -> None:
    now = int(time.time())
    outcome = check(token(exp=now + seconds))
    assert isinstance(outcome, Admin)
    assert outcome.ends_at == (now + seconds + LEEWAY_SECONDS if seconds < 10**9 else 2**53 + LEEWAY_SECONDS)


def test_audience_and_issuer_are_checked_if_configured() -> None:
    asking = AdminCredentials(jwt_secret=SECRET, audience="analytics", issuer="hivesync")
    assert check(token(aud="anything", iss="anybody")) == Admin("token")
    assert check(token(aud=["analytics", "other"], iss="hivesync"), asking) == Admin("token")
    wrongs: list[dict[str, Any]] = [{}, {"aud": "analytics"}, {"iss": "hivesync"}, {"aud": "other", "iss": "hivesync"}]
    for wrong in wrongs:
        assert reason(check(token(**wrong), asking)) is Reason.CLAIMS
    assert reason(check(token(aud="analytics", iss="another"), asking)) is Reason.CLAIMS


@pytest.mark.parametrize(
    ("setting", "changes", "is_admin"),
    [
        ("scope=admin", {"scope": "admin"}, True),
        ("scope=admin", {"scope": "read admin write"}, True),
        ("scope=admin", {"scope": ["read", "admin"]}, True),
        ("scope=admin", {"scope": "administrator"}, False),
        ("scope=admin", {"scope": "Admin"}, False),
        ("scope=admin", {"scope": "not-admin"}, False),
        ("scope=admin", {"scope": ["administrator", "admin2"]}, False),
        ("scope=admin", {"scope": {"admin": True}}, False),
        ("scope=admin", {"scope": [["admin"]]}, False),
        ("scope=admin", {"scope": True}, False),
        ("scope=admin", {"scope": 1}, False),
        ("scope=admin", {"scope": "read\tadmin"}, False),
        ("scope=admin", {"scope": "read\nadmin"}, False),
        ("scope=admin", {"scope": "read\u00a0admin"}, False),
        ("scope=admin", {"scope": "read\x1fadmin\u3000"}, False),
        ("scope=admin", {"scope": ""}, False),
        ("scope=admin", {"scope": None}, False),
        ("scope=admin", {"scope": None, "scopes": "admin"}, False),
        ("roles=analytics:read", {"roles": ["analytics:read"], "scope": None}, True),
        ("role=a=b", {"role": "a=b"}, True),
        ("is_admin=true", {"is_admin": True}, True),
        ("is_admin=true", {"is_admin": False}, False),
        ("sub=7", {"sub": 7}, False),
    ],
)
def test_the_configured_claim_makes_an_admin(setting: str, changes: dict[str, Any], is_admin: bool) -> None:
    outcome = check(token(**changes), AdminCredentials(jwt_secret=SECRET, claim=setting))
    if is_admin:
        assert outcome == Admin("token")
    else:
        assert outcome == Refusal(Reason.NOT_ADMIN, bearer=True)


def test_a_valid_token_without_the_scope_is_403_an_expired_token_401() -> None:
    outcome = check(token(scope="user"))
    assert isinstance(outcome, Refusal)
    assert outcome.status == 403
    assert outcome.challenge == 'Bearer realm="HiveSync Analytics", error="insufficient_scope"'
    assert reason(check(token(scope="user", exp=1))) is Reason.EXPIRED


def test_a_numeric_subject_is_accepted() -> None:
    assert check(token(sub=7)) == Admin("token")


def test_a_token_signed_by_hivesync_is_no_guess() -> None:
    now = int(time.time())
    for held in (token(exp=now - 60), token(nbf=now + 60), token(scope="user"), token(exp=None)):
        outcome = check(held)
        assert isinstance(outcome, Refusal)
        assert not outcome.is_a_guess
    for name in ("tampered signature", "alg none", "truncated", "oversized", "not a token", "signed with another key"):
        outcome = check(BAD_TOKENS[name])
        assert isinstance(outcome, Refusal)
        assert outcome.is_a_guess, name


def test_only_the_api_key_is_accepted() -> None:
    authenticator = Authenticator(BOTH)
    assert authenticator.check(headers(("X-API-Key", API_KEY))) == Admin("api_key")
    for wrong in ("", " ", API_KEY[:-1], f"{API_KEY}x", API_KEY.upper(), "\xe9", "x" * 9000):
        assert isinstance(authenticator.check(headers(("X-API-Key", wrong))), Refusal)


def test_a_credential_is_not_hashed_beyond_its_limit() -> None:
    key = "k" * (CREDENTIAL_BYTES + 1)
    authenticator = Authenticator(AdminCredentials(api_key=key))
    assert authenticator.check_api_key(key.encode()) == Refusal(Reason.TOO_LARGE)
    assert Authenticator(AdminCredentials(api_key=key[:-1])).check_api_key(key[:-1].encode()) == Admin("api_key")


def test_an_api_key_may_have_any_letters() -> None:
    authenticator = Authenticator(AdminCredentials(api_key="clé"))
    assert authenticator.check([(b"x-api-key", "clé".encode())]) == Admin("api_key")


def test_without_a_configured_api_key_none_is_accepted() -> None:
    for credentials in (AdminCredentials(jwt_secret=SECRET), AdminCredentials(api_key=""), AdminCredentials()):
        for key in ("", "None", API_KEY):
            assert isinstance(Authenticator(credentials).check(headers(("X-API-Key", key))), Refusal)


def test_without_configured_credentials_none_is_accepted() -> None:
    for credentials in (AdminCredentials(), AdminCredentials(jwt_secret="", jwt_public_key=b"", api_key="")):
        authenticator = Authenticator(credentials)
        assert not authenticator.configured
        assert reason(authenticator.check_token(forged({"alg": "HS256"}, claims(), b"").encode())) is Reason.ALGORITHM


def test_authorization_takes_precedence() -> None:
    authenticator = Authenticator(BOTH)
    good, bad = f"Bearer {token()}", f"Bearer {BAD_TOKENS['expired']}"
    assert authenticator.check(headers(("Authorization", good), ("X-API-Key", "wrong"))) == Admin("token")
    assert reason(authenticator.check(headers(("Authorization", bad), ("X-API-Key", API_KEY)))) is Reason.EXPIRED
    assert reason(authenticator.check(headers(("X-API-Key", API_KEY), ("Authorization", "Basic x")))) is (
        Reason.MALFORMED
    )


def test_a_repeated_header_is_refused() -> None:
    authenticator = Authenticator(BOTH)
    good = f"Bearer {token()}"
    for twice in (
        (("Authorization", good), ("Authorization", good)),
        (("X-API-Key", API_KEY), ("X-API-Key", API_KEY)),
        (("X-API-Key", "wrong"), ("X-API-Key", API_KEY)),
    ):
        assert reason(authenticator.check(headers(*twice))) is Reason.DUPLICATED


@pytest.mark.parametrize("scheme", ["Bearer ", "bearer ", "BEARER  ", " Bearer "])
def test_the_scheme_is_read_in_any_case(scheme: str) -> None:
    assert Authenticator(BOTH).check(headers(("Authorization", f"{scheme}{token()}"))) == Admin("token")


@pytest.mark.parametrize(
    "value", ["", "Bearer", "Bearer ", "Basic YWRtaW46YWRtaW4=", "Basic {token}", "Token x", "{token}", "Bearer a b"]
)
def test_other_authorizations_are_refused(value: str) -> None:
    value = value.replace("{token}", token())
    outcome = Authenticator(BOTH).check(headers(("Authorization", value)))
    assert isinstance(outcome, Refusal)
    assert outcome.status == 401
    assert reason(outcome) is not Reason.MISSING


def test_no_header_is_no_credential() -> None:
    assert Authenticator(BOTH).check(headers(("Cookie", "a=b"))) == Refusal(Reason.MISSING)


def test_a_weak_secret_works_and_is_logged_once() -> None:
    with capture_logs() as events:
        authenticator = Authenticator(AdminCredentials(jwt_secret="short"))
        signed = forged({"alg": "HS256"}, claims(), b"short").encode()
        outcomes = [authenticator.check_token(signed) for _ in range(3)]
    assert outcomes == [Admin("token")] * 3
    assert events == [
        {
            "event": "admin.tokens.weak_secret",
            "bytes": 5,
            "recommended_bytes": 32,
            "log_level": "warning",
        }
    ]


@pytest.mark.parametrize(
    ("credentials", "variable"),
    [
        (AdminCredentials(jwt_secret=public_pem(rsa_key()).decode()), "HIVESYNC_ADMIN_JWT_SECRET"),
        (AdminCredentials(jwt_public_key=b"no key"), "HIVESYNC_ADMIN_JWT_PUBLIC_KEY_FILE"),
        (AdminCredentials(jwt_public_key=private_pem(rsa_key())), "HIVESYNC_ADMIN_JWT_PUBLIC_KEY_FILE"),
        (
            AdminCredentials(jwt_public_key=public_pem(ec.generate_private_key(ec.SECP384R1()))),
            "HIVESYNC_ADMIN_JWT_PUBLIC_KEY_FILE",
        ),
        (
            AdminCredentials(jwt_public_key=public_pem(ed25519.Ed25519PrivateKey.generate())),
            "HIVESYNC_ADMIN_JWT_PUBLIC_KEY_FILE",
        ),
    ],
)
def test_an_unusable_key_is_an_error_with_its_variable(credentials: AdminCredentials, variable: str) -> None:
    with pytest.raises(SettingsError, match=f"^{variable}: "):
        Authenticator(credentials)


def test_the_fingerprint_changes_with_every_credential() -> None:
    changed = [
        AdminCredentials(),
        AdminCredentials(jwt_secret="a"),
        AdminCredentials(api_key="a"),
        AdminCredentials(jwt_public_key=b"a"),
        AdminCredentials(claim="a=b"),
        AdminCredentials(audience="a"),
        AdminCredentials(issuer="a"),
        AdminCredentials(jwt_secret="a", api_key="b"),
        AdminCredentials(jwt_secret="ab", api_key=""),
        AdminCredentials(jwt_secret="", api_key="ab"),
    ]
    assert len({one.fingerprint() for one in changed}) == len(changed)
    assert BOTH.fingerprint() == BOTH.fingerprint()


def test_credentials_are_not_shown() -> None:
    assert SECRET not in repr(BOTH)
    assert API_KEY not in repr(BOTH)
