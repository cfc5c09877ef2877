"""Forged, stolen and malformed admin tokens (JWT), and API keys in headers.

A token that only the holder of the right secret can make (expired, another audience) needs the secret in the
environment; all others are sent by a stranger too.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable, Sequence

from attack.findings import Attack, Finding, not_applicable, refused
from attack.target import SECTION, Instance
from attack.wire import ask

SUBJECT = "tokens"
PATH = f"{SECTION}/summary"
REFUSALS = (401, 403, 429, 431)

HEAD = {"alg": "HS256", "typ": "JWT"}
NO_SECRET = "the secret is not known (HIVESYNC_ADMIN_JWT_SECRET)"  # noqa: S105 - a message
NO_PUBLIC_KEY = "no public key is configured here (HIVESYNC_ADMIN_JWT_PUBLIC_KEY_FILE)"

Make = Callable[[Instance], str | None]
"""A token; None where it cannot be made."""


def claims(target: Instance, **changes: object) -> dict[str, object]:
    """The claims of an admin with these changes; None removes a claim."""
    now = int(time.time())
    content: dict[str, object] = {"sub": "attacker", "scope": "admin", "iat": now, "exp": now + 3600}
    content |= {name: value for name, value in (("aud", target.audience), ("iss", target.issuer)) if value}
    return {name: value for name, value in (content | changes).items() if value is not None}


def encoded(content: object) -> str:
    """A part of a token: JSON, or bytes as they are."""
    data = content if isinstance(content, bytes) else json.dumps(content).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def signed(head: object, payload: object, key: bytes | None, digest: str = "sha256") -> str:
    """A token signed by HMAC with this key, or not at all."""
    content = f"{encoded(head)}.{encoded(payload)}"
    return f"{content}.{encoded(hmac.digest(key, content.encode(), digest)) if key is not None else ''}"


def _by_stranger(key: bytes | None, **head: object) -> Make:
    return lambda target: signed(HEAD | head, claims(target), key)


def _by_holder(**changes: object) -> Make:
    """With the right secret and other claims."""
    return lambda target: _signed_rightly(target, claims(target, **changes))


def _signed_rightly(target: Instance, payload: object, head: object = HEAD, digest: str = "sha256") -> str | None:
    return signed(head, payload, target.jwt_secret.encode(), digest) if target.jwt_secret else None


def _changed(change: Callable[[Instance, str, str, str], str]) -> Make:
    """A valid token with a change."""

    def make(target: Instance) -> str | None:
        token = _signed_rightly(target, claims(target))
        return None if token is None else change(target, *token.split("."))

    return make


def _confused(key: Callable[[bytes], bytes]) -> Make:
    """The public key as the secret of HMAC."""
    return lambda target: signed(HEAD, claims(target), key(target.jwt_public_key)) if target.jwt_public_key else None


def _elsewhere(name: str) -> Make:
    """A header that names the attacker's server as the place of the key."""
    return lambda target: signed(
        HEAD | {name: f"{target.upstream.url}/keys" if target.upstream else "http://127.0.0.1:9/keys"},
        claims(target),
        b"k",
    )


def _duplicated(target: Instance) -> str | None:
    """The scope twice: of JSON's duplicate names the last counts, so that a filter that reads the first is fooled."""
    text = json.dumps(claims(target, scope=None))[:-1] + ', "scope": "admin", "scope": "user"}'
    return _signed_rightly(target, text.encode())


