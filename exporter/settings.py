"""All settings, from environment variables and a `.env` file; docs/settings.md lists them.

`__main__` reads them once and passes them down. All problems are reported together, each with the name of its variable.
A secret can also be given as a file (`HIVESYNC_DATABASE_URL_FILE=/run/secrets/database_url`), the usual form of
container secrets.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar, overload

from dotenv import dotenv_values
from pydantic import (
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from exporter.addresses import Address
from exporter.errors import SettingsError
from exporter.plain_settings import PlainSettings
from exporter.prices import Prices, read_prices
from exporter.queue_keys import CeleryKeys, has_celery
from exporter.secret_files import SecretFiles
from exporter.setting_types import (
    GOOD_API_KEY,
    LONGEST_SECONDS,
    ApiKey,
    Directories,
    ExistingFile,
    Inputs,
    KeyPatterns,
    KindWord,
    KindWords,
    Listen,
    ListKeys,
    Networks,
    Origin,
    Origins,
    QueueKeys,
    Steps,
    Words,
    WorkerNames,
    WorkerPatterns,
    reason,
)
from exporter.urls import read_postgres, read_redis, read_web
from exporter.vocabulary import FREE_PLANS, WORKER_DEFAULT_KIND, WORKER_KINDS

PREFIX = "HIVESYNC_"
SECRETS = ("database_url", "rollup_database_url", "redis_url", "admin_jwt_secret", "admin_api_key")
URLS: Mapping[str, Callable[[str], object]] = {
    "database_url": read_postgres,
    "rollup_database_url": read_postgres,
    "redis_url": read_redis,
    "prometheus_url": read_web,
    "grafana_url": read_web,
    "public_url": read_web,
}
"""The parser of each connection URL; the result as text is the printable form."""


class Settings(PlainSettings):
    """The configuration of one process; the descriptions become docs/settings.md."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_ignore_empty=True, extra="ignore", frozen=True)

    database_url: SecretStr = Field(description="PostgreSQL connection URL of a role that may SELECT and nothing else.")
    rollup_database_url: SecretStr | None = Field(
        None,
        description="Connection URL of a role that may also write `usage_analytics_daily`. Default: `DATABASE_URL`.",
    )
    redis_url: SecretStr = Field(
        description="Redis or Valkey connection URL: `redis://`, `rediss://` (TLS) or `unix://`."
    )
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
    web_config_file: Path | None = Field(
        None,
        description="File with TLS, passwords and headers of the metrics port, in the format of Prometheus' exporters"
        " (`--web.config.file`); see docs/web-configuration.md.",
    )
    admin_web_config_file: Path | None = Field(None, description="The same for the admin port.")
    admin_jwt_secret: SecretStr | None = Field(
        None, description="HiveSync's secret for admin tokens signed with HS256."
    )
    admin_jwt_public_key_file: ExistingFile | None = Field(
        None, description="File with HiveSync's public key (PEM) for admin tokens signed with RS256 or ES256."
    )
    admin_jwt_claim: str = Field(
        "scope=admin",
        pattern=r"^[^=\s]+=\S+$",
        description="The claim and value that make a token an admin's.",
    )
    admin_api_key: ApiKey = Field(
        None, description=f"A key that may be sent as `X-API-Key` in place of a token: {GOOD_API_KEY}."
    )
    admin_jwt_audience: str | None = Field(None, description="The `aud` a token must have; unset, none is asked for.")
    admin_jwt_issuer: str | None = Field(None, description="The `iss` a token must have; unset, none is asked for.")
    admin_session_hours: float = Field(8, gt=0, le=168, description="How long a login in the browser lasts, in hours.")
    admin_session_follows_token: bool = Field(
        False,
        description="`true` ends the session of a login with a token no later than the token itself.",
    )
    public_url: Origin | None = Field(
        None,
        description="Where people reach the Analytics section, as in `https://admin.example`: the host name that the"
        " admin port answers to, besides addresses and `localhost`.",
    )
    admin_origins: Origins = Field(
        (),
        description="Origins a login may come from, separated by commas, where a proxy in front changes the `Host`;"
        " the admin port answers to their host names too.",
    )
    admin_trusted_proxies: Networks = Field(
        ("127.0.0.1", "::1"),
        description="Addresses or networks of the proxies whose `X-Forwarded-For` and `-Proto` are believed: the"
        " client's address, and whether it uses https.",
    )
    admin_frame_ancestors: Origins = Field(
        (), description="Origins, beside the page's own, whose pages may show the Analytics page in a frame."
    )
    prometheus_url: str | None = Field(
        None, repr=False, description="Prometheus' URL, for metrics with history and the alerts on the Analytics page."
    )
    grafana_url: str | None = Field(None, repr=False, description="Grafana's URL as this process reaches it.")
    prices_file: Path | None = Field(
        None,
        description="TOML file with prices of tokens and GPU instances. Without it there are no cost metrics.",
    )
    ws_session_keys: KeyPatterns = Field(("ws_sessions:*",), description="Key patterns of WebSocket sessions (hashes).")
    # No key without a wildcard: it would declare a queue that the operator may not have, and show it empty.
    ai_queue_keys: QueueKeys = Field(
        ("ai_queue:*",),
        description="Keys and key patterns of AI queues (lists). A key without a wildcard declares a queue: it is 0"
        " while the list does not exist, as an empty one does not in Redis. Of a pattern that matches no key there is"
        " no depth. Name the queues that there are, as in `ai_queue:default,ai_queue:*`. Celery's queue `ai_tasks` is"
        " `celery:ai_tasks`: one queue of all its priorities.",
    )
    preview_queue_keys: QueueKeys = Field(
        ("preview_queue:*",),
        description="Keys and key patterns of preview queues (lists), as `AI_QUEUE_KEYS`.",
    )
    dead_letter_keys: ListKeys = Field(
        (),
        description="Keys and key patterns of lists of dead letters, as `AI_QUEUE_KEYS`: `dlq_tasks`, say. Unset, there"
        " are none.",
    )
    celery_key_prefix: str = Field(
        "", description="What Celery's transport option `global_keyprefix` is set to; needed for `celery:` keys only."
    )
    celery_priority_steps: Steps = Field(
        tuple(map(str, CeleryKeys().steps)),
        description="What Celery's transport option `priority_steps` is set to: the priorities that have a list of"
        " their own, separated by commas.",
    )
    celery_priority_separator: str = Field(
        CeleryKeys().separator,
        min_length=1,
        description="What Celery's transport option `sep` is set to: it stands between a queue's name and a priority;"
        r" `\x06` is the character of that number.",
    )
    celery_unacked_key: str = Field(
        CeleryKeys().unacked, min_length=1, description="What Celery's transport option `unacked_key` is set to."
    )
    celery_unacked_index_key: str = Field(
        CeleryKeys().unacked_index,
        min_length=1,
        description="What Celery's transport option `unacked_index_key` is set to.",
    )
    free_plans: Words = Field(
        FREE_PLANS,
        description="Plans that are not paid, separated by commas; compared without case. Any other plan but `trial` is"
        " a paid one.",
    )
    not_provided: Inputs = Field(
        (),
        description="[Inputs](#inputs) that this HiveSync does not have, separated by commas. They are not read; values"
        " that need them are absent, and are no failure.",
    )
    workers_from: Literal["redis", "postgres"] = Field(
        "redis",
        description="Where workers' heartbeats are: `redis` (`WORKER_KEYS`), or `postgres` (table or view `workers`).",
    )
    worker_keys: WorkerPatterns = Field(
        ("worker:heartbeat:*",),
        description="Key patterns of worker heartbeats (hashes, or strings with the time alone). `{id}` in a pattern"
        " stands for the worker's id: `worker:{id}:heartbeat`.",
    )
    worker_kind_keys: WorkerNames = Field(
        (),
        description="Keys beside a heartbeat, as `worker:{id}:type`: strings with the kind, or hashes.",
    )
    worker_kinds: KindWords = Field(
        WORKER_KINDS,
        description="Kinds of workers, separated by commas, as in `cpu,gpu,preview,map,ai`. Others are `unknown`.",
    )
    worker_default_kind: KindWord = Field(WORKER_DEFAULT_KIND, description="The kind of a worker that names none.")
    worker_healthy_seconds: float = Field(
        120, gt=0, le=LONGEST_SECONDS, description="A worker is healthy while its heartbeat is at most this old."
    )
    worker_forgotten_seconds: float = Field(
        86_400, gt=0, le=LONGEST_SECONDS, description="A worker silent for longer than this is forgotten."
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

    @field_validator(*URLS)
    @classmethod
    def _is_understood(cls, value: SecretStr | str | None, info: ValidationInfo) -> SecretStr | str | None:
        if value is not None and info.field_name is not None:
            URLS[info.field_name](_text(value))
        return value

    @field_validator("prices_file")
    @classmethod
    def _holds_prices(cls, value: Path | None) -> Path | None:
        if value is not None:
            read_prices(value)
        return value

    def prices(self) -> Prices | None:
        """Return the prices of `prices_file`, or None where it is not set."""
        return read_prices(self.prices_file) if self.prices_file else None

    def celery_keys(self) -> CeleryKeys:
        """Return the names of Celery's keys."""
        return CeleryKeys(
            prefix=self.celery_key_prefix,
            separator=self.celery_priority_separator,
            steps=tuple(map(int, self.celery_priority_steps)),
            unacked=self.celery_unacked_key,
            unacked_index=self.celery_unacked_index_key,
        )

    @property
    def has_celery(self) -> bool:
        """Whether a setting names a Celery queue."""
        return has_celery((*self.ai_queue_keys, *self.preview_queue_keys, *self.dead_letter_keys))

    def shown(self) -> dict[str, str]:
        """Return every setting by its variable's name, secrets masked: the only form in which settings are printed."""
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
        """Let a secret's file count as its variable."""
        init, *others = super().settings_customise_sources(
            settings_cls, init_settings, env_settings, dotenv_settings, file_secret_settings
        )
        return init, SecretFiles(settings_cls, SECRETS, *others), *others


class RollupSettings(Settings):
    """The settings for the roll-up: without Redis, and with a database role of its own if set."""

    database_url: SecretStr | None = None  # type: ignore[assignment]
    redis_url: SecretStr | None = None  # type: ignore[assignment]

    @property
    def rollup_url(self) -> SecretStr:
        """The URL with which the roll-up reads and writes. Raises SettingsError when neither variable is set."""
        url = self.rollup_database_url or self.database_url
        if url is None:
            raise SettingsError(f"{PREFIX}ROLLUP_DATABASE_URL: is not set, nor is {PREFIX}DATABASE_URL")
        return url


MASK = "********"
"""Replacement for a secret."""

AnySettings = TypeVar("AnySettings", bound=PlainSettings)


@overload
def read_settings(env_file: Path | None = None) -> Settings: ...


@overload
def read_settings(env_file: Path | None, model: type[AnySettings]) -> AnySettings: ...


def read_settings(env_file: Path | None = None, model: type[PlainSettings] = Settings) -> PlainSettings:
    """Return the settings of this process. `env_file` replaces `.env` in the current directory, and must exist.

    Raises SettingsError whose message has one line per problem, each beginning with the variable's name.
    """
    if env_file is not None and not env_file.is_file():
        raise SettingsError(f"--env-file: {env_file} is not there")
    try:
        return _checked(model, env_file or Path(".env"))
    except (OSError, UnicodeDecodeError) as error:
        name = f"--env-file: {env_file}" if env_file else ".env"
        raise SettingsError(f"{name}: cannot be read: {reason(error)}") from None


def read_environment(**given: object) -> Settings:
    """Return the settings of `given` and of environment variables. Raises SettingsError as `read_settings` does."""
    return _checked(Settings, None, **given)


def _checked(model: type[AnySettings], env_file: Path | None, **given: object) -> AnySettings:
    try:
        return model(_env_file=env_file, **given)  # type: ignore[call-arg]  # pydantic-settings' own keyword
    except ValidationError as error:
        raise SettingsError("\n".join(_problem(problem) for problem in error.errors())) from None


def unknown_variables(env_file: Path | None = None) -> list[str]:
    """Return the variables with the prefix that are no setting: misspelt, perhaps, or HiveSync's own."""
    known = {PREFIX + name.upper() for name in Settings.model_fields} | {
        f"{PREFIX}{name.upper()}_FILE" for name in SECRETS
    }
    given = {*os.environ, *dotenv_values(env_file or Path(".env"))}
    return sorted(name for name in given if name.upper().startswith(PREFIX) and name.upper() not in known)


_PLAINLY = {
    "float_parsing": "should be a number",
}


def _problem(problem: Mapping[str, Any]) -> str:
    name = str(problem["loc"][0])
    variable = PREFIX + name.upper()
    if problem["type"] == "missing":
        return f"{variable}: is not set and has no default"
    message = _PLAINLY.get(problem["type"], problem["msg"].removeprefix("Value error, "))
    if (
        name in SECRETS
        or name in URLS
        or isinstance(problem["input"], Mapping)
        or _may_hold_a_password(problem["input"])
    ):
        return f"{variable}: {message}"
    return f"{variable}: {message} (it is {str(problem['input'])!r})"


def shown(name: str, value: object) -> str:
    """Return the printable form of a setting: as written in the environment, a secret masked."""
    if value is None:
        return ""
    if name in URLS and isinstance(value, SecretStr | str):
        return str(URLS[name](_text(value)))
    if isinstance(value, Address):
        return str(value)
    written = ",".join(value) if isinstance(value, tuple) else str(value)
    return MASK if isinstance(value, SecretStr) or _may_hold_a_password(written) else written


def _text(value: SecretStr | str) -> str:
    return value.get_secret_value() if isinstance(value, SecretStr) else value


def _may_hold_a_password(value: object) -> bool:
    """Return whether the value looks like `user:password@host`, though its setting is no URL."""
    return ":" in str(value) and "@" in str(value)
