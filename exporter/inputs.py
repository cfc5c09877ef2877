"""The inputs that a HiveSync may lack (docs/definitions.md#not-provided): the one list of them.

    inputs (this) -> settings.py (NOT_PROVIDED) -> collectors (no such column, key or file is read)
                  -> spec.py (`Need`: the samples that exist only with an input) -> snapshot, verify, admin documents

An input that is missing and not declared is a failure. A declared one is not read, even if it exists.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Input:
    """One input. `name`: a column as `table.column`, a table, a subject in Redis, or a log."""

    name: str
    meaning: str
    without: str
    """The values that are absent without it, and the values that remain. Markdown."""
    type: str = ""
    """The SQL type of a column; empty for all others."""
    source: str = "postgres"
    """As in the label `source` of `hivesync_source_up`; of the workers by default (`source_of`)."""

    is_read: bool = True
    """Whether any value is made of it."""


WORKERS = "workers"
"""The input of the workers' heartbeats, and the table that has them by the setting WORKERS_FROM."""

DAILY = "usage_analytics_daily"
"""The table of the roll-up."""

_JOBS = ("id", "user_id", "status", "created_at", "completed_at")

REQUIRED: Mapping[str, tuple[str, ...]] = {
    "users": ("id", "created_at", "username", "email"),
    "subscriptions": ("user_id", "plan", "status", "started_at"),
    "projects": (),
    "sessions": ("id", "user_id", "created_at"),
    "ai_usage_events": _JOBS,
    "preview_jobs": _JOBS,
    DAILY: ("date", "dau"),
    WORKERS: ("worker_id", "kind", "last_heartbeat_at"),
}
"""The tables of PostgreSQL, with the columns that none may lack (docs/definitions.md#postgresql). Beside these are the
columns of `INPUTS`."""

OF_GPU_WORKERS = ("state", "instance_type", "lifecycle")
"""Columns of the table `workers` that may be missing without a declaration."""

INPUTS = (
    Input(
        "sessions.device_type",
        "type of a session's device",
        "`hivesync_online_devices` is absent. Users and Live View sessions remain.",
        "text",
    ),
    Input(
        "sessions.kind",
        "kind of a session: application or Live View",
        "`hivesync_live_view_sessions` is absent.",
        "text",
    ),
    Input(
        "sessions.last_heartbeat_at",
        "latest heartbeat of a session",
        "Users and devices are online by their WebSockets alone; without `ws_sessions` too, `hivesync_online_users`,"
        " `hivesync_online_devices` and `hivesync_live_view_sessions` are absent.",
        "timestamptz",
    ),
    Input(
        "sessions.ended_at",
        "end of a session",
        "Nothing is absent: a session without a WebSocket is online until its heartbeat is two minutes old.",
        "timestamptz",
    ),
    Input(
        "ai_usage_events.provider",
        "provider of an AI job",
        "No metric is absent. The column of the incidents is.",
        "text",
    ),
    Input(
        "ai_usage_events.model",
        "model of an AI job",
        "`hivesync_ai_tokens_month_to_date` counts all tokens under the model `other`; `hivesync_ai_cost_*` has no"
        " component `tokens`. The column of the incidents is absent.",
        "text",
    ),
    Input(
        "ai_usage_events.error_kind",
        "kind of an AI job's error",
        "All errors are counted under the kind `other` of `hivesync_ai_errors_in_window`; the API and the page have"
        " their total. Kinds of AI errors are absent from the incidents.",
        "text",
    ),
    Input(
        "ai_usage_events.prompt_tokens",
        "prompt tokens of an AI job",
        "`hivesync_ai_tokens_month_to_date` has no direction `prompt`, and `hivesync_ai_cost_*` no component `tokens`.",
        "bigint",
    ),
    Input(
        "ai_usage_events.completion_tokens",
        "completion tokens of an AI job",
        "`hivesync_ai_tokens_month_to_date` has no direction `completion`, and `hivesync_ai_cost_*` no component"
        " `tokens`.",
        "bigint",
    ),
    Input(
        "preview_jobs.error_kind",
        "kind of a preview build's error",
        "No metric is absent. Kinds of preview failures are absent from the incidents.",
        "text",
    ),
    Input(
        "subscriptions.trial_ends_at",
        "end of a trial",
        "`hivesync_users`, `hivesync_active_users` and `hivesync_paid_plans_ended_in_window` have the plan classes"
        " `paid` and `free` alone; a user with a trial counts as `free`. `hivesync_trials_ended_in_window` is absent.",
        "timestamptz",
    ),
    Input(
        "subscriptions.ended_at",
        "end of a subscription",
        "No subscription has ended. `hivesync_paid_plans_ended_in_window` is absent; a trial ends at its"
        " `trial_ends_at`.",
        "timestamptz",
    ),
    Input(
        "users.last_login_at",
        "latest login of a user",
        "Nothing is absent: no value is made of it.",
        "timestamptz",
        is_read=False,
    ),
    Input("projects", "table of projects", "`hivesync_projects` is absent."),
    Input(
        "ws_sessions",
        "open WebSockets in Redis",
        "Users and devices are online by the heartbeats of their sessions alone; without"
        " `sessions.last_heartbeat_at` too, `hivesync_online_users`, `hivesync_online_devices` and"
        " `hivesync_live_view_sessions` are absent.",
        source="redis",
    ),
    Input(
        WORKERS,
        "heartbeats of workers, in Redis or (by WORKERS_FROM) in PostgreSQL",
        "`hivesync_worker_*` and `hivesync_gpu_*` are absent; `hivesync_ai_cost_*` has no component `gpu`, and the"
        " total cost is that of tokens.",
        source="redis",
    ),
    Input(
        "queue_stats",
        "statistics of the AI queue in Redis",
        "`hivesync_queue_processing_seconds` is absent.",
        source="redis",
    ),
    Input(
        "ai_events_log",
        "AI events log",
        "`hivesync_ai_log_*` are absent, and this log from `hivesync_log_*` and `hivesync_source_*`. The file is not"
        " looked for.",
        source="ai_events_log",
    ),
    Input(
        "preview_log",
        "preview log",
        "`hivesync_preview_log_*` are absent, and this log from `hivesync_log_*` and `hivesync_source_*`. The file is"
        " not looked for.",
        source="preview_log",
    ),
)