_HOLDER: Sequence[tuple[str, Make]] = [
    ("expired", lambda target: _by_holder(exp=int(time.time()) - 120)(target)),
    ("without an end", _by_holder(exp=None)),
    ("an end that is no number", _by_holder(exp="tomorrow")),
    ("an end of infinity", lambda target: _signed_rightly(target, b'{"scope": "admin", "exp": Infinity}')),
    ("not yet valid (nbf)", lambda target: _by_holder(nbf=int(time.time()) + 86_400)(target)),
    ("issued in the future (iat)", lambda target: _by_holder(iat=int(time.time()) + 86_400)(target)),
    ("without the scope", _by_holder(scope=None)),
    ("scope user", _by_holder(scope="user")),
    ("scope administrator, which begins like admin", _by_holder(scope="administrator")),
    ("scope ADMIN", _by_holder(scope="ADMIN")),
    ("scope user<TAB>admin, one word of OAuth", _by_holder(scope="user\tadmin")),
    ("scope {admin: true}", _by_holder(scope={"admin": True})),
    ("scope true", _by_holder(scope=True)),
    ("the scope twice, the last is user", _duplicated),
    ("HS512 with the right secret", lambda t: _signed_rightly(t, claims(t), {"alg": "HS512"}, "sha512")),
    ("a list of algorithms", lambda t: _signed_rightly(t, claims(t), {"alg": ["HS256", "none"]})),
    ("an unknown critical header", lambda t: _signed_rightly(t, claims(t), HEAD | {"crit": ["x"], "x": 1})),
    ("a payload that is no object", lambda t: _signed_rightly(t, ["scope", "admin"])),
    ("8 KB of padding", lambda t: _signed_rightly(t, claims(t, padding="x" * 9_000))),
    ("the signature removed", _changed(lambda _, head, payload, __: f"{head}.{payload}.")),
    ("the last part removed", _changed(lambda _, head, payload, __: f"{head}.{payload}")),
    ("the signature cut short", _changed(lambda _, head, payload, mac: f"{head}.{payload}.{mac[:-6]}")),
    ("the payload changed", _changed(lambda t, head, _, mac: f"{head}.{encoded(claims(t, sub='other'))}.{mac}")),
    ("the header changed to none", _changed(lambda _, __, payload, mac: f"{encoded({'alg': 'none'})}.{payload}.{mac}")),
    ("a fourth part", _changed(lambda _, head, payload, mac: f"{head}.{payload}.{mac}.{mac}")),
    ("padding after the signature", _changed(lambda _, head, payload, mac: f"{head}.{payload}.{mac}=")),
]
_AUDIENCE: Sequence[tuple[str, str, Make]] = [
    ("another audience", "audience", _by_holder(aud="another")),
    ("no audience", "audience", _by_holder(aud=None)),
    ("another issuer", "issuer", _by_holder(iss="https://evil.example")),
    ("no issuer", "issuer", _by_holder(iss=None)),
]
_STRANGER: Sequence[tuple[str, Make]] = [
    *((f"alg {alg}, unsigned", _by_stranger(None, alg=alg)) for alg in ("none", "None", "NONE", "nOnE", "", None)),
    ("alg none, with a signature", _by_stranger(b"x", alg="none")),
    *(
        (f"signed with {name}", _by_stranger(key))
        for name, key in (
            ("an empty secret", b""),
            ("'secret'", b"secret"),
            ("'changeme'", b"changeme"),
            ("a NUL", b"\x00"),
            ("32 zero bytes", bytes(32)),
            ("'None'", b"None"),
        )
    ),
    ("kid of a path, signed with its empty content", _by_stranger(b"", kid="../../../../../../dev/null")),
    ("kid of an SQL query", _by_stranger(b"k", kid="x' UNION SELECT 'k'--")),
    ("kid of a command", _by_stranger(b"k", kid="|/usr/bin/id")),
    ("a key in the header (jwk)", _by_stranger(b"k", jwk={"kty": "oct", "k": encoded(b"k")})),
    ("RS256, signed with a secret", _by_stranger(b"secret", alg="RS256")),
    (
        "ES256 with a signature of zeros",
        lambda t: f"{encoded({'alg': 'ES256'})}.{encoded(claims(t))}.{encoded(bytes(64))}",
    ),
    ("no JSON in the header", lambda t: f"{encoded(b'{')}.{encoded(claims(t))}.{encoded(b'x')}"),
    ("a deeply nested header", lambda t: f"{encoded(b'[' * 3000)}.{encoded(claims(t))}.{encoded(b'x')}"),
    ("three empty parts", lambda _: ".."),
    ("no token", lambda _: "admin"),
]
_CONFUSED: Sequence[tuple[str, Make]] = [
    ("the public key as a secret", _confused(lambda pem: pem)),
    ("the public key as a secret, without its last line end", _confused(bytes.strip)),
    ("the public key in DER's text as a secret", _confused(lambda pem: b"".join(pem.strip().splitlines()[1:-1]))),
    ("the hash of the public key as a secret", _confused(lambda pem: hashlib.sha256(pem).digest())),
]


