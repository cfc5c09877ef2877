"""The file of `--web.config.file`, read and checked: the format of exporter-toolkit 0.16.

`port.py` reads it at the start and after a change. No message has a value of the file, which holds secrets.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, ValidationError
from pydantic_core import ErrorDetails

from exporter.errors import SettingsError

HEADERS: Mapping[str, tuple[str, ...]] = {
    "Strict-Transport-Security": (),
    "X-Content-Type-Options": ("nosniff",),
    "X-Frame-Options": ("deny", "sameorigin"),
    "X-XSS-Protection": (),
    "Content-Security-Policy": (),
}
"""The headers that can be set, with their values where these are few."""

CIPHERS: Mapping[str, str] = {
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA": "ECDHE-ECDSA-AES128-SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA": "ECDHE-ECDSA-AES256-SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA": "ECDHE-RSA-AES128-SHA",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA": "ECDHE-RSA-AES256-SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256": "ECDHE-ECDSA-AES128-GCM-SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384": "ECDHE-ECDSA-AES256-GCM-SHA384",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256": "ECDHE-RSA-AES128-GCM-SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384": "ECDHE-RSA-AES256-GCM-SHA384",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-RSA-CHACHA20-POLY1305",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-ECDSA-CHACHA20-POLY1305",
    "TLS_AES_128_GCM_SHA256": "",
    "TLS_AES_256_GCM_SHA384": "",
    "TLS_CHACHA20_POLY1305_SHA256": "",
}
"""OpenSSL's name of each cipher suite of Go's; those of TLS 1.3 are always on, in Go and in Python."""

CURVES = {"CurveP256": "prime256v1", "CurveP384": "secp384r1", "CurveP521": "secp521r1", "X25519": "X25519"}

BCRYPT = re.compile(r"\$2[aby]\$(0[4-9]|[12][0-9]|3[01])\$[./A-Za-z0-9]{53}")

_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h)")


def _read_duration(value: object) -> object:
    """Seconds from Go's form: `1s`, `1m30s`, `100ms`, `0`."""
    if value in (0, "0"):
        return 0.0
    if not isinstance(value, str) or not re.fullmatch(f"(?:{_DURATION.pattern})+", value):
        raise ValueError("should be a duration such as 1s or 100ms")
    seconds = sum(float(number) * _UNITS[unit] for number, unit in _DURATION.findall(value))
    if not math.isfinite(seconds):
        raise ValueError("should be a shorter duration")
    return seconds


def _check_cipher(name: str) -> str:
    if name not in CIPHERS:
        raise ValueError("is not a cipher suite; use the names of https://pkg.go.dev/crypto/tls#CipherSuites")
    return name


def _check_hash(secret: SecretStr) -> SecretStr:
    if not BCRYPT.fullmatch(secret.get_secret_value()):
        raise ValueError("should be a bcrypt hash, as `htpasswd -nBC 10 USER` prints it")
    return secret


def _check_header(headers: dict[str, str]) -> dict[str, str]:
    for name, value in headers.items():
        if name not in HEADERS:
            raise ValueError(f"{name} cannot be set; headers that can: {', '.join(HEADERS)}")
        if HEADERS[name] and value not in HEADERS[name]:
            raise ValueError(f"{name} should be {' or '.join(HEADERS[name])}")
        if not value.isascii() or not value.isprintable():
            raise ValueError(f"{name} should be printable ASCII")
    return headers


ClientAuthType = Literal[
    "",
    "NoClientCert",
    "RequestClientCert",
    "RequireAnyClientCert",
    "RequireClientCert",
    "VerifyClientCertIfGiven",
    "RequireAndVerifyClientCert",
]
Version = Literal["TLS10", "TLS11", "TLS12", "TLS13"]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class TlsServer(_Part):
    """`tls_server_config`; relative file names are relative to the file's directory."""

    cert: str = ""
    key: SecretStr = SecretStr("")
    client_ca: str = ""
    cert_file: str = ""
    key_file: str = ""
    client_ca_file: str = ""
    client_auth_type: ClientAuthType = ""
    client_allowed_sans: tuple[str, ...] | None = None
    min_version: Version = "TLS12"
    max_version: Version = "TLS13"
    cipher_suites: tuple[Annotated[str, AfterValidator(_check_cipher)], ...] = ()
    prefer_server_cipher_suites: bool = True
    curve_preferences: tuple[Literal["CurveP256", "CurveP384", "CurveP521", "X25519"], ...] = ()

    @property
    def is_used(self) -> bool:
        """Whether the port uses TLS."""
        names = (self.cert, self.cert_file, self.key_file, self.client_ca, self.client_ca_file, self.client_auth_type)
        return any(names) or bool(self.key.get_secret_value())


class HttpServer(_Part):
    """`http_server_config`."""

    http2: bool | None = None
    headers: Annotated[dict[str, str], AfterValidator(_check_header)] = Field(default_factory=dict)


class RequestRate(_Part):
    """`rate_limit`: seconds per request, and requests at once."""

    interval: Annotated[float, BeforeValidator(_read_duration)] = 0.0
    burst: int = Field(0, ge=0)


class WebConfig(_Part):
    """The whole file."""

    tls_server_config: TlsServer = TlsServer()
    http_server_config: HttpServer = HttpServer()
    basic_auth_users: dict[str, Annotated[SecretStr, AfterValidator(_check_hash)]] = Field(default_factory=dict)
    rate_limit: RequestRate = RequestRate(interval=0, burst=0)


_UNFIT = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)
"""Errors of PyYAML's readers of values, for a value that its tag does not fit: `!!int ""`, `!!timestamp x`."""


class _Loader(yaml.SafeLoader):
    """Refuses a key that is there twice, of which YAML would take the last one, and says where a value does not fit."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except _UNFIT:
            raise yaml.constructor.ConstructorError(
                None, None, "a value does not fit its type", node.start_mark
            ) from None

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(None, None, "a key is there twice", node.start_mark)
        return super().construct_mapping(node, deep)


def read_file(file: Path) -> WebConfig:
    """Return the checked content. Raises SettingsError with a line per problem: file, key, problem."""
    try:
        content = yaml.load(file.read_text(encoding="utf-8"), _Loader)  # noqa: S506 - a safe loader
    except OSError as error:
        raise SettingsError(f"{file}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise SettingsError(f"{file}: cannot be read: not UTF-8") from None
    except yaml.MarkedYAMLError as error:
        at = error.problem_mark or error.context_mark
        raise SettingsError(f"{file}: line {at.line + 1 if at else '?'}: is not valid YAML: {_plain(error)}") from None
    except (yaml.YAMLError, *_UNFIT):
        raise SettingsError(f"{file}: is not valid YAML") from None
    if content is not None and not isinstance(content, dict):
        raise SettingsError(f"{file}: should be a mapping with {', '.join(WebConfig.model_fields)}")
    parts = {name: part for name, part in (content or {}).items() if part is not None}
    if isinstance(users := parts.get("basic_auth_users"), dict):
        parts["basic_auth_users"] = {str(name): secret for name, secret in users.items()}
    try:
        return WebConfig.model_validate(parts)
    except ValidationError as error:
        raise SettingsError("\n".join(f"{file}: {_problem(problem)}" for problem in error.errors())) from None


def _plain(error: yaml.MarkedYAMLError) -> str:
    """The problem without text of the file."""
    problem = error.problem or ""
    return problem if "'" not in problem and '"' not in problem else "a character or a value is misplaced"


def _problem(problem: ErrorDetails) -> str:
    key = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        return f"{key}: there is no such key"
    return f"{key}: {problem['msg'].removeprefix('Value error, ')}"
