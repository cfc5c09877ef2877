"""Dead letters (docs/definitions.md#dead-letter)."""

from __future__ import annotations

import redis

from exporter.collectors.dead_letters import DeadLetters
from tests.celery_app import application
from tests.rows import NO_DATABASE, NOWHERE, collect, only


def letters(collector: DeadLetters, url: str) -> dict[str, int]:
    return only(collect(collector, NO_DATABASE, url), "hivesync_dead_letters")


def test_the_length_of_each_list_is_counted(url: str, valkey: redis.Redis) -> None:
    valkey.rpush("dlq_tasks", "one", "two")
    valkey.rpush("dead:preview", "three")
    valkey.rpush("ai_tasks", "a job")
    assert letters(DeadLetters(["dlq_tasks", "dead:*"]), url) == {"dlq_tasks": 2, "preview": 1}


def test_a_list_that_a_setting_names_is_0_while_it_does_not_exist(url: str) -> None:
    assert letters(DeadLetters(["dlq_tasks", "dead:*"]), url) == {"dlq_tasks": 0}


def test_a_list_that_had_letters_is_0_after_it_was_emptied(url: str, valkey: redis.Redis) -> None:
    collector = DeadLetters(["dead:*"])
    for expected in (1, 0):
        if expected:
            valkey.rpush("dead:preview", "one")
        assert letters(collector, url) == {"preview": expected}
        valkey.delete("dead:preview")


def test_letters_of_all_priorities_are_one_celery_queue(url: str) -> None:
    app = application(url)
    for priority in (0, 3, 9):
        app.send_task("hold", queue="dlq_tasks", priority=priority)
    assert letters(DeadLetters(["celery:dlq_tasks"]), url) == {"dlq_tasks": 3}


def test_a_key_of_another_type_is_left_out_and_counted(url: str, valkey: redis.Redis) -> None:
    valkey.set("dlq_tasks", "x")
    values = collect(DeadLetters(["dlq_tasks"]), NO_DATABASE, url)
    reasons = {"wrong_type": 1, "beyond_limit": 0}
    assert values == {f"hivesync_skipped_values{{dead_letters,{reason}}}": n for reason, n in reasons.items()}


def test_without_the_setting_nothing_is_read() -> None:
    assert collect(DeadLetters([]), NO_DATABASE, NOWHERE) == {}
