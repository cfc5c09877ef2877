"""The API's answers as they are documented in its OpenAPI (contract §3)."""

from __future__ import annotations

from typing import Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

Status = Literal["ok", "degraded"]
Content = TypeVar("Content")


class Model(BaseModel):
    """Closed: what is not declared is not sent."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Known(Model, Generic[Content]):
    """A value, and what is to be known of it."""

    value: Content | None = Field(description="Null: there is none; or, degraded, none was ever known.")
    status: Status = Field(description="degraded: a source or its reading fails, and the value is the last known.")
    sources: list[str] = Field(description="As in the label `source` of `hivesync_source_up`.")
    as_of: str | None = Field(description="ISO 8601, UTC.")


Count = Known[int]
Number = Known[float]
Text = Known[str]
Yes = Known[bool]


class Points(Model):
    """A value over time, one a minute; null where it was degraded."""

    times: list[int] = Field(description="Unix seconds.")
    values: list[float | None]


class Summary(Model):
    """The header's cards (spec §4)."""

    degraded: bool
    online_users: Count
    ai_requests_last_hour: Count
    ai_queue_depth: Count = Field(description="Null where no queue is known.")
    preview_queue_depth: Count = Field(description="Null where no queue is known.")
    paid_free_ratio: Number = Field(description="Paid users to free ones.")
    paid_users: Count
    free_users: Count
    trends: dict[str, Points] = Field(description="Since this process started, an hour at most.")


class OnlineDevices(Model):
    """By type."""

    desktop: Count
    ipad: Count
    phone: Count
    unknown: Count


class ByPlan(Model):
    """By plan class (contract §2)."""

    paid: Count
    trial: Count
    trial_expired: Count
    free: Count


class Users(Model):
    """Users and sessions (spec §3.1)."""

    online_users: Count
    online_devices: OnlineDevices
    live_view_sessions: Count
    daily_active_users: Count
    monthly_active_users: Count
    daily_active_users_by_plan: ByPlan
    monthly_active_users_by_plan: ByPlan


class PerUser(Model):
    """Over users with at least one."""

    median: Number
    p90: Number
    max: Number


class AiErrors(Model):
    """By kind, over 24 hours."""

    provider_error: Count
    timeout: Count
    safety_rejection: Count
    other: Count


class Ai(Model):
    """AI usage (spec §3.2)."""

    requests_per_minute: Count
    requests_per_hour: Count
    requests_per_day: Count
    requests_per_user: PerUser
    errors: AiErrors
    log_events: dict[str, Count] = Field(
        description="By event, since counting began; never known before the log's end was reached once."
    )
    log_errors: dict[str, Count] = Field(description="By kind, as `log_events`.")


class Queue(Model):
    """One queue's depth."""

    queue: str
    name: str
    depth: Count


class Latency(Model):
    """Seconds from created to completed; null where no job succeeded."""

    m1: Number = Field(alias="1m")
    m15: Number = Field(alias="15m")
    h1: Number = Field(alias="1h")


class Latencies(Model):
    """By queue."""

    ai: Latency
    preview: Latency


class Requests(Model):
    """By window."""

    m1: Count = Field(alias="1m")
    h1: Count = Field(alias="1h")
    h24: Count = Field(alias="24h")


class Processing(Model):
    """What the AI workers say they have done, in all."""

    jobs: Count
    seconds: Number


class Queues(Model):
    """Queues and jobs (spec §3.3)."""

    ai_queue_depth: Count = Field(description="Null where no queue is known.")
    preview_queue_depth: Count = Field(description="Null where no queue is known.")
    queues: list[Queue]
    latency_seconds: Latencies
    preview_requests: Requests
    processing: Processing


class Worker(Model):
    """One worker; state, instance type and lifecycle are null but on GPU workers."""

    worker: str
    kind: str
    healthy: Yes
    last_heartbeat: Text
    state: Text
    instance_type: Text
    lifecycle: Text


class Workers(Model):
    """Workers (spec §3.3)."""

    healthy: Count
    total: Count
    workers: list[Worker]


class Tokens(Model):
    """Of one model and direction, this month."""

    model: str
    direction: str
    tokens: Count


class Dollars(Model):
    """An estimate; null without a price file."""

    tokens: Number
    gpu: Number
    total: Number


class Monetization(Model):
    """Plans and cost (spec §3.4)."""

    users: Count
    users_by_plan: ByPlan
    projects: Count
    paid_free_ratio: Number
    estimate: Literal[True] = Field(description="Costs are estimates.")
    tokens_month_to_date: list[Tokens]
    cost_month_to_date_dollars: Dollars
    cost_month_projected_dollars: Dollars


class Series(Model):
    """One line, or one set of bars."""

    name: str
    label: str
    values: list[float | None]


class Chart(Model):
    """A chart of spec §4; `times` for a line, `categories` for bars."""

    title: str
    unit: str
    kind: Literal["line", "bar"]
    range: str | None
    ranges: list[str]
    timezone: Literal["UTC"]
    status: Status
    sources: list[str]
    as_of: str | None
    times: list[int] | None = Field(description="Unix seconds: ends of hours, or starts of days.")
    categories: list[str] | None
    series: list[Series]


class Column(Model):
    """One column of a table."""

    name: str
    label: str
    type: Literal["text", "number", "time"]


class TopUser(Model):
    """One of those who use AI the most (spec §6: nothing more)."""

    user_id: str
    user: str = Field(description="User name, or e-mail where there is none.")
    plan: str
    last_seen: str | None
    ai_requests_7d: int


class Incident(Model):
    """One failure."""

    time: str
    kind: Literal["ai_error", "preview_failure"]
    job_id: str
    provider: str | None
    model: str | None
    error_kind: str


class TopUsers(Model):
    """The table of top users."""

    title: str
    status: Status
    sources: list[str]
    as_of: str | None
    columns: list[Column]
    rows: list[TopUser]


class Incidents(Model):
    """The table of incidents; `origin`: logs, where PostgreSQL cannot be asked."""

    title: str
    status: Status
    sources: list[str]
    as_of: str | None
    origin: Literal["postgres", "logs"]
    columns: list[Column]
    rows: list[Incident]


class SourceState(Model):
    """One source; `error` is the kind of the last one while it is down."""

    source: str
    up: bool | None
    last_success: str | None
    error: str | None


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
    """Every source, and whether the page is degraded."""

    degraded: bool
    version: str
    sources: list[SourceState]
    collectors: list[CollectorState]
    grafana: GrafanaState


class Problem(Model):
    """An error (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str | None = None
