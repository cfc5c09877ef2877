"""The Analytics section: its credentials, a token that is to be tried, and its public address."""

from __future__ import annotations

import json
import re
from base64 import urlsafe_b64decode
from collections.abc import Mapping
from typing import Any

from admin.access.authentication import admin_credentials
from admin.access.middleware import LOGIN
from admin.access.tokens import RSA_BITS, SECRET_BYTES, Admin, Authenticator, Reason
from exporter.addresses import WILDCARDS, reachable
from exporter.doctor.findings import Finding, Findings, check, listed, look, ok, word, wrong
from exporter.doctor.installation import Installation, setting
from exporter.setting_types import GOOD_KEY_BYTES, NEW_KEY
from exporter.settings import PREFIX
from exporter.sources.web import Answer, NoAnswer, fetch
from exporter.urls import InvalidUrl, read_web
from presentation.panels import ANALYTICS_PATH

COMMON = ("secret", "changeme", "password", "admin", "default", "test", "example", "hivesync", "supersecret", "jwt")
_COMMON_PARTS = re.compile(r"[^a-z0-9]|" + "|".join(sorted(COMMON, key=len, reverse=True)))
LEAST_UNCOMMON = 6
"""Characters that a secret should have besides common words and punctuation."""

ADMIN_CLAIMS = ("scope", "tier", "role", "roles", "is_admin", "admin", "groups")
"""Claims whose value says that a user is an admin, and nothing else of the user."""


@check("admin.credentials")
def credentials(installation: Installation) -> Findings:
    """A credential is set, and each is strong enough not to be guessed."""
    settings = installation.settings
    given = admin_credentials(settings)
    if not given.any:
        mend = f"{setting('admin_jwt_secret', '...')}  # HiveSync's; or HIVESYNC_ADMIN_API_KEY of: {NEW_KEY}"
        return [look("none is set: the Analytics section answers 503 to everyone", mend)]
    Authenticator(given)  # raises SettingsError for a key that cannot be used
    findings: list[Finding] = []
    if given.jwt_secret:
        findings += _strength("ADMIN_JWT_SECRET", given.jwt_secret, SECRET_BYTES)
    if given.api_key:
        findings += _strength("ADMIN_API_KEY", given.api_key, GOOD_KEY_BYTES)
    if given.jwt_public_key and (bits := _rsa_bits(given.jwt_public_key)) and bits < RSA_BITS:
        mend = f"openssl genrsa -out private.pem {RSA_BITS}  # in HiveSync, and its public key here"
        findings.append(look(f"ADMIN_JWT_PUBLIC_KEY_FILE: RSA with {bits} bits, fewer than {RSA_BITS}", mend))
    return findings or [ok("strong")]


def _strength(name: str, secret: str, least: int) -> list[Finding]:
    renew = f"{PREFIX}{name}=$({NEW_KEY})" + ("  # and the same in HiveSync" if "JWT" in name else "")
    if len(_COMMON_PARTS.sub("", secret.lower())) < LEAST_UNCOMMON or len(set(secret)) < 5:
        return [wrong(f"{name} can be guessed at once", renew)]
    if len(secret.encode()) < least:
        return [look(f"{name} has {len(secret.encode())} bytes, fewer than {least}", renew)]
    return []


def _rsa_bits(pem: bytes) -> int | None:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    key = load_pem_public_key(pem)
    return key.key_size if isinstance(key, RSAPublicKey) else None


_WHY: Mapping[Reason, tuple[str, str]] = {
    Reason.MALFORMED: (
        "it is no JWT in compact form, or its header or claims cannot be read",
        "--token eyJ...  # the whole token, without Bearer",
    ),
    Reason.TOO_LARGE: ("it is longer than any token of HiveSync's", "--token eyJ...  # the token alone"),
    Reason.ALGORITHM: (
        "it is signed with another algorithm than the configured key is for",
        "HIVESYNC_ADMIN_JWT_SECRET=...  # for HS256; HIVESYNC_ADMIN_JWT_PUBLIC_KEY_FILE=... for RS256 and ES256",
    ),
    Reason.SIGNATURE: (
        "it is signed with another secret or key",
        "HIVESYNC_ADMIN_JWT_SECRET=...  # HiveSync's own JWT_SECRET",
    ),
    Reason.EXPIRED: ("it has expired", "--token $(a token of a new login to HiveSync)"),
    Reason.NOT_YET_VALID: (
        "it is not valid yet: nbf or iat is in the future",
        "timedatectl set-ntp true  # here and on HiveSync's machine",
    ),
    Reason.CLAIMS: (
        "it has no exp, or its aud or iss is another than configured",
        "HIVESYNC_ADMIN_JWT_AUDIENCE=  # and HIVESYNC_ADMIN_JWT_ISSUER=: empty, or as in the token",
    ),
}


@check("admin.token")
def token(installation: Installation) -> Findings:
    """The token of --token would be let in."""
    if installation.token is None:
        return []
    given = admin_credentials(installation.settings)
    if not (given.jwt_secret or given.jwt_public_key):
        return [
            wrong(
                "no token is let in: no secret and no key is set", setting("admin_jwt_secret", "...") + "  # HiveSync's"
            )
        ]
    outcome = Authenticator(given).check_token(installation.token.strip().encode())
    if isinstance(outcome, Admin):
        return [ok("would be let in, as an admin's")]
    if outcome.reason is Reason.NOT_ADMIN:
        return [_not_admin(installation)]
    why, mend = _WHY.get(outcome.reason, (f"refused: {outcome.reason}", "see docs/definitions.md, Access"))
    return [wrong(f"would not be let in: {why}", mend)]


