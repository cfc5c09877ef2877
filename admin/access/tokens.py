"""Admin tokens (JWT signed by HiveSync) and the admin API key. See docs/definitions.md#access.

    authentication, login -> tokens (this) -> Admin or Refusal

Checks do no I/O and keep no state. The algorithm of a token follows from the configured keys, one algorithm each, and
never from the token's header. So no token can pass a public key off as an HMAC secret.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal

import jwt
import structlog
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from jwt.algorithms import HMACAlgorithm

from exporter.errors import SettingsError

_log = structlog.get_logger()

LEEWAY_SECONDS = 30
"""The largest accepted difference between HiveSync's clock and this one."""

CREDENTIAL_BYTES = 8 * 1024
"""The largest token or key that is checked. HiveSync's tokens have a few hundred bytes."""

SECRET_BYTES = 32
"""The least length of a secret for HS256 (RFC 7518, section 3.2)."""

RSA_BITS = 2048
"""The least size of a key for RS256 (RFC 7518, section 3.3)."""

REALM = "HiveSync Analytics"

Headers = Iterable[tuple[bytes, bytes]]
"""ASGI's headers: names in lower case."""

Via = Literal["token", "api_key", "code", "session"]


@dataclass(frozen=True, slots=True)
class Admin:
    """An admin, by the kind of credential; the identity is not needed. `ends_at`: the end of a token (Unix seconds),
    None for a credential without one."""

    via: Via
    ends_at: float | None = field(default=None, compare=False)


class Reason(StrEnum):
    """The reason of a refusal: for the log, never for the response."""

    MISSING = "missing"
    MALFORMED = "malformed"
    DUPLICATED = "duplicated"
    TOO_LARGE = "too_large"
    ALGORITHM = "algorithm"
    SIGNATURE = "signature"
    API_KEY = "api_key"
    CODE = "code"
    EXPIRED = "expired"
    NOT_YET_VALID = "not_yet_valid"
    CLAIMS = "claims"
    NOT_ADMIN = "not_admin"


_SIGNED = frozenset({Reason.EXPIRED, Reason.NOT_YET_VALID, Reason.CLAIMS, Reason.NOT_ADMIN})


@dataclass(frozen=True, slots=True)
class Refusal:
    """A refusal; `bearer`: of a bearer token, which the response then names (RFC 6750)."""

    reason: Reason
    bearer: bool = False

    @property
    def status(self) -> int:
        """403 for a valid token without the admin claim, else 401."""
        return 403 if self.reason is Reason.NOT_ADMIN else 401

    @property
    def is_a_guess(self) -> bool:
        """Whether the credential may be a guess. A token that HiveSync signed is none: a program whose token has just
        expired is not locked out."""
        return self.reason is not Reason.MISSING and self.reason not in _SIGNED

    @property
    def challenge(self) -> str:
        """The WWW-Authenticate header, the same for every invalid token."""
        challenge = f'Bearer realm="{REALM}"'
        if self.status == 403:
            return f'{challenge}, error="insufficient_scope"'
        return f'{challenge}, error="invalid_token"' if self.bearer else challenge


@dataclass(frozen=True, slots=True)
class AdminCredentials:
    """The configured credentials; `claim` as in `scope=admin`. An empty secret or key counts as none."""

    jwt_secret: str | None = field(default=None, repr=False)
    jwt_public_key: bytes | None = None
    claim: str = "scope=admin"
    audience: str | None = None
    issuer: str | None = None
    api_key: str | None = field(default=None, repr=False)

    @property
    def any(self) -> bool:
        """Whether there is any credential."""
        return bool(self.jwt_secret or self.jwt_public_key or self.api_key)

    def fingerprint(self) -> bytes:
        """A hash of all of them, which changes with each."""
        digest = hashlib.sha256()
        for part in (self.jwt_secret, self.jwt_public_key, self.claim, self.audience, self.issuer, self.api_key):
            content = part.encode() if isinstance(part, str) else part
            digest.update(b"-" if content is None else b"%d:%b" % (len(content), content))
        return digest.digest()


