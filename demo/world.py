"""The likelihoods of the made-up HiveSync: busy hours, durations and results of jobs, plans.

History (`history.py`) and live traffic (`people.py`, `jobs.py`) draw from the same likelihoods, so that the transition
between them has no step. Rates are of one average user, on an average working day.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from random import Random
from typing import TypeVar

LOGINS_A_DAY = 1.8
LIVE_VIEW_JOINS_A_DAY = 0.5
AI_REQUESTS_A_DAY = 10.0
AI_REQUESTS_IN_BURSTS = 0.4  # of them: a class works through an exercise, a build sends a request per file
BURST_AI_REQUESTS_A_DAY = 63.0  # while a burst lasts
BURST_SECONDS = 75.0  # on average
PREVIEWS_A_DAY = 2.5
SIGN_UPS_A_DAY = 0.2
PLAN_CHANGES_A_DAY = 0.7
ANONYMOUS = 0.01  # of the requests: the account was deleted, or there never was an account

SESSION_MINUTES: Mapping[str, float] = {"app": 70.0, "live_view": 25.0}  # on average, by kind
GUESTS = 0.1  # of the Live View joins: a link without an account
HEARTBEAT_SECONDS = 20
NO_GOODBYE = 0.08  # of the sessions: the lid was closed, and `ended_at` was never written

# Differences between the users: log-normal, and some users are hardly ever active.
ACTIVITY_SIGMA = 1.3
QUIET = 0.4  # of the users
QUIET_FACTOR = 0.02

DEVICES: Mapping[str | None, float] = {"desktop": 0.62, "phone": 0.18, "ipad": 0.14, None: 0.06}
PRIORITY_QUEUE = 0.2  # of the AI requests

OUTCOMES = {"succeeded": 0.92, "failed": 0.06, "cancelled": 0.02}
ERRORS: Mapping[str, Mapping[str, float]] = {
    "ai": {"provider_error": 0.55, "timeout": 0.3, "safety_rejection": 0.15},
    "preview": {"build_error": 0.7, "timeout": 0.2, "worker_lost": 0.1},
}
LOST = {"ai": "timeout", "preview": "worker_lost"}  # error kind of a job whose worker falls silent

# The histories of a user's subscriptions; each of them occurs even among few users.
STORIES = {
    "no subscription": 0.42,
    "free": 0.12,
    "trial running": 0.06,
    "trial expired": 0.12,
    "pro": 0.14,
    "pro after a trial": 0.05,
    "premium": 0.03,
    "premium past due": 0.02,
    "canceled": 0.04,
}


@dataclass(frozen=True, slots=True)
class Model:
    """An AI model: its share of the requests, and the medians of log-normal distributions of duration and tokens."""

    provider: str
    name: str
    share: float
    seconds: float
    prompt_tokens: int
    completion_tokens: int


MODELS = (
    Model("openai", "gpt-4.1", 0.3, 9.0, 1_900, 650),
    Model("openai", "gpt-4.1-mini", 0.5, 4.0, 1_300, 420),
    Model("local", "qwen2.5-coder-7b", 0.2, 12.0, 1_100, 380),
)
PREVIEW_SECONDS = 16.0
TIMEOUT_SECONDS = 60.0
SECONDS_SIGMA = 0.6
TOKENS_SIGMA = 0.5

Choice = TypeVar("Choice")


def choose(rng: Random, likelihoods: Mapping[Choice, float]) -> Choice:
    """Return one of the keys, with the likelihood of its value."""
    return rng.choices(list(likelihoods), list(likelihoods.values()))[0]


def choose_model(rng: Random) -> Model:
    """Return the model of one AI request."""
    return rng.choices(MODELS, [model.share for model in MODELS])[0]


def around(rng: Random, median: float, sigma: float) -> float:
    """Return a log-normal value around a median."""
    return median * math.exp(rng.gauss(0, sigma))


def rhythm(epoch_seconds: float) -> float:
    """Return the level of activity at a time, 1 on average over a working day: highest at 15 h UTC, lower at
    weekends."""
    days, seconds = divmod(epoch_seconds, 86_400)
    hour_factor = 1 + 0.55 * math.cos((seconds / 3_600 - 15) / 24 * math.tau)
    is_weekend = (int(days) + 3) % 7 >= 5  # day 0 of the epoch was a Thursday
    return hour_factor * (0.65 if is_weekend else 1.0)
