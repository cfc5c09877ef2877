"""The types of settings: how the text of a variable is read and checked, by `settings.py`. The message of an error is a
part of a sentence: the variable's name stands before it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, SecretStr

from exporter.addresses import Address, check_networks, check_origins, parse_address, read_origin
from exporter.inputs import check_names
from exporter.queue_keys import check_keys
from exporter.worker_keys import check_patterns, check_sibling_keys, read_kind, read_kinds

MAX_PRIORITY = 255
"""The maximum of a message's priority."""


def reason(error: OSError | ValueError) -> str | None:
    """Return the reason why a file cannot be read, for a message."""
    if isinstance(error, OSError):
        return error.strerror
    return "not UTF-8" if isinstance(error, UnicodeDecodeError) else "its path cannot be"


def _patterns(value: object) -> object:
    if not isinstance(value, str):
        return value
    patterns = tuple(part.strip() for part in value.split(",") if part.strip())
    if not patterns:
        raise ValueError("should be one or more key patterns, separated by commas")
    return patterns


def _words(value: object) -> object:
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


def _check_file(path: Path) -> Path:
    try:
        is_file = path.is_file()
    except OSError as error:
        raise ValueError(f"cannot look at the file: {reason(error)}") from None
    if not is_file:
        raise ValueError("there is no such file")
    return path


def _check_directories(given: tuple[str, ...]) -> tuple[str, ...]:
    for path in map(Path, given):
        try:
            wrong = path.is_absolute() and path.exists() and not path.is_dir()
        except OSError as error:
            raise ValueError(f"cannot look at {path}: {reason(error)}") from None
        if wrong:
            raise ValueError(f"{path} should be a directory")
    return given


LONGEST_SECONDS = 10 * 365 * 86_400
"""The longest duration in a setting: a time that long ago is still a date."""

API_KEY_CHARACTERS = 16
"""The least length of the API key. It is checked without regard to the rate limit, so that it must not be guessable."""

GOOD_KEY_BYTES = 24
"""The random bytes of a new key, and the length below which the doctor finds the API key short."""

NEW_KEY = f"openssl rand -hex {GOOD_KEY_BYTES}"
"""The command that makes a new key or secret."""

GOOD_API_KEY = f"random, at least {API_KEY_CHARACTERS} characters (`{NEW_KEY}`)"
"""The form of the API key, for its description."""


def _check_api_key(given: SecretStr | None) -> SecretStr | None:
    if given is not None and len(given.get_secret_value().strip()) < API_KEY_CHARACTERS:
        raise ValueError(f"should have at least {API_KEY_CHARACTERS} characters; make one with: {NEW_KEY}")
    return given


def _check_lists(given: tuple[str, ...]) -> tuple[str, ...]:
    check_keys(given)
    return given


def _check_steps(given: tuple[str, ...]) -> tuple[str, ...]:
    for step in given:
        if not step.isdecimal() or int(step) > MAX_PRIORITY:
            raise ValueError(f"{step} should be a priority from 0 to {MAX_PRIORITY}, as in Celery's priority_steps")
    return given


Words = Annotated[tuple[str, ...], BeforeValidator(_words)]
ExistingFile = Annotated[Path, AfterValidator(_check_file)]
Directories = Annotated[Words, AfterValidator(_check_directories)]
Origins = Annotated[Words, AfterValidator(check_origins)]
Inputs = Annotated[Words, AfterValidator(check_names)]
Origin = Annotated[str, AfterValidator(read_origin)]
ApiKey = Annotated[SecretStr | None, AfterValidator(_check_api_key)]
Networks = Annotated[Words, AfterValidator(check_networks)]
Listen = Annotated[Address, BeforeValidator(parse_address)]
KeyPatterns = Annotated[tuple[str, ...], BeforeValidator(_patterns)]
QueueKeys = Annotated[KeyPatterns, AfterValidator(_check_lists)]
ListKeys = Annotated[Words, AfterValidator(_check_lists)]
Steps = Annotated[Words, AfterValidator(_check_steps)]
WorkerPatterns = Annotated[KeyPatterns, AfterValidator(check_patterns)]
WorkerNames = Annotated[Words, AfterValidator(check_sibling_keys)]
KindWord = Annotated[str, AfterValidator(read_kind)]
KindWords = Annotated[Words, AfterValidator(read_kinds)]