def _sent(make: Make, missing: str) -> Callable[[Instance], Finding]:
    def run(target: Instance) -> Finding:
        token = make(target)
        if token is None:
            return not_applicable(missing)
        bearer = ("Authorization", f"Bearer {token}")
        return refused(ask(target.admin, PATH, headers=[bearer], source=target.source()), REFUSALS)

    return run


def _for(part: str, make: Make) -> Make:
    return lambda target: make(target) if getattr(target, part) else None


def _fetched(name: str) -> Callable[[Instance], Finding]:
    def run(target: Instance) -> Finding:
        if target.upstream is None:
            return not_applicable("the instance does not use a server of the attacker")
        target.upstream.take()
        finding = _sent(_elsewhere(name), "")(target)
        asked = target.upstream.take()
        return finding if not asked else refused(None, ())

    return run


def _headers(*headers: tuple[str, str]) -> Callable[[Instance], Finding]:
    def run(target: Instance) -> Finding:
        filled = [(name, value.replace("{key}", target.api_key)) for name, value in headers]
        if filled != list(headers) and not target.api_key:
            return not_applicable("the API key is not known (HIVESYNC_ADMIN_API_KEY)")
        return refused(ask(target.admin, PATH, headers=filled, source=target.source()), REFUSALS)

    return run


_HEADERS: Sequence[tuple[str, tuple[tuple[str, str], ...]]] = [
    ("no credential", ()),
    ("an empty API key", (("X-API-Key", ""),)),
    ("a guessed API key", (("X-API-Key", "admin"),)),
    ("a star as API key", (("X-API-Key", "*"),)),
    ("an API key of 8 KB", (("X-API-Key", "k" * 9_000),)),
    ("the right API key twice", (("X-API-Key", "{key}"), ("X-API-Key", "{key}"))),
    ("the right API key after a wrong token", (("Authorization", "Bearer x.y.z"), ("X-API-Key", "{key}"))),
    ("the right API key and a word", (("X-API-Key", "{key} x"),)),
    ("the right API key as Basic", (("Authorization", "Basic {key}"),)),
    ("the right API key as a token", (("Authorization", "Bearer {key}"),)),
    ("two Authorization headers", (("Authorization", "Bearer a.b.c"), ("Authorization", "Bearer d.e.f"))),
    ("an empty Authorization", (("Authorization", ""),)),
    *(
        (f"{name}: admin", ((name, "admin"),))
        for name in (
            "X-WEBAUTH-USER",
            "X-Remote-User",
            "Remote-User",
            "X-Forwarded-User",
            "X-Auth-Request-User",
            "X-Admin",
            "X-Original-URL",
            "X-Rewrite-URL",
            "X-User-Role",
        )
    ),
]

ATTACKS = [
    *(Attack(SUBJECT, name, _headers(*headers)) for name, headers in _HEADERS),
    *(Attack(SUBJECT, name, _sent(make, NO_SECRET)) for name, make in (*_STRANGER, *_HOLDER)),
    *(
        Attack(SUBJECT, name, _sent(_for(part, make), f"no {part} is known, or the secret is not"))
        for name, part, make in _AUDIENCE
    ),
    *(Attack(SUBJECT, name, _sent(make, NO_PUBLIC_KEY)) for name, make in _CONFUSED),
    *(Attack(SUBJECT, f"{name} of the attacker's server", _fetched(name)) for name in ("jku", "x5u")),
]
