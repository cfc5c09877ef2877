"""The parts that the API's documents share (docs/definitions.md#admin-values).

values.py stands before this, the documents behind it.
"""

from __future__ import annotations

from typing import Generic, Literal, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, Field

from admin.documents.values import Value, iso

Status = Literal["ok", "degraded"]
Content = TypeVar("Content")
ComparedModel = TypeVar("ComparedModel", bound=BaseModel)


class Model(BaseModel):
    """Closed: no field is sent that is not declared."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Known(Model, Generic[Content]):
    """A value with its status, its sources and its time."""

    value: Content | None = Field(description="Null: there is no value; or, degraded, none was ever read.")
    status: Status = Field(description="degraded: a source or its collector fails; the value is the last one known.")
    sources: list[str] = Field(description="As in the label `source` of `hivesync_source_up`.")
    as_of: str | None = Field(description="ISO 8601, UTC.")


class NotProvided(Model):
    """A value that does not exist, as this HiveSync does not have its input."""

    value: None
    status: Literal["not_provided"]
    sources: list[str] = Field(description="The source that would have the input.")
    as_of: str | None = Field(description="ISO 8601, UTC.")
    input: str = Field(description="The input, as in the setting NOT_PROVIDED.")


class Compared(Known[Content], Generic[Content]):
    """A value, and that of the same span before (docs/definitions.md#compared-with-before)."""

    previous: Content | None = Field(description="Null where it is not known, and while the value is degraded.")
    change: float | None = Field(
        description="Relative to `previous`: 0.25 is 25 % more. Null without it, and where it is 0."
    )


class ComparedTwice(Compared[Content], Generic[Content]):
    """A value, that of the same span a day before, and that of a week before."""

    previous_week: Content | None = Field(description="As `previous`, a week before.")
    change_week: float | None = Field(description="As `change`, to `previous_week`.")


Count = Known[int] | NotProvided
Amount = Known[float] | NotProvided
ComparedCount = Compared[int] | NotProvided
Text = Known[str] | NotProvided
Flag = Known[bool] | NotProvided


def is_value(annotation: object) -> bool:
    """Whether a field of this type is a value with a status."""
    return NotProvided in get_args(annotation)


class ByPlan(Model):
    """By plan class."""

    paid: Count
    trial: Count
    trial_expired: Count
    free: Count


class Problem(Model):
    """An error (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str | None = None


def known(value: Value, kind: type[Content]) -> Known[Content] | NotProvided:
    """A value as the API gives it. Raises ValidationError for a value of another kind."""
    if value.input is not None:
        return NotProvided(
            value=None, status="not_provided", sources=list(value.sources), as_of=iso(value.as_of), input=value.input
        )
    content = value.value
    if kind is int and isinstance(content, float):
        content = int(content)
    if kind is bool and content is not None:
        content = bool(content)
    return Known[kind](  # type: ignore[valid-type]
        value=content, status=status_of(value), sources=list(value.sources), as_of=iso(value.as_of)
    )


def compared(value: Value, previous: float | None) -> ComparedCount:
    """A count with that of the same span before, as the API gives it."""
    return _compared(Compared[int], value, previous=previous)


def compared_twice(value: Value, day: float | None, week: float | None) -> ComparedTwice[int] | NotProvided:
    """A count with those of the same span a day and a week before, as the API gives it."""
    return _compared(ComparedTwice[int], value, previous=day, previous_week=week)


def _compared(model: type[ComparedModel], value: Value, **previous: float | None) -> ComparedModel | NotProvided:
    shown = known(value, int)
    if isinstance(shown, NotProvided):
        return shown
    then = {name: count if value.ok and shown.value is not None else None for name, count in previous.items()}
    changes = {name.replace("previous", "change"): change(shown.value, count) for name, count in then.items()}
    return model(**shown.model_dump(), **then, **changes)


def change(value: float | None, previous: float | None) -> float | None:
    """The relative change since then; None where it has no meaning."""
    return None if value is None or not previous else (value - previous) / previous


def status_of(value: Value) -> Status:
    """The status of a value, or of a document that is as good as that value."""
    return "ok" if value.ok else "degraded"
