"""HiveSync's words with a meaning here, in lower case, as they are compared."""

from __future__ import annotations

PLAN_CLASSES = ("paid", "trial", "trial_expired", "free")
"""In order of precedence: the first class that holds is a user's."""

TRIAL = "trial"

FREE_PLANS = ("free", "admin")
"""Plans that are not paid, unless FREE_PLANS names others."""

PAID_PLANS = ("pro", "premium")
"""Known paid plans. Any other word counts as a paid plan too, and is logged once."""

PAYING_STATUSES = ("active", "past_due")
"""The statuses of a subscription that is paid."""

OTHER_STATUSES = ("canceled", "cancelled", "expired", "ended", "incomplete", "unpaid", "paused", "trialing", "inactive")
"""Known statuses of a subscription that is not paid, as is one of any other status."""

SESSION_KINDS = ("app", "live_view")

DEVICE_TYPES = ("desktop", "ipad", "phone")

QUEUES = ("ai", "preview")

JOB_STATES = {"waiting": "queued", "running": "running"}
"""The states of a job that has not ended, and the status of its row."""

JOB_STATUSES = (*JOB_STATES.values(), "succeeded", "failed", "cancelled")

AI_ERROR_KINDS = ("provider_error", "timeout", "safety_rejection")
PREVIEW_ERROR_KINDS = ("build_error", "timeout", "worker_lost")

AI_EVENTS = ("ai.requested", "ai.completed", "ai.error")
PREVIEW_EVENTS = (
    "preview.requested",
    "preview.completed",
    "preview.failed",
    "live_view.joined",
    "live_view.left",
)

WORKER_KINDS = ("cpu", "gpu")
"""Kinds of workers, unless WORKER_KINDS names others."""

GPU = "gpu"
"""The kind of workers with a state and an instance."""

WORKER_DEFAULT_KIND = "cpu"
"""The kind of a worker that names none, unless WORKER_DEFAULT_KIND names another."""

WORKER_ID = "{id}"
"""Stands for the worker's id in a pattern of keys."""

GPU_STATES = ("active", "idle", "offline")
LIFECYCLES = ("spot", "on-demand")

LOGS = ("ai-events", "preview")

SOURCES = ("postgres", "redis", "ai_events_log", "preview_log")
