"""The made-up past: users with plans and projects, and weeks of sessions, AI requests and previews up to now.

Pure: the same users, days, seed and now give the same rows. Sessions that are open and jobs that wait or run at `now`
are left so, for the live traffic to continue.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from random import Random

import numpy as np
from numpy.typing import NDArray

from demo import world
from demo.plans import subscriptions
from demo.tables import NULL, Column, Microseconds, Table, Texts, as_text, new_ids

SECOND = 1_000_000
HOUR = 3_600 * SECOND
DAY = 24 * HOUR

MEMBERS_BEFORE = 0.75  # of the users joined before the first day, the others on one of the days: their number grows
WAIT_SECONDS = 3.0  # in the queue, on average
LAST_SECONDS = 20
IN_LAST_SECONDS = {"ai": 8, "preview": 3}  # requests, so that there is work when the live traffic begins

Indexes = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Members:
    """The users and their attributes: columns of the same length (projects are sorted by user)."""

    ids: Texts
    joined: Microseconds
    activity: Floats  # in multiples of the average
    project_ids: Texts
    project_counts: Indexes

    def some_project(self, rng: np.random.Generator, users: Indexes) -> Indexes:
        """Return for each user the index of one of the user's projects."""
        first = np.cumsum(self.project_counts) - self.project_counts
        return first[users] + (rng.random(len(users)) * self.project_counts[users]).astype(np.int64)


def make_history(users: int, days: int, seed: int, now: datetime) -> tuple[Table, ...]:
    """Return the rows of every table for the last `days` days."""
    rng = np.random.default_rng(seed)
    end = round(now.timestamp() * SECOND)
    start = end - days * DAY
    members = _members(rng, users, start, end)
    logins = _moments(rng, members, world.LOGINS_A_DAY, start, end)
    joins = _moments(rng, members, world.LIVE_VIEW_JOINS_A_DAY, start, end)
    return (
        _users(members, *logins),
        subscriptions(Random(seed), members.ids.tolist(), members.joined.tolist(), end),
        _projects(rng, members, end),
        _sessions(rng, members, "app", *logins, end),
        _sessions(rng, members, "live_view", *joins, end),
        _ai_usage_events(rng, members, start, end),
        _preview_jobs(rng, members, start, end),
    )


def _members(rng: np.random.Generator, count: int, start: int, end: int) -> Members:
    days_before_start = rng.exponential(150, count)
    day_of_joining = np.where(
        rng.random(count) < MEMBERS_BEFORE,
        start - days_before_start * DAY,
        rng.uniform(start, end - HOUR, count),
    )
    activity = rng.lognormal(0, world.ACTIVITY_SIGMA, count)
    activity *= np.where(rng.random(count) < world.QUIET, world.QUIET_FACTOR, 1)
    activity /= activity.mean()
    project_counts = 1 + rng.poisson(0.8 * np.sqrt(activity))
    return Members(
        ids=new_ids(rng, count),
        joined=day_of_joining.astype(np.int64),
        activity=activity,
        project_ids=new_ids(rng, int(project_counts.sum())),
        project_counts=project_counts,
    )


