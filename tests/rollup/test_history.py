"""The past of the metrics: the output of `--history` in a real Prometheus, against the definitions at each hour."""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlencode

import orjson
import psycopg
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from exporter.collectors.activity import Activity
from exporter.collectors.ai import Ai
from exporter.collectors.latency import Latency
from exporter.collectors.previews import Previews
from exporter.definitions import Terms, read_definitions
from exporter.sources.postgres import Postgres
from rollup.openmetrics import whole_file
from servers.postgres import PostgresServer
from servers.prometheus import PrometheusServer
from tests.rollup.rolling import DAY, Command, midnight, today
from tests.rows import INSTANT, insert, users
from tests.running import get
from tests.waiting import until

HOUR, MINUTE, SECOND = timedelta(hours=1), timedelta(minutes=1), timedelta(seconds=1)
TOLD = (*Activity.specs, *Ai.specs, *Previews.specs, *Latency.specs)
NOT_TOLD = {
    "hivesync_ai_requests_per_user",
    "hivesync_previously_active_users",
    "hivesync_active_users_month_to_date",
}
SERIES = 2 * 4 + 3 + 4 + 3
"""Series at every hour: active users by window and plan, AI requests, AI errors, preview requests. Latencies only where
jobs ended."""

Values = Mapping[str, float]


def current_hour(connection: psycopg.Connection) -> datetime:
    ((hour,),) = connection.execute("SELECT date_trunc('hour', now())").fetchall()
    assert isinstance(hour, datetime)
    return hour.astimezone(UTC)