class Authenticator:
    """Checks the credentials in a request's headers."""

    def __init__(self, credentials: AdminCredentials) -> None:
        """Raises SettingsError for a key that cannot be used; a weak key is logged."""
        self.configured = credentials.any
        self._keys: dict[str, Any] = {}
        self._weak = False
        if credentials.jwt_secret:
            self._keys["HS256"] = self._secret(credentials.jwt_secret)
        if credentials.jwt_public_key:
            algorithm, key = self._public_key(credentials.jwt_public_key)
            self._keys[algorithm] = key
        self._api_key = hashlib.sha256(credentials.api_key.encode()).digest() if credentials.api_key else None
        self._claim, _, self._value = credentials.claim.partition("=")
        self._audience, self._issuer = credentials.audience, credentials.issuer

    def check(self, headers: Headers) -> Admin | Refusal:
        """Check Authorization if present, else X-API-Key; another credential does not make up for an invalid one.
        `Reason.MISSING`: neither is present. A header that is sent twice is invalid."""
        authorization: list[bytes] = []
        api_keys: list[bytes] = []
        for name, value in headers:
            if name == b"authorization":
                authorization.append(value)
            elif name == b"x-api-key":
                api_keys.append(value)
        if len(authorization) > 1 or (not authorization and len(api_keys) > 1):
            return Refusal(Reason.DUPLICATED, bearer=bool(authorization))
        if authorization:
            scheme, _, token = authorization[0].strip().partition(b" ")
            if scheme.lower() != b"bearer":
                return Refusal(Reason.MALFORMED)
            return self.check_token(token.strip())
        if api_keys:
            return self.check_api_key(api_keys[0])
        return Refusal(Reason.MISSING)

    def check_api_key(self, given: bytes) -> Admin | Refusal:
        """Compare in constant time, whatever the length of the key."""
        if len(given) > CREDENTIAL_BYTES:
            return Refusal(Reason.TOO_LARGE)
        same = hmac.compare_digest(hashlib.sha256(given).digest(), self._api_key or b"")
        return Admin("api_key") if same else Refusal(Reason.API_KEY)

    def check_token(self, token: bytes) -> Admin | Refusal:
        """Check a JWT in compact form: unexpired, signed with a configured key, with the admin claim."""
        if len(token) > CREDENTIAL_BYTES:
            return Refusal(Reason.TOO_LARGE, bearer=True)
        if not _COMPACT.fullmatch(token):
            return Refusal(Reason.MALFORMED, bearer=True)
        reason = Reason.ALGORITHM
        for algorithm, key in self._keys.items():
            claims = self._verified(token, algorithm, key)
            if isinstance(claims, Mapping):
                if _holds(claims.get(self._claim), self._value):
                    return Admin("token", float(min(int(claims["exp"]), _LAST_SECOND) + LEEWAY_SECONDS))
                return Refusal(Reason.NOT_ADMIN, bearer=True)
            if claims is not Reason.ALGORITHM:
                reason = claims
        return Refusal(reason, bearer=True)

    def _verified(self, token: bytes, algorithm: str, key: Any) -> Mapping[str, Any] | Reason:
        try:
            with warnings.catch_warnings():
                if self._weak:  # logged once, with the key
                    warnings.simplefilter("ignore", jwt.InsecureKeyLengthWarning)
                return jwt.decode(
                    token,
                    key,
                    algorithms=[algorithm],
                    audience=self._audience,
                    issuer=self._issuer,
                    leeway=LEEWAY_SECONDS,
                    options={
                        "require": ["exp"],
                        "verify_aud": self._audience is not None,
                        "verify_sub": False,  # ids are opaque, and may be numbers
                        "verify_jti": False,
                    },
                )
        except jwt.InvalidAlgorithmError:
            return Reason.ALGORITHM
        except jwt.InvalidSignatureError:
            return Reason.SIGNATURE
        except jwt.ExpiredSignatureError:
            return Reason.EXPIRED
        except jwt.ImmatureSignatureError:
            return Reason.NOT_YET_VALID
        except (
            jwt.InvalidAudienceError,
            jwt.InvalidIssuerError,
            jwt.InvalidIssuedAtError,
            jwt.MissingRequiredClaimError,
        ):
            return Reason.CLAIMS
        except jwt.PyJWTError:
            return Reason.MALFORMED

    def _secret(self, secret: str) -> bytes:
        try:
            key = HMACAlgorithm(HMACAlgorithm.SHA256).prepare_key(secret)
        except jwt.InvalidKeyError:
            raise SettingsError(
                "HIVESYNC_ADMIN_JWT_SECRET: holds a key pair's key; set HIVESYNC_ADMIN_JWT_PUBLIC_KEY_FILE to its file"
            ) from None
        if len(key) < SECRET_BYTES:
            self._weak = True
            _log.warning("admin.tokens.weak_secret", bytes=len(key), recommended_bytes=SECRET_BYTES)
        return key

    def _public_key(self, pem: bytes) -> tuple[str, RSAPublicKey | EllipticCurvePublicKey]:
        try:
            key = load_pem_public_key(pem)
        except ValueError:
            raise _unusable_key("holds no public key (PEM)") from None
        if isinstance(key, RSAPublicKey):
            if key.key_size < RSA_BITS:
                self._weak = True
                _log.warning("admin.tokens.weak_key", bits=key.key_size, recommended_bits=RSA_BITS)
            return "RS256", key
        if isinstance(key, EllipticCurvePublicKey) and isinstance(key.curve, SECP256R1):
            return "ES256", key
        raise _unusable_key("should be an RSA key (RS256) or a key on the curve P-256 (ES256)")


_LAST_SECOND = 2**53
"""The last second that a float holds exactly; a token that ends later never ends."""

_COMPACT = re.compile(rb"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*")


def _holds(claim: object, value: str) -> bool:
    """Whether a claim is that value, or a list or a string of words with it, separated by spaces alone (RFC 6749,
    section 3.3). JSON's true is written `true`."""
    if isinstance(claim, bool):
        return claim and value == "true"
    if isinstance(claim, str):
        return value in claim.split(" ")
    return isinstance(claim, list) and value in claim


def _unusable_key(reason: str) -> SettingsError:
    return SettingsError(f"HIVESYNC_ADMIN_JWT_PUBLIC_KEY_FILE: {reason}")
