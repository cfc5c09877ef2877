"""Secrets in files: `HIVESYNC_DATABASE_URL_FILE=/run/secrets/database_url` in place of the variable itself.

secret files (this) -> settings.py
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic_settings import BaseSettings, DotEnvSettingsSource, EnvSettingsSource, PydanticBaseSettingsSource

from exporter.setting_types import reason


class SecretFiles(PydanticBaseSettingsSource):
    """Secrets given as `HIVESYNC_<NAME>_FILE`; for an unreadable secret, the ValueError with the reason."""

    def __init__(
        self, settings_cls: type[BaseSettings], names: Sequence[str], *sources: PydanticBaseSettingsSource
    ) -> None:
        """`names`: the fields that are secrets; `sources`: those of the other variables."""
        super().__init__(settings_cls)
        self._prefix = self.config.get("env_prefix", "")
        self._names = names
        self._variables: dict[str, str | None] = {}
        for source in reversed(sources):
            if isinstance(source, EnvSettingsSource | DotEnvSettingsSource):
                self._variables |= source.env_vars

    def get_field_value(self, field: Any, field_name: str) -> tuple[Any, str, bool]:
        del field
        return self._variables.get(f"{self._prefix}{field_name}_file".lower()), field_name, False

    def __call__(self) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for name in self._names:
            variable = self._prefix + name.upper()
            path = self._variables.get(f"{variable}_FILE".lower())
            if path and self._variables.get(variable.lower()):
                values[name] = ValueError(f"set it or {variable}_FILE, not both")
            elif path:
                values[name] = _read_secret(path, f"{variable}_FILE")
        return values


def _read_secret(path: str, variable: str) -> str | ValueError:
    try:
        secret = Path(path).read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as error:
        # A secret written in place of its file's path is not repeated.
        file = path if path.startswith("/") and "@" not in path else "the file"
        return ValueError(f"cannot read {file} ({variable}): {reason(error)}")
    return secret or ValueError(f"{path} ({variable}) is empty")