BY_NAME: Mapping[str, Input] = {each.name: each for each in INPUTS}


def optional_columns(table: str) -> Mapping[str, Input]:
    """Return the columns of a table that NOT_PROVIDED may name."""
    return {each.name.partition(".")[2]: each for each in INPUTS if each.name.startswith(f"{table}.")}


def source_of(name: str, workers_from: str) -> str:
    """Return the source of an input, with the setting WORKERS_FROM."""
    return workers_from if name == WORKERS else BY_NAME[name].source


def not_in_postgres(not_provided: Collection[str], workers_from: str) -> frozenset[str]:
    """Return the inputs that PostgreSQL does not have: those not provided, and heartbeats that are in Redis."""
    return frozenset(not_provided) | (frozenset() if source_of(WORKERS, workers_from) == "postgres" else {WORKERS})


def tables(lacking: Collection[str]) -> dict[str, tuple[str, ...]]:
    """Return the tables with the columns that are read, without the inputs that PostgreSQL does not have. The columns
    `OF_GPU_WORKERS` are among them."""
    optional = {name: [column for column, each in optional_columns(name).items() if each.is_read] for name in REQUIRED}
    optional[WORKERS] = [*OF_GPU_WORKERS]
    return {
        name: (*required, *(column for column in optional[name] if f"{name}.{column}" not in lacking))
        for name, required in REQUIRED.items()
        if name not in lacking
    }


@dataclass(frozen=True, slots=True)
class Need:
    """The need of a metric's samples for an input; of several inputs, one is enough. It is the need of all samples, or
    of those whose `label` is one of `values`, or is not `but`."""

    inputs: tuple[str, ...]
    label: str = ""
    values: tuple[str, ...] = ()
    but: str = ""

    def lacks(self, not_provided: Collection[str], labels: Mapping[str, str]) -> str | None:
        """Return the name of the input for want of which there is no sample with these labels; None if there is
        one."""
        if not all(name in not_provided for name in self.inputs):
            return None
        value = labels.get(self.label, "")
        concerned = not self.label or (value in self.values if self.values else value != self.but)
        return self.inputs[0] if concerned else None


def first_lacking(needs: Iterable[Need], not_provided: Collection[str], labels: Mapping[str, str]) -> str | None:
    """Return the first input that these needs lack; None if they lack none."""
    return next((name for need in needs if (name := need.lacks(not_provided, labels))), None)


def check_names(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names of inputs, in lower case. Raises ValueError for an unknown name, with the nearest known one."""
    given = tuple(dict.fromkeys(name.lower() for name in names))
    for name in given:
        if name not in BY_NAME:
            nearest = difflib.get_close_matches(name, BY_NAME, n=1, cutoff=0.0)
            raise ValueError(f"there is no input {name!r}; the nearest is {nearest[0]!r}")
    return given
