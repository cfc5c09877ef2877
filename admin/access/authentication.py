"""What is needed to say who may come in, in one place: the door asks it about requests, the login about credentials.

settings, state directory -> access (this) -> door, login
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from starlette.responses import Response
from starlette.types import Scope

from admin.access.login_codes import LoginCodes
from admin.access.origins import Origins
from admin.access.rate_limit import Attempts, client_address
from admin.access.sessions import COOKIE_PATH, REVOKED_FILE, Sessions, signing_key, stored_key
from admin.access.tokens import Admin, AdminCredentials, Authenticator, Refusal
from admin.problem import problem
from exporter.errors import SettingsError
from exporter.settings import Settings
from exporter.state import StateFile

_CREDENTIAL_HEADERS = (b"authorization", b"x-api-key")


@dataclass(frozen=True, slots=True)
class TooMany:
    """So many wrong credentials came from that address that it has to wait."""

    seconds: int


@dataclass(frozen=True, slots=True)
class Access:
    """Credentials, sessions, codes, and how often somebody may be wrong."""

    authenticator: Authenticator
    sessions: Sessions
    attempts: Attempts
    codes: LoginCodes
    origins: Origins

    def admit(self, scope: Scope) -> Admin | Refusal | TooMany:
        """Who sent an HTTP request. Authorization or X-API-Key decide where they are sent; only without both does the
        session's cookie: a bad credential is not made good by a session. Whoever has a session does not have to wait.
        """
        headers = scope["headers"]
        session = self.sessions.of(headers)
        if not any(name in _CREDENTIAL_HEADERS for name, _ in headers):
            return Admin("session") if session else self.authenticator.check(())
        address = client_address(scope.get("client"))
        if session is None and (seconds := self.attempts.seconds_to_wait(address)):
            self.attempts.log("admin.access.refused", address, "too_many")
            return TooMany(seconds)
        outcome = self.authenticator.check(headers)
        if isinstance(outcome, Refusal):
            self.refused("admin.access.refused", address, outcome)
        return outcome

    def refused(self, event: str, address: str, refusal: Refusal) -> None:
        """Count and log that a credential was not good."""
        if refusal.is_a_guess:
            self.attempts.failed(address)
        self.attempts.log(event, address, refusal.reason)


def build_access(settings: Settings, state_directory: Path) -> Access:
    """Everything as it is configured. Raises SettingsError where a key cannot be used."""
    key_file = settings.admin_jwt_public_key_file
    try:
        public_key = key_file.read_bytes() if key_file else None
    except OSError as error:
        raise SettingsError(f"HIVESYNC_ADMIN_JWT_PUBLIC_KEY_FILE: cannot read {key_file}: {error.strerror}") from None
    credentials = AdminCredentials(
        jwt_secret=settings.admin_jwt_secret.get_secret_value() if settings.admin_jwt_secret else None,
        jwt_public_key=public_key,
        claim=settings.admin_jwt_claim,
        audience=settings.admin_jwt_audience,
        issuer=settings.admin_jwt_issuer,
        api_key=settings.admin_api_key.get_secret_value() if settings.admin_api_key else None,
    )
    return Access(
        Authenticator(credentials),
        Sessions(
            signing_key(stored_key(state_directory), credentials.fingerprint()),
            settings.admin_session_hours * 3600,
            time.time,
            StateFile(state_directory, REVOKED_FILE),
        ),
        Attempts(time.monotonic),
        LoginCodes(time.monotonic),
        Origins(settings.admin_origins),
    )


def denied(outcome: Refusal | TooMany) -> Response:
    """The answer for a program: what to do about it, and nothing of how close it was."""
    if isinstance(outcome, TooMany):
        return problem(429, detail="Too many wrong credentials.", headers={"Retry-After": str(outcome.seconds)})
    detail = "This is not an admin's token." if outcome.status == 403 else "An admin's credential is needed."
    return problem(outcome.status, detail=detail, headers={"WWW-Authenticate": outcome.challenge})


def cookie_path(scope: Scope) -> str:
    """Where the cookie is sent: to the Analytics section, wherever that is mounted."""
    return scope.get("root_path", "").rstrip("/") or COOKIE_PATH
