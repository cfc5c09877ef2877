"""A Celery application with a task that waits and a task that retries, for tests with real workers.

    app(...)           the application of a test, which sends tasks
    CeleryWorker(...)  servers/celery.py: a worker of `tests.celery_app`, with the options of `environment(...)`

A task ends on a condition, never after a time: `hold` when the test lets it go (`release`).
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any, cast

import redis
from celery import Celery, Task

RELEASED = "test:released"
"""A list in Redis: each entry ends one task that holds."""

HOLD_SECONDS = 60
"""Longest time of a task that is not let go, so that a worker can stop; unless the task's argument is another."""

OPTIONS = "CELERY_TRANSPORT_OPTIONS"


def application(broker: str, **transport_options: Any) -> Celery:
    """Return the application for this broker (a URL of Redis); `transport_options` are kombu's."""
    app = Celery("hivesync", broker=broker, set_as_current=False)
    app.conf.update(
        task_default_queue="ai_tasks",
        task_create_missing_queues=True,
        task_ignore_result=True,
        broker_transport_options=transport_options,
        broker_connection_retry_on_startup=True,
        worker_hijack_root_logger=False,
    )

    @app.task(name="hold")  # type: ignore[untyped-decorator]
    def hold(seconds: float = HOLD_SECONDS) -> None:
        with redis.Redis.from_url(broker, socket_timeout=None) as client:
            client.blpop([RELEASED], timeout=seconds)

    @app.task(name="fail_once", bind=True, max_retries=1)  # type: ignore[untyped-decorator]
    def fail_once(task: Task, countdown: float) -> None:
        if not task.request.retries:
            raise task.retry(countdown=countdown)

    del hold, fail_once
    return app


def environment(**transport_options: Any) -> Mapping[str, str]:
    """Return the variables that give a worker of this module the same transport options."""
    return {OPTIONS: json.dumps(transport_options)}


def release(client: redis.Redis, tasks: int = 1) -> None:
    """Let that many tasks end that hold, or will."""
    client.rpush(RELEASED, *["go"] * tasks)


if broker_url := os.environ.get("CELERY_BROKER_URL"):
    app = application(broker_url, **cast("dict[str, Any]", json.loads(os.environ.get(OPTIONS, "{}"))))
