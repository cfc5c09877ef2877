"""Faults in Redis: the doctor names each, with the setting, the ACL line or the command that makes it good."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from exporter.doctor.scanning import Pass, scan
from exporter.sources.redis import Redis
from tests.exporter.doctor.faults import LOOK, WRONG, Fault, check, env, every, parametrised
from tests.exporter.doctor.house import House, heartbeat
from tests.exporter.doctor.house import command as run
from tests.rows import NOWHERE, keep

HOUR, YEAR = 3_600, 365 * 86_400


def command(*words: object) -> Callable[[House], object]:
    """Harm by a command."""
    return lambda house: run(house.valkey, *words)


def beat(worker: str, **changes: object) -> Callable[[House], object]:
    """Harm by a heartbeat."""
    return lambda house: heartbeat(house.valkey, worker, **changes)


def open_socket(**fields: object) -> Callable[[House], object]:
    """Harm by an open WebSocket."""
    return lambda house: keep(house.valkey, "ws_sessions:1", **fields)


def as_user(*rights: str) -> Callable[[House], object]:
    """Harm by a user with these rights alone."""

    def harm(house: House) -> None:
        run(house.valkey, "ACL", "SETUSER", "reader", "on", ">pw", "~*", "+client|setname", *rights)
        server = house.env["HIVESYNC_REDIS_URL"].rpartition("@")[2]
        house.env["HIVESYNC_REDIS_URL"] = f"redis://reader:pw@{server}"

    return harm


TASKS = command("RPUSH", "ai_tasks", *range(10))

SERVER = [
    Fault("no server", env(redis_url=NOWHERE), "redis.reachable", WRONG, "start Redis, or correct host", mends=False),
    Fault(
        "a missing right",
        as_user("+scan", "+llen", "+time", "+info"),
        "redis.commands",
        WRONG,
        "ACL SETUSER reader ~* +hmget",
    ),
    Fault(
        "no right",
        as_user("+ping"),
        "redis.commands",
        WRONG,
        "ACL SETUSER reader ~* +scan +hmget +getrange +llen +time +info",
    ),
    Fault(
        "no right to strings",
        as_user("+scan", "+hmget", "+llen", "+time", "+info"),
        "redis.commands",
        LOOK,
        "ACL SETUSER reader ~* +getrange",
    ),
    Fault(
        "no right to the server's id",
        as_user("+scan", "+hmget", "+getrange", "+llen", "+time"),
        "redis.commands",
        LOOK,
        "ACL SETUSER reader ~* +info",
    ),
]

KEYS = [
    Fault(
        "a list in no setting",
        TASKS,
        "keys.others",
        LOOK,
        "HIVESYNC_AI_QUEUE_KEYS=ai_queue:default,ai_queue:*,ai_tasks",
    ),
    Fault(
        "priority steps in no setting",
        every(env(ai_queue_keys="ai_tasks"), TASKS, command("RPUSH", "ai_tasks\x06\x163", "a job")),
        "keys.others",
        LOOK,
        "HIVESYNC_AI_QUEUE_KEYS=celery:ai_tasks",
        mends=False,
    ),
    Fault(
        "a list of an unknown purpose while a queue is not known",
        every(env(ai_queue_keys="jobs:*"), command("RPUSH", "work", "a job"), command("DEL", "ai_queue:default")),
        "keys.others",
        LOOK,
        "HIVESYNC_AI_QUEUE_KEYS=jobs:*,work",
        also="keys.queues",
    ),
    Fault(
        "a pattern of no key while another list exists",
        every(TASKS, env(ai_queue_keys="jobs:ai:*")),
        "keys.queues",
        WRONG,
        "HIVESYNC_AI_QUEUE_KEYS=ai_queue:default,ai_tasks,jobs:ai:*",
    ),
    Fault(
        "a pattern of no key",
        env(preview_queue_keys="jobs:*"),
        "keys.queues",
        LOOK,
        "HIVESYNC_PREVIEW_QUEUE_KEYS=jobs:*,jobs:default",
    ),
    Fault(
        "a queue that is no list",
        command("SET", "ai_queue:strange", "a text"),
        "keys.queues",
        WRONG,
        "name the lists alone, in place of ai_queue:*",
        mends=False,
    ),
    Fault(
        "messages of Celery", command("HSET", "unacked", "a", "b"), "keys.unacked", LOOK, "hivesync_jobs", mends=False
    ),
    Fault(
        "WebSockets that are no hashes",
        command("SET", "ws_sessions:1", "a user"),
        "keys.sessions",
        WRONG,
        "HIVESYNC_NOT_PROVIDED=ws_sessions",
        mends=False,
    ),
    Fault(
        "WebSockets without a user",
        open_socket(uid="a", last_seen_at=time.time()),
        "keys.sessions",
        WRONG,
        "write user_id and session_id",
        mends=False,
    ),
    Fault(
        "WebSockets in milliseconds",
        open_socket(user_id="a", last_seen_at=time.time() * 1000),
        "keys.sessions",
        WRONG,
        "in seconds: time.time(), not milliseconds",
        mends=False,
    ),
    Fault(
        "WebSockets that never close",
        open_socket(user_id="a", last_seen_at=time.time() - YEAR),
        "keys.sessions",
        LOOK,
        "EXPIRE ws_sessions:CONNECTION 120",
        mends=False,
    ),
]

SIBLINGS = every(
    env(worker_keys="beat:{id}", worker_kind_keys="beat:{id}:kind"),
    command("DEL", "worker:heartbeat:cpu-1"),
    command("SET", "beat:w", f"{time.time() + 60:.0f}"),
)

HEARTBEATS = [
    Fault(
        "an unknown kind beside a heartbeat",
        every(SIBLINGS, command("SET", "beat:w:kind", "map")),
        "heartbeats.workers",
        LOOK,
        "SET beat:w:kind cpu  (as its worker should; ",
    ),
    Fault(
        "a GPU worker without prices where no tokens are recorded",
        every(
            env(prices_file="", not_provided="ai_usage_events.prompt_tokens,ai_usage_events.completion_tokens"),
            beat("gpu-1", kind="gpu", instance_type="g5.xlarge"),
        ),
        "heartbeats.workers",
        LOOK,
        "HIVESYNC_PRICES_FILE=/etc/hivesync-analytics/prices.toml  # [instances.",
        mends=False,
    ),
    Fault(
        "no workers",
        command("DEL", "worker:heartbeat:cpu-1"),
        "heartbeats.workers",
        LOOK,
        "HIVESYNC_NOT_PROVIDED=workers",
        mends=False,
    ),
    Fault(
        "a heartbeat in milliseconds",
        beat("cpu-2", last_heartbeat=time.time() * 1000),
        "heartbeats.workers",
        WRONG,
        "HSET worker:heartbeat:cpu-2 last_heartbeat",
    ),
    Fault(
        "a heartbeat in the future",
        beat("cpu-2", last_heartbeat=time.time() + HOUR),
        "heartbeats.workers",
        WRONG,
        "timedatectl set-ntp true",
        mends=False,
    ),
    Fault(
        "a heartbeat that is no time",
        beat("cpu-2", last_heartbeat="just now"),
        "heartbeats.workers",
        WRONG,
        "HSET worker:heartbeat:cpu-2 last_heartbeat",
    ),
    Fault(
        "a heartbeat that is a list",
        command("LPUSH", "worker:heartbeat:cpu-2", time.time()),
        "heartbeats.workers",
        WRONG,
        "HSET worker:heartbeat:cpu-2 kind cpu last_heartbeat",
    ),
    Fault(
        "a worker of another kind",
        beat("map-1", kind="map"),
        "heartbeats.workers",
        LOOK,
        "HSET worker:heartbeat:map-1 kind cpu",
    ),
    Fault(
        "a worker that is gone",
        beat("cpu-2", last_heartbeat=time.time() - YEAR),
        "heartbeats.workers",
        LOOK,
        "DEL worker:heartbeat:cpu-2",
    ),
]


@parametrised([*SERVER, *KEYS, *HEARTBEATS])
def test_a_fault_of_redis_is_found_and_made_good(house: House, fault: Fault) -> None:
    check(house, fault, "settings", "redis", "state")


def test_a_fault_of_redis_is_no_fault_of_postgresql(house: House) -> None:
    house.env["HIVESYNC_REDIS_URL"] = NOWHERE
    assert {each.check for each in house.new_findings("postgres", "redis")} == {"redis.reachable"}


def test_statistics_and_bindings_are_no_queue_under_any_pattern(house: House) -> None:
    keep(house.valkey, "ai_queue:stats", processed=4, processing_ms=5000)
    house.valkey.sadd("_kombu.binding.ai_tasks", "a queue")
    TASKS(house)
    house.env["HIVESYNC_AI_QUEUE_KEYS"] = "ai_queue:*,*ai_tasks"
    assert house.new_findings("redis") == []


def test_the_length_of_a_list_in_no_setting_is_named(house: House) -> None:
    TASKS(house)
    (found,) = house.new_findings("redis")
    assert found.found == "`ai_tasks`: 10 jobs, in no setting"


def test_the_priority_steps_of_a_celery_queue_are_one_queue(house: House) -> None:
    house.env["HIVESYNC_AI_QUEUE_KEYS"] = "celery:ai_tasks"
    for key in ("ai_tasks", "ai_tasks\x06\x163", "ai_tasks\x06\x169"):
        house.valkey.rpush(key, "a job")
    assert "ai: celery:ai_tasks -> ai_tasks 3" in [each.found for each in house.examine("redis")]


def test_a_key_that_may_hold_data_is_not_printed(house: House) -> None:
    house.valkey.rpush("ai of ada@example.org", "a job")
    text = str([(each.found, each.mend) for each in house.examine("redis")])
    assert "(text of 21 characters)" in text
    assert "ada" not in text


def test_many_keys_of_others_are_passed_over(house: House) -> None:
    house.valkey.mset({f"cache:{number}": "" for number in range(30_000)})
    assert house.new_findings("redis") == []


def test_a_pass_over_the_keys_ends_after_its_time(house: House) -> None:
    house.valkey.mset({f"cache:{number}": "" for number in range(5_000)})

    async def passed() -> Pass:
        redis = Redis(house.env["HIVESYNC_REDIS_URL"])
        try:
            return await scan(redis, "cache:*", seconds=0)
        finally:
            await redis.close()

    found = asyncio.run(passed())
    assert not found.whole
    assert 0 < len(found.keys) < 5_000
    assert found.number.endswith(" or more")
