"""Every setting, from environment variables and a `.env` file (contract §3, Settings).

Read once, by `__main__`, and passed down from there. All problems are reported together, each with the name of its
variable. A secret can also be given as a file (`HIVESYNC_DATABASE_URL_FILE=/run/secrets/database_url`), as container
secrets are.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar, overload

from dotenv import dotenv_values
from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict
from pydantic import AfterValidator, BeforeValidator, Field, FilePath, SecretStr, ValidationError, field_validator
from pydantic_settings import (
    BaseSettings,
    DotEnvSettingsSource,
    EnvSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)
from redis.connection import parse_url

from exporter.addresses import Address, check_networks, check_origins, check_web_url, parse_address
from exporter.errors import SettingsError
from exporter.prices import Prices, read_prices

PREFIX = "HIVESYNC_"
SECRETS = ("database_url", "rollup_database_url", "redis_url", "admin_jwt_secret", "admin_api_key")


def _patterns(value: object) -> object:
    if not isinstance(value, str):
        return value
    patterns = tuple(part.strip() for part in value.split(",") if part.strip())
    if not patterns:
        raise ValueError("should be one or more key patterns, separated by commas")
    return patterns


def _words(value: object) -> object:
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


def _check_directories(given: tuple[str, ...]) -> tuple[str, ...]:
    for path in map(Path, given):
        try:
            wrong = path.is_absolute() and path.exists() and not path.is_dir()
        except OSError as error:
            raise ValueError(f"cannot look at {path}: {_reason(error)}") from None
        if wrong:
            raise ValueError(f"{path} should be a directory")
    return given


WebUrl = Annotated[str, AfterValidator(check_web_url)]
Words = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_words)]
Directories = Annotated[Words, AfterValidator(_check_directories)]
Origins = Annotated[Words, AfterValidator(check_origins)]
Networks = Annotated[Words, AfterValidator(check_networks)]
Listen = Annotated[Address, NoDecode, BeforeValidator(parse_address)]
KeyPatterns = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_patterns)]


class Settings(BaseSettings):
    """The configuration of one process; the descriptions become docs/settings.md."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_ignore_empty=True, extra="ignore", frozen=True)

    database_url: SecretStr = Field(description="PostgreSQL connection URL of a role that may SELECT and nothing else.")
    rollup_database_url: SecretStr | None = Field(
        None,
        description="Connection URL of a role that may also write `usage_analytics_daily`. Default: `DATABASE_URL`.",
    )
    redis_url: SecretStr = Field(description="Redis or Valkey connection URL.")
    ai_events_log: Path = Field(Path("/data/logs/ai-events.log"), description="The AI events log (JSON Lines).")
    preview_log: Path = Field(Path("/data/logs/preview.log"), description="The preview log (JSON Lines).")
    log_archive_dirs: Directories = Field(
        (),
        description="Directories, separated by commas, that rotated logs are moved to (logrotate's `olddir`). A"
        " relative one is beside each log.",
    )
    state_dir: Path = Field(
        Path("/var/lib/hivesync-analytics"),
        description="Keeps log positions, log counters and GPU seconds over restarts. Belongs to one exporter alone.",
    )
    metrics_listen: Listen = Field(Address("127.0.0.1", 10177), description="Address of `/metrics`, as host:port.")
    admin_listen: Listen = Field(
        Address("127.0.0.1", 10178), description="Address of `/admin/analytics/`, as host:port."
    )
    admin_jwt_secret: SecretStr | None = Field(
        None, description="HiveSync's secret for admin tokens signed with HS256."
    )
    admin_jwt_public_key_file: FilePath | None = Field(
        None, description="File with HiveSync's public key (PEM) for admin tokens signed with RS256 or ES256."
    )
    admin_jwt_claim: str = Field(
        "scope=admin",
        pattern=r"^[^=\s]+=\S+$",
        description="The claim and value that make a token an admin's.",
    )
    admin_api_key: SecretStr | None = Field(
        None, description="A key that may be sent as `X-API-Key` in place of a token."
    )
    admin_jwt_audience: str | None = Field(None, description="The `aud` a token must have; unset, none is asked for.")
    admin_jwt_issuer: str | None = Field(None, description="The `iss` a token must have; unset, none is asked for.")
    admin_session_hours: float = Field(8, gt=0, le=168, description="How long a login in the browser lasts, in hours.")
    admin_origins: Origins = Field(
        (),
        description="Origins a login may come from, separated by commas, where a proxy in front changes the `Host`.",
    )
    admin_trusted_proxies: Networks = Field(
        ("127.0.0.1", "::1"),
        description="Addresses or networks of the proxies that may say, by `X-Forwarded-For` and `-Proto`, for whom a"
        " request comes and that it came by https.",
    )
    admin_frame_ancestors: Origins = Field(
        (), description="Origins, beside the page's own, whose pages may show the Analytics page in a frame."
    )
    prometheus_url: WebUrl | None = Field(None, description="Prometheus' URL, for what needs history.")
    grafana_url: WebUrl | None = Field(None, description="Grafana's URL as this process reaches it.")
    prices_file: Path | None = Field(
        None,
        description="TOML file with prices of tokens and GPU instances. Without it there are no cost metrics.",
    )
    ws_session_keys: KeyPatterns = Field(("ws_sessions:*",), description="Key patterns of WebSocket sessions (hashes).")
    ai_queue_keys: KeyPatterns = Field(
        ("ai_queue:default", "ai_queue:*"),
        description="Keys and key patterns of AI queues (lists). One without a wildcard is 0 while it does not exist.",
    )
    preview_queue_keys: KeyPatterns = Field(
        ("preview_queue:default", "preview_queue:*"),
        description="Keys and key patterns of preview queues (lists), as `AI_QUEUE_KEYS`.",
    )
    worker_keys: KeyPatterns = Field(("worker:heartbeat:*",), description="Key patterns of worker heartbeats (hashes).")
    worker_healthy_seconds: float = Field(
        120, gt=0, description="A worker is healthy while its heartbeat is at most this old."
    )
    worker_forgotten_seconds: float = Field(
        86_400, gt=0, description="A worker silent for longer than this is forgotten."
    )
    collectors: Words = Field(
        (),
        description="Names of the collectors to run, separated by commas; unset, all. For a second exporter beside"
        " another host's logs: `ai_log,preview_log`.",
    )
    refresh_seconds: float = Field(
        15, ge=0.2, le=600, description="Seconds between two refreshes of the fast collectors."
    )

    @field_validator(*SECRETS, mode="before")
    @classmethod
    def _could_be_read(cls, value: object) -> object:
        if isinstance(value, ValueError):
            raise value
        return value

    @field_validator("database_url", "rollup_database_url")
    @classmethod
    def _is_a_postgres_url(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            try:
                host = str(conninfo_to_dict(value.get_secret_value()).get("host", ""))
                if "@" in host[1:]:  # the first one may begin an abstract socket
                    raise ValueError("an @ in its user or password is written %40")
            except ProgrammingError:  # its message repeats the URL, password included
                raise ValueError("should be a URL as in postgresql://user:password@host:5432/database") from None
        return value

    @field_validator("redis_url")
    @classmethod
    def _is_a_redis_url(cls, value: SecretStr | None) -> SecretStr | None:
        try:
            if value is not None:
                parse_url(value.get_secret_value())  # type: ignore[no-untyped-call]
        except ValueError:
            raise ValueError("should be a Redis URL, as in redis://:password@host:6379/0") from None
        return value

    @field_validator("prices_file")
    @classmethod
    def _holds_prices(cls, value: Path | None) -> Path | None:
        if value is not None:
            read_prices(value)
        return value

    def prices(self) -> Prices | None:
        """The prices of `prices_file`, or None where there is no such file set."""
        return read_prices(self.prices_file) if self.prices_file else None

    def shown(self) -> dict[str, str]:
        """Every setting by its variable's name, secrets masked: the only form in which settings are printed."""
        return {PREFIX + name.upper(): shown(name, value) for name, value in self}

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment goes before `.env`; a secret's file counts as its variable."""
        del file_secret_settings  # its directory of files knows no *_FILE variables
        return (
            init_settings,
            _SecretFiles(settings_cls, env_settings, dotenv_settings),
            env_settings,
            dotenv_settings,
        )


class RollupSettings(Settings):
    """The same settings as the roll-up needs them: it asks no Redis, and may have a database role of its own only."""

    database_url: SecretStr | None = None  # type: ignore[assignment]
    redis_url: SecretStr | None = None  # type: ignore[assignment]

    @property
    def rollup_url(self) -> SecretStr:
        """Where the roll-up reads and writes. Raises SettingsError when neither variable is set."""
        url = self.rollup_database_url or self.database_url
        if url is None:
            raise SettingsError(f"{PREFIX}ROLLUP_DATABASE_URL: is not set, nor is {PREFIX}DATABASE_URL")
        return url


AnySettings = TypeVar("AnySettings", bound=Settings)


class _SecretFiles(PydanticBaseSettingsSource):
    """Secrets given as `HIVESYNC_<NAME>_FILE`; in place of one that cannot be had, the ValueError that says why."""

    def __init__(self, settings_cls: type[BaseSettings], *sources: PydanticBaseSettingsSource) -> None:
        super().__init__(settings_cls)
        self._variables: dict[str, str | None] = {}
        for source in reversed(sources):
            if isinstance(source, EnvSettingsSource | DotEnvSettingsSource):
                self._variables |= source.env_vars

    def get_field_value(self, field: Any, field_name: str) -> tuple[Any, str, bool]:
        del field
        return self._variables.get(f"{PREFIX}{field_name}_file".lower()), field_name, False

    def __call__(self) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for name in SECRETS:
            variable = PREFIX + name.upper()
            path = self._variables.get(f"{variable}_FILE".lower())
            if path and self._variables.get(variable.lower()):
                values[name] = ValueError(f"set it or {variable}_FILE, not both")
            elif path:
                values[name] = _read_secret(path, f"{variable}_FILE")
        return values


def _read_secret(path: str, variable: str) -> str | ValueError:
    try:
        secret = Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        return ValueError(f"cannot read {path} ({variable}): {_reason(error)}")
    return secret or ValueError(f"{path} ({variable}) is empty")


def _reason(error: OSError | UnicodeDecodeError) -> str | None:
    return error.strerror if isinstance(error, OSError) else "not UTF-8"


@overload
def read_settings(env_file: Path | None = None) -> Settings: ...


@overload
def read_settings(env_file: Path | None, model: type[AnySettings]) -> AnySettings: ...


def read_settings(env_file: Path | None = None, model: type[Settings] = Settings) -> Settings:
    """The settings of this process. `env_file` in place of `.env` in the current directory, then it must exist.

    Raises SettingsError whose message has one line a problem, each beginning with the variable's name.
    """
    if env_file is not None and not env_file.is_file():
        raise SettingsError(f"--env-file: {env_file} is not there")
    try:
        return model(_env_file=env_file or Path(".env"))  # type: ignore[call-arg]  # pydantic-settings' own keyword
    except ValidationError as error:
        raise SettingsError("\n".join(_problem(problem) for problem in error.errors())) from None
    except (OSError, UnicodeDecodeError) as error:
        name = f"--env-file: {env_file}" if env_file else ".env"
        raise SettingsError(f"{name}: cannot be read: {_reason(error)}") from None


def unknown_variables(env_file: Path | None = None) -> list[str]:
    """Variables with our prefix that are no setting: misspelt, perhaps, or HiveSync's own."""
    known = {PREFIX + name.upper() for name in Settings.model_fields} | {
        f"{PREFIX}{name.upper()}_FILE" for name in SECRETS
    }
    given = {*os.environ, *dotenv_values(env_file or Path(".env"))}
    return sorted(name for name in given if name.upper().startswith(PREFIX) and name.upper() not in known)


_PLAINLY = {
    "path_not_file": "there is no such file",
    "float_parsing": "should be a number",
}


def _problem(problem: Mapping[str, Any]) -> str:
    name = str(problem["loc"][0])
    variable = PREFIX + name.upper()
    if problem["type"] == "missing":
        return f"{variable}: is not set and has no default"
    message = _PLAINLY.get(problem["type"], problem["msg"].removeprefix("Value error, "))
    if name in SECRETS or isinstance(problem["input"], Mapping):
        return f"{variable}: {message}"
    return f"{variable}: {message} (it is {_without_user(problem['input'])!r})"


def shown(name: str, value: object) -> str:
    """How a setting is printed: as it would be written in the environment, a secret masked."""
    if value is None:
        return ""
    if isinstance(value, SecretStr):
        return _without_password(name, value.get_secret_value())
    if isinstance(value, Address):
        return f"[{value.host}]:{value.port}" if ":" in value.host else f"{value.host}:{value.port}"
    if isinstance(value, tuple):
        return ",".join(value)
    return _without_user(value)


def _without_user(value: object) -> str:
    """The user and password of a URL that is no secret otherwise are one."""
    return re.sub(r"(?<=://).*@", "********@", str(value))


def _without_password(name: str, secret: str) -> str:
    """What of a secret may be printed: of a URL who and where, of anything else nothing."""
    if name.endswith("database_url"):
        parts = conninfo_to_dict(secret)
        return "postgresql://{user}@{host}:{port}/{dbname}".format(
            **{key: parts.get(key) or "" for key in ("user", "host", "port", "dbname")}
        )
    if name == "redis_url":
        options = parse_url(secret)  # type: ignore[no-untyped-call]
        where = options.get("path") or f"{options.get('host', 'localhost')}:{options.get('port', 6379)}"
        return f"redis://{where}/{options.get('db', 0)}"
    return "********"
