"""Authentication of requests: credentials, sessions and the rate limit put together.

    settings, state directory -> authentication (this) -> middleware (requests), login (credentials)

See docs/definitions.md#access.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from starlette.responses import Response
from starlette.types import Scope

from admin.access.login_codes import LoginCodes
from admin.access.origins import Origins, build_origins
from admin.access.rate_limit import RateLimit, client_address
from admin.access.sessions import COOKIE_PATH, SESSIONS_FILE, Session, Sessions, signing_key, stored_key
from admin.access.tokens import Admin, AdminCredentials, Authenticator, Refusal
from admin.problem import problem
from exporter.errors import SettingsError
from exporter.settings import Settings
from exporter.state import StateFile

_CREDENTIAL_HEADERS = (b"authorization", b"x-api-key")


@dataclass(frozen=True, slots=True)
class RateLimited:
    """Too many invalid credentials from that address: it has to wait."""

    seconds: int


@dataclass(frozen=True, slots=True)
class Access:
    """Credentials, sessions, login codes, the rate limit and the allowed origins."""

    authenticator: Authenticator
    sessions: Sessions
    rate_limit: RateLimit
    codes: LoginCodes
    origins: Origins

    def authenticate(self, scope: Scope) -> Admin | Refusal | RateLimited:
        """The sender of an HTTP request. Authorization or X-API-Key decide if present, otherwise the session's cookie:
        a session does not make up for an invalid credential.
        """
        headers = scope["headers"]
        if any(name in _CREDENTIAL_HEADERS for name, _ in headers):
            return self.limited("admin.access.refused", scope, self.authenticator.check(headers))
        return Admin("session") if any(self.sessions_of(scope)) else self.authenticator.check(())

    def sessions_of(self, scope: Scope) -> Iterator[Session]:
        """The sessions of a request's cookies."""
        return self.sessions.of(scope["headers"], https=self.origins.is_https(scope))

    def limited(self, event: str, scope: Scope, outcome: Admin | Refusal) -> Admin | Refusal | RateLimited:
        """The outcome of a check under the rate limit. It holds back invalid credentials alone: all of the world may be
        behind one address, and no credential can be guessed at any rate."""
        if isinstance(outcome, Admin):
            return outcome
        address = client_address(scope.get("client"))
        if outcome.is_a_guess:
            if seconds := self.rate_limit.retry_after(address):
                self.rate_limit.log(event, address, "too_many")
                return RateLimited(seconds)
            self.rate_limit.failed(address)
        self.rate_limit.log(event, address, outcome.reason)
        return outcome


def admin_credentials(settings: Settings) -> AdminCredentials:
    """The configured credentials. Raises SettingsError for a key file that cannot be read."""
    key_file = settings.admin_jwt_public_key_file
    try:
        public_key = key_file.read_bytes() if key_file else None
    except OSError as error:
        raise SettingsError(f"HIVESYNC_ADMIN_JWT_PUBLIC_KEY_FILE: cannot read {key_file}: {error.strerror}") from None
    return AdminCredentials(
        jwt_secret=settings.admin_jwt_secret.get_secret_value() if settings.admin_jwt_secret else None,
        jwt_public_key=public_key,
        claim=settings.admin_jwt_claim,
        audience=settings.admin_jwt_audience,
        issuer=settings.admin_jwt_issuer,
        api_key=settings.admin_api_key.get_secret_value() if settings.admin_api_key else None,
    )


def build_access(settings: Settings, state_directory: Path, check_state: Callable[[], None] = lambda: None) -> Access:
    """Access as configured. Raises SettingsError for a key that cannot be used."""
    credentials = admin_credentials(settings)
    return Access(
        Authenticator(credentials),
        Sessions(
            signing_key(stored_key(state_directory), credentials.fingerprint()),
            settings.admin_session_hours * 3600,
            time.time,
            StateFile(state_directory, SESSIONS_FILE, check_state),
            follows_token=settings.admin_session_follows_token,
        ),
        RateLimit(time.monotonic),
        LoginCodes(time.monotonic),
        build_origins(settings),
    )


def denied(outcome: Refusal | RateLimited) -> Response:
    """The response to a program: the remedy, and nothing about the reason."""
    if isinstance(outcome, RateLimited):
        return problem(429, detail="Too many invalid credentials.", headers={"Retry-After": str(outcome.seconds)})
    detail = "The token is not an admin token." if outcome.status == 403 else "An admin credential is required."
    return problem(outcome.status, detail=detail, headers={"WWW-Authenticate": outcome.challenge})


def cookie_path(scope: Scope) -> str:
    """The path of the cookie: that of the Analytics section, wherever it is mounted."""
    return scope.get("root_path", "").rstrip("/") or COOKIE_PATH
