"""Settings in which every value is text as it is written: lists are words with commas, not JSON.

    plain settings (this) -> settings.py, health.py

pydantic-settings marks such fields with NoDecode, which its version 2.6 does not have.
"""

from __future__ import annotations

from pydantic import field_validator
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource


class PlainSettings(BaseSettings):
    """Settings from the environment and a `.env` file."""

    @field_validator("*", mode="before")
    @classmethod
    def _is_text(cls, value: object) -> object:
        """Refuse bytes that no text, file name or URL can have: an environment may hold any but NUL, a file any."""
        if isinstance(value, str):
            try:
                value.encode()
            except UnicodeEncodeError:
                raise ValueError("should be UTF-8") from None
            if "\0" in value:
                raise ValueError("should have no NUL byte")
        return value

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Give the environment precedence over `.env`, and decode no value."""
        del settings_cls, file_secret_settings  # its directory of files supports no *_FILE variables
        for source in (env_settings, dotenv_settings):
            if isinstance(source, EnvSettingsSource):
                source.decode_complex_value = lambda field_name, field, value: value  # type: ignore[method-assign]
        return init_settings, env_settings, dotenv_settings
