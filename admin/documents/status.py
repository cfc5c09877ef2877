"""The state of the sources, the collectors and Grafana: `/status`, and the line of sources on the page."""

from __future__ import annotations

from pydantic import Field

from admin.documents.models import Model
from admin.documents.values import Values, iso
from exporter.inputs import INPUTS
from exporter.version import VERSION

PATH, TITLE = "status", "Status"


class SourceState(Model):
    """One source; `error` is the kind of its last error while it is down."""

    source: str
    up: bool | None
    last_success: str | None
    error: str | None
    provided: bool = Field(description="Whether this HiveSync has it, by the setting NOT_PROVIDED.")


class InputState(Model):
    """An input that a HiveSync may lack."""

    input: str = Field(description="As in the setting NOT_PROVIDED.")
    content: str
    provided: bool


class CollectorState(Model):
    """One collector."""

    collector: str
    sources: list[str]
    up: bool | None
    interval_seconds: float
    last_success: str | None
    error: str | None


class GrafanaState(Model):
    """Whether charts can come from Grafana."""

    configured: bool
    up: bool | None


class State(Model):
    """Every source and collector, and whether the page is degraded."""

    degraded: bool
    version: str
    sources: list[SourceState]
    inputs: list[InputState]
    collectors: list[CollectorState]
    grafana: GrafanaState


def build(values: Values, grafana: GrafanaState) -> State:
    """The document."""
    return State(
        degraded=values.degraded,
        version=VERSION,
        sources=[
            SourceState(
                source=view.name,
                up=view.up,
                last_success=iso(view.last_success),
                error=view.error,
                provided=view.name not in values.view.not_provided,
            )
            for view in values.view.sources
        ],
        inputs=[
            InputState(input=each.name, content=each.meaning, provided=each.name not in values.view.not_provided)
            for each in INPUTS
        ],
        collectors=[
            CollectorState(
                collector=view.name,
                sources=list(view.sources),
                up=view.up,
                interval_seconds=view.interval,
                last_success=iso(view.last_success),
                error=view.error,
            )
            for view in values.view.collectors
        ],
        grafana=grafana,
    )