def _not_admin(installation: Installation) -> Finding:
    claims = _claims(installation.token or "")
    wanted = installation.settings.admin_jwt_claim
    found = f"would not be let in: valid, but without {wanted}; its claims are {listed(word(name) for name in claims)}"
    for name in ADMIN_CLAIMS:
        value = claims.get(name)
        values = value if isinstance(value, list) else str(value).split() if isinstance(value, str) else [value]
        admins = [
            str(each).lower() if each is True else str(each)
            for each in values
            if "admin" in str(each).lower() or each is True
        ]
        if name in claims and admins and word(admins[0]) == admins[0]:
            return wrong(found, setting("admin_jwt_claim", f"{name}={admins[0]}"))
    return wrong(found, f"{setting('admin_jwt_claim', 'NAME=VALUE')}  # of an admin's token; or log in as an admin")


def _claims(text: str) -> dict[str, Any]:
    part = text.split(".")[1]
    content = json.loads(urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    return content if isinstance(content, dict) else {}


def _public(installation: Installation) -> str | None:
    """Return the public origin: of --public-url, or of the settings."""
    given = installation.public_url or installation.settings.public_url
    return str(given).rstrip("/") if given else next(iter(installation.settings.admin_origins), None)


@check("admin.public", seconds=6)
async def public(installation: Installation) -> Findings:
    """Through the public URL, the section answers, sees its own Host and https, and lets nothing out without a
    credential."""
    url = _public(installation)
    if url is None:
        return []
    try:
        origin = read_web(url).origin
    except InvalidUrl as error:
        return [wrong(f"--public-url {error}", "--public-url https://admin.example")]
    try:
        page = await fetch(origin + ANALYTICS_PATH + LOGIN.lstrip("/"), seconds=3)
        summary = await fetch(f"{origin}{ANALYTICS_PATH}summary", seconds=3)
        metrics = await fetch(f"{origin}/metrics", seconds=3)
        login = await fetch(
            origin + ANALYTICS_PATH + LOGIN.lstrip("/"),
            method="POST",
            headers={"origin": origin, "content-type": "application/json"},
            content=b"{}",  # no credential, and so no attempt that counts
            seconds=3,
        )
    except NoAnswer as error:
        return [wrong(f"{origin} does not answer: {error.kind}", "forward /admin/analytics/ to HIVESYNC_ADMIN_LISTEN")]
    return _of_answers(installation, origin, page, summary, metrics, login)


LOCATION = """\
location /admin/analytics/ {{
    proxy_pass {scheme}://{address};
    proxy_set_header Host $http_host;
    proxy_set_header X-Forwarded-For $remote_addr;
    proxy_set_header X-Forwarded-Proto $scheme;
}}"""
"""nginx' forwarding to the admin port, as in docs/operating.md."""


def _of_answers(
    installation: Installation, origin: str, page: Answer, summary: Answer, metrics: Answer, login: Answer
) -> list[Finding]:
    listen = installation.settings.admin_listen
    findings: list[Finding] = []
    if page.status != 200 or b"HiveSync" not in page.body:
        block = LOCATION.format(scheme=installation.scheme("admin"), address=reachable(listen))
        return [wrong(f"{origin}{ANALYTICS_PATH} does not lead to the section (status {page.status})", block)]
    if summary.status == 200:
        findings.append(
            wrong(
                "values are answered without a credential: a proxy adds one",
                "remove proxy_set_header Authorization and X-API-Key",
            )
        )
    if metrics.status == 200 and b"hivesync_" in metrics.body:
        findings.append(look("/metrics is public", "location = /metrics { return 404; }"))
    if login.status == 403:
        mend = f"proxy_set_header Host $http_host;\n(or {setting('admin_origins', origin)})"
        findings.append(wrong("the proxy changes the Host header: every login is refused as of another origin", mend))
    if origin.startswith("https://"):
        if "strict-transport-security" not in page.headers:
            mend = (
                "proxy_set_header X-Forwarded-Proto $scheme;\n"
                "(and the proxy's address in HIVESYNC_ADMIN_TRUSTED_PROXIES)"
            )
            findings.append(
                wrong("the section does not see that its clients use https: its cookie is sent over http too", mend)
            )
    elif read_web(origin).place.host not in ("127.0.0.1", "localhost", "::1"):
        findings.append(
            look(
                "the public URL is http: credentials pass the network unencrypted",
                f"--public-url https://{read_web(origin).place}",
            )
        )
    return findings or [ok(f"{origin}: Host, scheme and credentials as they should be")]


@check("admin.ports")
def ports(installation: Installation) -> Findings:
    """No port is open to other machines by mistake."""
    findings: list[Finding] = []
    for name, what in (("metrics_listen", "/metrics"), ("admin_listen", "the Analytics section")):
        address = getattr(installation.settings, name)
        config = installation.ports.get(name.removesuffix("_listen"))
        if address.host in WILDCARDS and config is not None and config.scheme == "https":
            if name == "metrics_listen" and not (config.has_passwords or config.needs_certificate):
                mend = f"basic_auth_users:  # in {config.file}\n  prometheus: HASH  # of: htpasswd -nBC 10 prometheus"
                findings.append(look(f"{what} is encrypted, and open to every machine of its networks", mend))
        elif address.host in WILDCARDS and config is not None and config.has_passwords:
            mend = f"tls_server_config:  # in {config.file}\n  cert_file: server.crt\n  key_file: server.key"
            findings.append(look(f"{what}: its passwords pass the network unencrypted", mend))
        elif address.host in WILDCARDS:
            mend = f"{setting(name, reachable(address))}  # or the address of the one network that needs it"
            findings.append(look(f"{what} listens on every interface of this machine, unencrypted", mend))
    return findings or [ok("on chosen addresses, or guarded by a web configuration")]


CHECKS = (credentials, token, public, ports)
