"""The plans of the made-up users: the subscriptions of the past, a story per user, and the changes of plan since."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

import numpy as np

from demo import world
from demo.backend import Backend
from demo.tables import NULL, Column, Table, as_text

TRIAL_SECONDS = 14 * 86_400
SHORT_TRIAL_SECONDS = 900  # of one live trial in three, so that a demo of an hour sees trials expire
MICROSECONDS = 1_000_000

# plan, status, started_at, trial_ends_at, ended_at
Subscription = tuple[str, str, int, int | None, int | None]

START_TRIAL = """
    INSERT INTO subscriptions (user_id, plan, trial_ends_at)
    SELECT id, 'trial', now() + %(length)s * interval '1 second' FROM users
    WHERE NOT EXISTS (
        SELECT FROM subscriptions WHERE user_id = users.id AND (plan = 'trial' OR ended_at IS NULL)
    )
    ORDER BY hashtextextended(id::text, %(draw)s) LIMIT 1
"""
UPGRADE = """
    WITH trial AS (
        UPDATE subscriptions SET ended_at = now(), status = 'expired' WHERE id = (
            SELECT id FROM subscriptions WHERE plan = 'trial' AND ended_at IS NULL AND trial_ends_at > now()
            ORDER BY hashtextextended(id::text, %(draw)s) LIMIT 1
        ) RETURNING user_id
    )
    INSERT INTO subscriptions (user_id, plan) SELECT user_id, %(plan)s FROM trial
"""
CANCEL = """
    UPDATE subscriptions SET status = 'canceled', ended_at = now() WHERE id = (
        SELECT id FROM subscriptions WHERE plan NOT IN ('free', 'trial') AND ended_at IS NULL
        ORDER BY hashtextextended(id::text, %(draw)s) LIMIT 1
    )
"""
EXPIRE = """
    UPDATE subscriptions SET status = 'expired', ended_at = trial_ends_at
    WHERE plan = 'trial' AND status = 'active' AND trial_ends_at <= now()
"""
CHANGES = {START_TRIAL: 0.45, UPGRADE: 0.35, CANCEL: 0.2}


def subscriptions(rng: Random, users: Sequence[str], joined: Sequence[int], now: int) -> Table:
    """Return the subscriptions of the past; times are microseconds since the epoch."""
    stories = list(world.STORIES)  # each once, then by likelihood
    stories += rng.choices(stories, list(world.STORIES.values()), k=len(users))
    rows = [
        (user, *subscription)
        for user, member_since, story in zip(users, joined, stories, strict=False)
        for subscription in _story(rng, story, member_since, now)
    ]
    names, plans, states, *times = zip(*rows, strict=True) if rows else [()] * 6
    columns: dict[str, Column] = {"user_id": names, "plan": plans, "status": states}
    for column, values in zip(("started_at", "trial_ends_at", "ended_at"), times, strict=True):
        texts = as_text(np.array([value or 0 for value in values]))
        columns[column] = np.where([value is None for value in values], NULL, texts)
    return Table("subscriptions", columns)


def _story(rng: Random, story: str, joined: int, now: int) -> Sequence[Subscription]:
    trial_length = TRIAL_SECONDS * MICROSECONDS
    trial_end = joined + min(trial_length, (now - joined) // 2)
    early = (joined + trial_end) // 2
    late = rng.randrange(trial_end, now)
    match story:
        case "free":
            return [("free", "active", joined, None, None)]
        case "trial running":
            started = max(joined, now - rng.randrange(trial_length))
            return [("trial", "active", started, started + trial_length, None)]
        case "trial expired":
            return [("trial", "expired", joined, trial_end, trial_end)]
        case "pro":
            return [("pro", "active", late, None, None)]
        case "pro after a trial":
            return [("trial", "expired", joined, trial_end, early), ("pro", "active", early, None, None)]
        case "premium":
            return [("premium", "active", late, None, None)]
        case "premium past due":
            return [("premium", "past_due", early, None, None)]
        case "canceled":
            return [("pro", "canceled", early, None, late)]
    return []


def change_plan(backend: Backend) -> None:
    """Let one user start a trial, change to a paid plan or cancel."""
    rng = backend.rng
    length = SHORT_TRIAL_SECONDS if rng.random() < 1 / 3 else TRIAL_SECONDS
    values = {"draw": rng.getrandbits(62), "plan": rng.choice(("pro", "premium")), "length": length}
    backend.execute(world.choose(rng, CHANGES), values)


def end_trials(backend: Backend) -> None:
    """Mark the trials that have expired."""
    backend.execute(EXPIRE)