def _moments(
    rng: np.random.Generator, members: Members, a_day: float, start: int, end: int
) -> tuple[Microseconds, Indexes]:
    """Return the sorted times of an activity and its users, never before a user joined."""
    hours = np.arange(start - start % HOUR, end, HOUR)
    rhythm = np.array([world.rhythm((hour + HOUR // 2) / SECOND) for hour in hours.tolist()])
    counts = rng.poisson(len(members.ids) * a_day / 24 * rhythm)
    times = np.sort(np.repeat(hours, counts) + rng.integers(0, HOUR, counts.sum()))
    users = rng.choice(len(members.ids), len(times), p=members.activity / members.activity.sum())
    kept = (times > members.joined[users]) & (times > start) & (times <= end)
    return times[kept], users[kept]


def _users(members: Members, logins: Microseconds, users: Indexes) -> Table:
    last_logins = np.zeros_like(members.joined)
    np.maximum.at(last_logins, users, logins)
    numbers = range(1, len(members.ids) + 1)
    columns: dict[str, Column] = {
        "id": members.ids,
        "email": [f"user{number}@example.org" for number in numbers],
        "username": [f"user{number}" if number % 10 else NULL for number in numbers],
        "created_at": as_text(members.joined),
        "last_login_at": np.where(last_logins > 0, as_text(last_logins), NULL),
    }
    return Table("users", columns)


def _projects(rng: np.random.Generator, members: Members, end: int) -> Table:
    owners = np.repeat(np.arange(len(members.ids)), members.project_counts)
    age = end - members.joined[owners]
    columns: dict[str, Column] = {
        "id": members.project_ids,
        "owner_id": members.ids[owners],
        "name": [f"project {number}" for number in range(1, len(owners) + 1)],
        "created_at": as_text(end - (age * rng.power(3, len(owners))).astype(np.int64)),
    }
    return Table("projects", columns)


def _sessions(
    rng: np.random.Generator, members: Members, kind: str, starts: Microseconds, users: Indexes, end: int
) -> Table:
    count = len(starts)
    minutes = rng.exponential(world.SESSION_MINUTES[kind], count)
    ends = starts + (minutes * 60 * SECOND).astype(np.int64)
    is_open = ends > end
    is_guest = (rng.random(count) < world.GUESTS) & (kind == "live_view")
    since_heartbeat = rng.integers(0, world.HEARTBEAT_SECONDS * SECOND, count)
    said_goodbye = ~is_open & (rng.random(count) >= world.NO_GOODBYE)
    devices = [NULL if device is None else device for device in world.DEVICES]
    columns: dict[str, Column] = {
        "id": new_ids(rng, count),
        "user_id": np.where(is_guest, NULL, members.ids[users]),
        "kind": [kind] * count,
        "device_type": rng.choice(devices, count, p=list(world.DEVICES.values())),
        "created_at": as_text(starts),
        "last_heartbeat_at": as_text(np.maximum(starts, np.minimum(ends, end) - since_heartbeat)),
        "ended_at": np.where(said_goodbye, as_text(np.minimum(ends, end)), NULL),
    }
    return Table("sessions", columns)


def _ai_usage_events(rng: np.random.Generator, members: Members, start: int, end: int) -> Table:
    moments = _requests(rng, members, "ai", world.AI_REQUESTS_A_DAY, start, end)
    count = len(moments[0])
    models = rng.choice(len(world.MODELS), count, p=[model.share for model in world.MODELS])
    medians = np.array([model.seconds for model in world.MODELS])[models]
    jobs = _jobs(rng, members, "ai", *moments, medians, end)
    succeeded = jobs["status"] == "succeeded"

    def tokens(medians: list[int]) -> Texts:
        drawn = np.array(medians)[models] * rng.lognormal(0, world.TOKENS_SIGMA, count)
        return np.where(succeeded, drawn.astype(np.int64).astype(np.str_), NULL)

    return Table(
        "ai_usage_events",
        jobs
        | {
            "provider": np.array([model.provider for model in world.MODELS])[models],
            "model": np.array([model.name for model in world.MODELS])[models],
            "prompt_tokens": tokens([model.prompt_tokens for model in world.MODELS]),
            "completion_tokens": tokens([model.completion_tokens for model in world.MODELS]),
        },
    )


def _preview_jobs(rng: np.random.Generator, members: Members, start: int, end: int) -> Table:
    times, users = _requests(rng, members, "preview", world.PREVIEWS_A_DAY, start, end)
    medians = np.full(len(times), world.PREVIEW_SECONDS)
    return Table("preview_jobs", _jobs(rng, members, "preview", times, users, medians, end))


def _requests(
    rng: np.random.Generator, members: Members, queue: str, a_day: float, start: int, end: int
) -> tuple[Microseconds, Indexes]:
    times, users = _moments(rng, members, a_day, start, end)
    count = IN_LAST_SECONDS[queue]
    last = np.sort(end - rng.integers(0, LAST_SECONDS * SECOND, count))
    return np.append(times, last), np.append(users, rng.integers(0, len(members.ids), count))


def _jobs(
    rng: np.random.Generator,
    members: Members,
    queue: str,
    created: Microseconds,
    users: Indexes,
    median_seconds: Floats,
    end: int,
) -> dict[str, Texts]:
    """Return the common columns of AI requests and previews; each job is in its state at `end`."""
    count = len(created)
    outcomes = rng.choice(list(world.OUTCOMES), count, p=list(world.OUTCOMES.values()))
    errors = rng.choice(list(world.ERRORS[queue]), count, p=list(world.ERRORS[queue].values()))
    seconds = median_seconds * rng.lognormal(0, world.SECONDS_SIGMA, count)
    seconds = np.where((outcomes == "failed") & (errors == "timeout"), world.TIMEOUT_SECONDS, seconds)
    begun = created + (rng.exponential(WAIT_SECONDS, count) * SECOND).astype(np.int64)
    completed = begun + (seconds * SECOND).astype(np.int64)
    is_over = completed <= end
    is_anonymous = rng.random(count) < world.ANONYMOUS
    return {
        "id": new_ids(rng, count),
        "user_id": np.where(is_anonymous, NULL, members.ids[users]),
        "project_id": np.where(is_anonymous, NULL, members.project_ids[members.some_project(rng, users)]),
        "status": np.where(is_over, outcomes, np.where(begun <= end, "running", "queued")),
        "error_kind": np.where(is_over & (outcomes == "failed"), errors, NULL),
        "created_at": as_text(created),
        "completed_at": np.where(is_over, as_text(completed), NULL),
    }