def seed(connection: psycopg.Connection, first: datetime, last: datetime) -> None:
    """Insert traffic, mostly on the edges of windows, by users of every plan; no subscription's status has changed
    since."""
    drawn = random.Random(4)
    ids = users(connection, 24)
    for number, who in enumerate(ids):
        start = first - 20 * DAY + number * 7 * HOUR
        if number % 4 == 0:
            insert(connection, "subscriptions", user_id=who, plan="pro", started_at=start - 40 * DAY)
        if number % 4 == 1:
            ends = first + (number - 7) * DAY + number % 3 * 17 * MINUTE
            insert(connection, "subscriptions", user_id=who, plan="trial", started_at="-infinity", trial_ends_at=ends)
        if number % 8 == 1:
            insert(connection, "subscriptions", user_id=who, plan="free", started_at=start)
        if number % 8 == 2:
            stops = first + (number + 1) * 9 * HOUR
            insert(
                connection, "subscriptions", user_id=who, plan="premium", started_at=start - 40 * DAY, ended_at=stops
            )
    within = (-59 * SECOND, -15 * MINUTE + SECOND, -15 * MINUTE - 30 * SECOND, 29 * MINUTE)
    offsets = (timedelta(0), INSTANT, -INSTANT, MINUTE, -MINUTE, -15 * MINUTE, *within)
    hours = round((last - first) / HOUR)
    for number in range(600):
        hour = first + drawn.randrange(hours) * HOUR
        at = hour + drawn.choice(offsets)
        owner = drawn.choice([*ids[: 8 + number // 40], None])
        table = drawn.choice(["sessions", "ai_usage_events", "ai_usage_events", "preview_jobs"])
        if table == "sessions":
            insert(connection, table, user_id=owner, created_at=at)
            continue
        status = drawn.choice(["succeeded", "succeeded", "failed", "queued"])
        took = drawn.choice([timedelta(0), 3 * SECOND, MINUTE, 40 * MINUTE, -SECOND])
        error = {"error_kind": drawn.choice(["timeout", "provider_error", "odd", None])} if status == "failed" else {}
        ended = None if status == "queued" else at + took
        insert(connection, table, user_id=owner, created_at=at, status=status, completed_at=ended, **error)


@pytest.fixture(scope="module")
def seeded(postgres_server: PostgresServer) -> Iterator[str]:
    """A database with forty days of traffic, up to three hours from now."""
    with psycopg.connect(postgres_server.url, autocommit=True) as connection:
        connection.execute("CREATE DATABASE told TEMPLATE hivesync")
        url = postgres_server.url_of("told")
        with psycopg.connect(url, autocommit=True) as inside:
            hour = current_hour(inside)
            seed(inside, hour - 40 * DAY, hour + 3 * HOUR)
        yield url
        connection.execute("DROP DATABASE told WITH (FORCE)")


def defined(database: str, moments: Iterable[datetime]) -> dict[datetime, dict[str, float]]:
    """The metrics by their definitions at those moments."""

    async def read() -> dict[datetime, dict[str, float]]:
        found: dict[datetime, dict[str, float]] = {}
        source = Postgres(database)
        try:
            for moment in moments:
                source.fixed_now = moment
                values = found.setdefault(moment, {})
                async with source.transaction() as transaction:
                    for sample in await read_definitions(TOLD, transaction, Terms()):
                        if sample.spec.name not in NOT_TOLD:
                            assert isinstance(sample.value, float)
                            labels = dict(zip(sample.spec.label_names, sample.labels, strict=True))
                            values[named(sample.spec.name, labels)] = sample.value
        finally:
            await source.close()
        return found

    return asyncio.run(read())


def named(metric: str, labels: Mapping[str, str]) -> str:
    return metric + "{" + ",".join(f'{name}="{value}"' for name, value in sorted(labels.items())) + "}"


def by_hour(text: str) -> dict[datetime, dict[str, float]]:
    """The samples of an OpenMetrics text by time."""
    found: dict[datetime, dict[str, float]] = {}
    for family in text_string_to_metric_families(text):  # type: ignore[no-untyped-call]
        for sample in family.samples:
            moment = datetime.fromtimestamp(float(sample.timestamp), UTC)
            values = found.setdefault(moment, {})
            name = named(sample.name, sample.labels)
            assert name not in values
            values[name] = sample.value
    return found


def told(rollup: Command, database: str, *arguments: str) -> dict[datetime, dict[str, float]]:
    ran = rollup("--history", "-", *arguments, database_url=database)
    assert ran.status == 0, ran.err
    assert ran.out.endswith("# EOF\n")
    return by_hour(ran.out)


def test_every_hour_is_as_the_exporter_would_have_had_it(rollup: Command, seeded: str) -> None:
    with psycopg.connect(seeded) as connection:
        begun = current_hour(connection)
        found = told(rollup, seeded)
        connection.rollback()
        hour = current_hour(connection)
        ((first,),) = connection.execute(
            "SELECT min(created_at) FROM (SELECT created_at FROM sessions UNION ALL SELECT created_at FROM preview_jobs"
            " UNION ALL SELECT created_at FROM ai_usage_events) AS activity"
        ).fetchall()
    assert max(found) in {begun, hour}
    assert min(found) == midnight(first.astimezone(UTC).date()) + HOUR
    assert len(found) == (max(found) - min(found)) // HOUR + 1
    drawn = random.Random(7)
    with_jobs = [moment for moment, values in sorted(found.items()) if any("latency" in name for name in values)]
    chosen = {min(found), max(found), *drawn.sample(with_jobs, 120), *drawn.sample(sorted(found), 30)}
    for moment, values in defined(seeded, chosen).items():
        assert found[moment] == pytest.approx(values, abs=1e-6), moment
    everything = list(found.values())
    assert {len(values) - sum("latency" in name for name in values) for values in everything} == {SERIES}
    for window in ("1m", "15m", "1h"):
        with_it = [
            f'hivesync_job_latency_average_seconds{{queue="ai",window="{window}"}}' in each for each in everything
        ]
        assert {True, False} == set(with_it)
    for plan in ("paid", "trial", "trial_expired", "free"):
        assert max(each[f'hivesync_active_users{{plan="{plan}",window="30d"}}'] for each in everything) > 1


@pytest.mark.parametrize("days", [(12, 9), (3, 3), (0, 0), (39, 30)])
def test_a_part_of_it_is_the_same_as_the_whole_at_those_hours(
    rollup: Command, seeded: str, days: tuple[int, int]
) -> None:
    with psycopg.connect(seeded) as connection:
        now = today(connection)
        hour = current_hour(connection)
    first, last = (now - ago * DAY for ago in days)
    if midnight(first) + HOUR > hour:
        assert rollup("--history", "-", "--from", str(first), database_url=seeded).status == 2
        return
    whole = told(rollup, seeded)
    part = told(rollup, seeded, "--from", str(first), "--to", str(last))
    assert min(part) == midnight(first) + HOUR
    assert max(part) == min(midnight(last) + DAY, hour)
    assert part == {moment: values for moment, values in whole.items() if min(part) <= moment <= max(part)}


def test_a_plan_that_ended_since_counts_in_a_part_as_in_the_whole(
    rollup: Command, connection: psycopg.Connection, database: str
) -> None:
    """The plan is canceled and no longer paid; the end of the subscription gives its class in the past."""
    now = today(connection)
    (who,) = users(connection, 1)
    ended = midnight(now - 2 * DAY)
    started = midnight(now - 50 * DAY)
    insert(connection, "subscriptions", user_id=who, plan="pro", status="canceled", started_at=started, ended_at=ended)
    insert(connection, "sessions", user_id=who, created_at=midnight(now - 6 * DAY) + HOUR / 2)
    whole = told(rollup, database)
    part = told(rollup, database, "--to", str(now - 5 * DAY))
    paid, free = (f'hivesync_active_users{{plan="{plan}",window="30d"}}' for plan in ("paid", "free"))
    for found in (whole, part):
        assert found[midnight(now - 5 * DAY)][paid] == 1
    assert (whole[ended - HOUR][paid], whole[ended][paid], whole[ended][free]) == (1, 0, 1)


def test_a_plan_counts_from_its_start_and_a_trial_expires_by_itself(
    rollup: Command, connection: psycopg.Connection, database: str
) -> None:
    now = today(connection)
    payer, tester = users(connection, 2)
    started, expired = midnight(now - 3 * DAY) + 90 * MINUTE, midnight(now - 2 * DAY) + 90 * MINUTE
    insert(connection, "subscriptions", user_id=payer, plan="pro", started_at=started)
    insert(connection, "subscriptions", user_id=tester, plan="trial", started_at=started, trial_ends_at=expired)
    insert(connection, "subscriptions", user_id=tester, plan="premium", started_at=midnight(now - DAY) + 90 * MINUTE)
    for who in (payer, tester):
        insert(connection, "sessions", user_id=who, created_at=midnight(now - 5 * DAY) + HOUR / 2)
    found = told(rollup, database)

    def at(moment: datetime) -> list[float]:
        plans = ("paid", "trial", "trial_expired", "free")
        return [found[moment][f'hivesync_active_users{{plan="{plan}",window="30d"}}'] for plan in plans]

    assert at(midnight(now - 5 * DAY) + HOUR) == [0, 0, 0, 2]
    assert at(started - HOUR / 2) == [0, 0, 0, 2]
    assert at(started + HOUR / 2) == [1, 1, 0, 0]
    assert at(expired - HOUR / 2) == [1, 1, 0, 0]
    assert at(expired + HOUR / 2) == [1, 0, 1, 0]
    assert at(midnight(now - DAY) + HOUR) == [1, 0, 1, 0]
    assert at(midnight(now - DAY) + 2 * HOUR) == [2, 0, 0, 0]


@pytest.mark.prometheus
def test_promtool_makes_blocks_of_it_that_a_prometheus_serves(rollup: Command, seeded: str, tmp_path: Path) -> None:
    file = tmp_path / "past.om"
    assert rollup("--history", str(file), database_url=seeded).status == 0
    expected = by_hour(file.read_text())
    server = PrometheusServer(tmp_path / "prometheus", retention="100y")
    command = ["promtool", "tsdb", "create-blocks-from", "--max-block-duration=256h", "openmetrics"]
    subprocess.run([*command, str(file), str(server.data)], check=True, capture_output=True)

    def served(moment: datetime) -> dict[str, float]:
        query = urlencode({"query": '{__name__=~"hivesync_.+"}', "time": str(moment.timestamp())})
        status, _, body = get(f"{server.url}/api/v1/query?{query}")
        assert status == 200
        found = {}
        for series in orjson.loads(body)["data"]["result"]:
            labels = series["metric"]
            found[named(labels.pop("__name__"), labels)] = float(series["value"][1])
        return found

    with server:
        until(lambda: served(max(expected)), "Prometheus has its blocks")
        for moment in sorted(expected)[::97]:
            assert served(moment) == pytest.approx(expected[moment]), moment


def test_a_file_is_written_whole_or_not_at_all(
    rollup: Command, connection: psycopg.Connection, database: str, tmp_path: Path
) -> None:
    del database
    file = tmp_path / "out" / "past.om"
    file.parent.mkdir()
    file.write_text("what was there")
    assert rollup("--history", str(file)).status == 2  # no activity at all
    assert [path.read_text() for path in file.parent.iterdir()] == ["what was there"]
    insert(connection, "sessions", created_at=f"{today(connection) - DAY} 12:00Z")
    ran = rollup("--history", str(file))
    assert (ran.status, ran.out) == (0, "")
    assert [path.name for path in file.parent.iterdir()] == ["past.om"]
    assert file.read_text().endswith("# EOF\n")
    (said,) = ran.said("rollup.history_written")
    assert said["samples"] == sum(len(values) for values in by_hour(file.read_text()).values())
    assert file.stat().st_mode & 0o777 == 0o666 & ~_umask()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_a_file_that_cannot_be_written_is_refused(
    rollup: Command, connection: psycopg.Connection, tmp_path: Path
) -> None:
    insert(connection, "sessions", created_at=f"{today(connection) - DAY} 12:00Z")
    (tmp_path / "file").touch()
    for path, reason in (
        (tmp_path / "no" / "such" / "folder", "No such file or directory"),
        (tmp_path / "file" / "below", "Not a directory"),
        (tmp_path, "Is a directory"),
        (Path("/dev/full"), "No space left on device"),
    ):
        ran = rollup("--history", str(path))
        assert (ran.status, ran.out) == (2, "")
        assert ran.message == f"hivesync-analytics: --history: cannot write {path}: {reason}"
    assert not list(tmp_path.glob(".*"))


def test_what_is_no_file_is_written_to_and_left_what_it_is(tmp_path: Path) -> None:
    """A rename would replace a device like /dev/null by a file."""
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    try:
        with whole_file(str(tmp_path / "pipe")) as write:
            write(b"text")
        assert os.read(reader, 100) == b"text"
    finally:
        os.close(reader)
    assert (tmp_path / "pipe").is_fifo()
    with whole_file("/dev/null") as write:
        write(b"text")
    assert Path("/dev/null").is_char_device()


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "target").write_text("old")
    (tmp_path / "link").symlink_to("target")
    with whole_file(str(tmp_path / "link")) as write:
        write(b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "target").read_text() == "new"


def test_no_activity_or_no_full_hour_is_no_history(rollup: Command, connection: psycopg.Connection) -> None:
    ran = rollup("--history", "-")
    assert (ran.status, ran.out) == (2, "")
    assert "no activity at all, and so no history: repeat this once users have logged in" in ran.message
    insert(connection, "sessions", created_at=f"{today(connection) - 5 * DAY} 12:00Z")
    ran = rollup("--history", "-", "--to", str(today(connection) - 9 * DAY))
    assert (ran.status, ran.out) == (2, "")
    assert "no full hour lies between" in ran.message


def test_times_that_are_infinite_or_yet_to_come_are_no_history(
    rollup: Command, connection: psycopg.Connection, database: str
) -> None:
    (who,) = users(connection, 1)
    insert(connection, "sessions", user_id=who, created_at=f"{today(connection) - DAY} 12:00Z")
    insert(connection, "subscriptions", user_id=who, plan="trial", started_at="-infinity", trial_ends_at="infinity")
    before: Sequence[Values] = list(told(rollup, database).values())
    for at in ("-infinity", "infinity", "now"):
        created = "now" if at == "now" else at
        insert(connection, "sessions", user_id=who, created_at=created)
        insert(connection, "ai_usage_events", user_id=who, created_at=created, completed_at=created, status="succeeded")
    assert list(told(rollup, database).values())[: len(before)] == before
    assert before[-1]['hivesync_active_users{plan="trial",window="30d"}'] == 1
