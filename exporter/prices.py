"""Prices of tokens and GPU hours in dollars, from the operator's TOML file (docs/definitions.md#ai-cost).

[models."gpt-4.1"]          # dollars per million tokens
prompt = 2.0
completion = 8.0

[instances."g5.xlarge"]     # dollars per hour
spot = 0.45
on-demand = 1.006
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from exporter.labels import OTHER, clean

Dollars = Annotated[float, Field(ge=0, allow_inf_nan=False)]

TOKENS_PER_PRICE = 1_000_000
SECONDS_PER_HOUR = 3_600

_MODEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._:/+-]*")
_FINE_TUNED = re.compile(r"(ft:[^:]+:).*", re.DOTALL)
"""Base model, then the customer, a word of theirs and a job's id."""

_IDENTITY = re.compile(
    r"[0-9A-Fa-f]{8}(?:-?[0-9A-Fa-f]{4}){3}-?[0-9A-Fa-f]{12}|[0-9]{9,}|(?=[0-9A-Fa-f]*[0-9])[0-9A-Fa-f]{16,}"
)
"""An id in a name: a uuid, an account's number (a date has eight digits), a hash."""

WITHHELD = "(withheld: it may identify a user)"


class ModelPrice(BaseModel):
    """Dollars per million tokens."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    prompt: Dollars
    completion: Dollars


class Prices(BaseModel):
    """The whole price file; models and instances without a price cost nothing, as all costs are estimates."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    models: dict[str, ModelPrice] = Field(default_factory=dict)
    instances: dict[str, dict[str, Dollars]] = Field(default_factory=dict)

    @field_validator("models")
    @classmethod
    def _leave_other_alone(cls, models: dict[str, ModelPrice]) -> dict[str, ModelPrice]:
        if OTHER in models:
            raise ValueError(f"'{OTHER}' is what models without a price count as: it can have none")
        return models

    @field_validator("instances")
    @classmethod
    def _under_their_labels(cls, instances: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
        """Convert the names to label values, under which GPU time is counted."""
        return {
            clean(name): {clean(kind): price for kind, price in prices.items()} for name, prices in instances.items()
        }

    def of_tokens(self, model: str, prompt: int, completion: int) -> float:
        """Return the dollars for this many tokens of a model; 0 for a model without a price."""
        price = self.models.get(model)
        if price is None:
            return 0.0
        return (prompt * price.prompt + completion * price.completion) / TOKENS_PER_PRICE

    def of_instance(self, instance_type: str, lifecycle: str, seconds: float) -> float:
        """Return the dollars for this many seconds of an instance; 0 for an instance without a price."""
        return seconds / SECONDS_PER_HOUR * self.instances.get(instance_type, {}).get(lifecycle, 0.0)


def loggable_model(model: str | None) -> str:
    """Return the name of a model for the log, without a part that may identify a user: rows may hold any text there."""
    if not model:
        return "(none)"
    name = _FINE_TUNED.sub(r"\1...", model)[:100]
    return name if _MODEL_NAME.fullmatch(name) and not _IDENTITY.search(name) else WITHHELD


def read_prices(path: Path) -> Prices:
    """Read the prices in a file. Raises ValueError with the problem and its place in the file."""
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror}") from error
    except RecursionError:
        raise ValueError(f"{path} is not valid TOML: values are nested too deeply") from None
    except ValueError as error:  # also of a number with thousands of digits
        raise ValueError(f"{path} is not valid TOML: {error}") from error
    try:
        return Prices.model_validate(content)
    except ValidationError as error:
        problems = (
            f"{'.'.join(map(str, e['loc']))}: {e['msg'].removeprefix('Value error, ').lower()}" for e in error.errors()
        )
        raise ValueError(f"{path}: {'; '.join(problems)}") from error
