"""Heartbeats and statistics of HiveSync's Celery workers, for HiveSync Analytics: one file, put beside the workers.

    celery -A app worker -I hivesync_heartbeat

Every 10 seconds the worker writes the hash `worker:heartbeat:{id}` (kind, last_heartbeat, state; on GPU workers
instance_type, lifecycle). As tasks of the AI queue end, it adds to `ai_queue:stats` (processed, processing_ms). Nothing
else of the worker's is changed, and no task waits for Redis: each task ends with one write to a pipe, and a thread of
the worker's main process has a client of its own with short time-outs.

    task (any pool, any process) --pipe--> thread of the main process --Redis--> exporter

Statistics are kept while Redis does not answer, and written later, each exactly once: every addition has a number,
and Redis notes the latest (`hivesync_heartbeat:...`), so that an addition whose answer was lost can be repeated. A job
whose process is killed is not counted; a retry adds its time and no job.

Settings are environment variables:

    WORKER_HEARTBEAT_REDIS_URL       default: the URL of Celery's broker
    WORKER_HEARTBEAT_ID              default: the worker's name (celery@host)
    WORKER_HEARTBEAT_KIND            default: cpu
    WORKER_HEARTBEAT_INSTANCE_TYPE   of a GPU worker, as in the price file (g5.xlarge)
    WORKER_HEARTBEAT_LIFECYCLE       of a GPU worker: spot, on-demand
    WORKER_HEARTBEAT_AI_QUEUES       default: ai_tasks; routing keys of the AI queue, separated by commas
    WORKER_HEARTBEAT_KEY             default: worker:heartbeat:{id}
    WORKER_HEARTBEAT_STATS_KEY       default: ai_queue:stats
    WORKER_HEARTBEAT_SECONDS         default: 10, the time between two heartbeats
    WORKER_HEARTBEAT_EXPIRY_SECONDS  default: 86400; a worker that was killed is shown as unhealthy for that long

Needs Python 3.9, Celery 5 and redis-py 4.5 or newer, and a pool of processes, threads or none (prefork, threads, solo).
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import select
import struct
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import redis
from celery import signals
from celery.worker import state as worker_state
from redis.backoff import NoBackoff
from redis.retry import Retry

PREFIX = "WORKER_HEARTBEAT_"
COMMAND_SECONDS = 1.0
"""Time limit of Redis for accepting a connection, and for an answer."""

RETRY_SECONDS = 1.0
"""Pause after a failure."""

STOP_SECONDS = 3.0
"""Time limit of the last writing, when the worker stops."""

MARK_SECONDS = 86_400
MOST_STARTED = 10_000

NOT_ENDED = ("RETRY", "REJECTED")
"""States in which an execution ends and its job does not."""

ADD_ONCE = """
local mark = redis.call('GET', KEYS[2])
if mark and tonumber(mark) >= tonumber(ARGV[1]) then return 0 end
for _, field in ipairs({'processed', 'processing_ms'}) do
  local value = redis.call('HGET', KEYS[1], field)
  if value and not tonumber(value) then return redis.error_reply('ERR ' .. field .. ' is not a number') end
end
redis.call('HINCRBYFLOAT', KEYS[1], 'processed', ARGV[2])
redis.call('HINCRBYFLOAT', KEYS[1], 'processing_ms', ARGV[3])
redis.call('SET', KEYS[2], ARGV[1], 'EX', ARGV[4])
return 1
"""
"""Adds jobs and milliseconds to the statistics unless the mark has this number: the same addition twice counts once."""

RECORD = struct.Struct("=QQ")
"""Jobs and microseconds. A record is far shorter than PIPE_BUF, so that records of several processes never mix."""

log = logging.getLogger(__name__)


def setting(name: str, default: str = "") -> str:
    """Return a setting from the environment; an empty one counts as not set."""
    return os.environ.get(PREFIX + name, "").strip() or default


class Ended:
    """The ended jobs of all processes of this worker: a pipe, made before the pool forks.

    Writing never waits: jobs for which the pipe has no room stay in this process and go with the next job.
    """

    def __init__(self) -> None:
        self.reading, self._writing = os.pipe()
        os.set_blocking(self.reading, False)
        os.set_blocking(self._writing, False)
        self.forget()

    def forget(self) -> None:
        """Begin without jobs: in a forked process, those of the parent are the parent's."""
        self._lock = threading.Lock()
        self._jobs = self._microseconds = 0

    def add(self, jobs: int, microseconds: int) -> None:
        """Pass jobs on to the reader."""
        with self._lock:
            self._jobs += jobs
            self._microseconds += microseconds
            try:
                os.write(self._writing, RECORD.pack(self._jobs, self._microseconds))
            except BlockingIOError:
                return
            self._jobs = self._microseconds = 0

    def read(self) -> tuple[int, int]:
        """Return the jobs and microseconds that have arrived, and those that found no room in this process."""
        jobs = microseconds = 0
        with contextlib.suppress(BlockingIOError):
            while True:
                for record in RECORD.iter_unpack(os.read(self.reading, RECORD.size * 256)):
                    jobs, microseconds = jobs + record[0], microseconds + record[1]
        with self._lock:
            jobs, microseconds = jobs + self._jobs, microseconds + self._microseconds
            self._jobs = self._microseconds = 0
        return jobs, microseconds


class Reporter:
    """The thread that writes to Redis, in the worker's main process."""

    def __init__(self, url: str, worker: str) -> None:
        """Raises ValueError for a setting that cannot be used."""
        self._client = client_of(url)
        self._add_once = self._client.register_script(ADD_ONCE)
        self._key = setting("KEY", "worker:heartbeat:{id}").replace("{id}", worker)
        self._stats_key = setting("STATS_KEY", "ai_queue:stats")
        self._beat_seconds = seconds_of("SECONDS", 10)
        self._expiry_seconds = math.ceil(seconds_of("EXPIRY_SECONDS", 86_400))
        kind = setting("KIND", "cpu").lower()
        of_gpu = {"instance_type": setting("INSTANCE_TYPE"), "lifecycle": setting("LIFECYCLE")}
        self._fields = {"kind": kind, **({n: v for n, v in of_gpu.items() if v} if kind == "gpu" else {})}
        self._others = [name for name in of_gpu if name not in self._fields]
        self._mark = f"hivesync_heartbeat:{uuid.uuid4().hex}"
        self._number = 0  # of the latest addition
        self._adding: tuple[int, int] | None = None  # jobs and milliseconds, until Redis has confirmed them
        self._jobs = self._microseconds = 0  # not yet added
        self._failing: set[str] = set()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="hivesync-heartbeat", daemon=True)

    def start(self) -> None:
        """Begin with the heartbeats."""
        self._thread.start()

    def stop(self) -> None:
        """Write all that is left, remove the heartbeat and end, within STOP_SECONDS."""
        self._stopping.set()
        ENDED.add(0, 0)  # wakes the thread
        self._thread.join(STOP_SECONDS)

    def _run(self) -> None:
        due = time.monotonic()
        while not self._stopping.is_set():
            now = time.monotonic()
            if now >= due and self._succeeds("heartbeats", self._beat):
                due = now + self._beat_seconds
            if self._succeeds("statistics", self._add) and now < due:
                select.select([ENDED.reading], [], [], max(0.0, due - time.monotonic()))
            else:
                self._stopping.wait(RETRY_SECONDS)
        self._succeeds("statistics", self._add)
        self._succeeds("heartbeats", self._leave)

    def _succeeds(self, what: str, write: Callable[[], None]) -> bool:
        """Write to Redis. Return False, and log it once, where Redis does not take it."""
        try:
            write()
        except (redis.RedisError, OSError) as error:
            if what not in self._failing:
                # The text of an error may hold the URL; its type does not.
                log.warning("Redis does not take this worker's %s (%s); they are written later.",
                            what, type(error).__name__)  # fmt: skip
            self._failing.add(what)
            return False
        if what in self._failing:
            log.warning("Redis takes this worker's %s again.", what)
        self._failing.discard(what)
        return True

    def _beat(self) -> None:
        seconds, microseconds = self._client.time()  # Redis' clock, by which the exporter computes the age
        state = "active" if worker_state.active_requests else "idle"
        fields = {**self._fields, "state": state, "last_heartbeat": f"{seconds}.{microseconds:06d}"}
        with self._client.pipeline(transaction=True) as transaction:
            transaction.hset(self._key, mapping=fields)  # type: ignore[arg-type]  # its mapping is invariant
            if self._others:
                transaction.hdel(self._key, *self._others)
            transaction.expire(self._key, self._expiry_seconds)
            transaction.execute()

    def _add(self) -> None:
        """Add the ended jobs to the statistics; an addition without an answer is repeated under its number."""
        jobs, microseconds = ENDED.read()
        self._jobs, self._microseconds = self._jobs + jobs, self._microseconds + microseconds
        while self._adding or self._jobs or self._microseconds >= 1_000:
            if self._adding is None:
                self._adding = (self._jobs, self._microseconds // 1_000)
                self._jobs, self._microseconds = 0, self._microseconds % 1_000
                self._number += 1
            self._add_once(keys=[self._stats_key, self._mark], args=[self._number, *self._adding, MARK_SECONDS])
            self._adding = None

    def _leave(self) -> None:
        self._client.delete(self._key, self._mark)


def client_of(url: str) -> redis.Redis:
    """Return a client with time-outs that never repeats a command by itself. Celery's forms of URLs are understood.

    Raises ValueError for the URL of another system.
    """
    parts = urlsplit(url.split(";")[0])
    query = {name: value.lower().replace("cert_", "") if name == "ssl_cert_reqs" else value
             for name, value in parse_qsl(parts.query)}  # fmt: skip
    scheme, path = parts.scheme, parts.path
    if scheme in ("redis+socket", "socket"):
        scheme = "unix"
        query = {"db": query.get("virtual_host", query.get("db", "0")).lstrip("/")}
    if scheme not in ("redis", "rediss", "unix"):
        raise ValueError(f"{PREFIX}REDIS_URL is not set, and the broker is no single Redis ({scheme or 'no scheme'})")
    return redis.Redis.from_url(
        f"{scheme}://{parts.netloc}{path}?{urlencode(query)}",
        socket_timeout=COMMAND_SECONDS,
        socket_connect_timeout=COMMAND_SECONDS,
        retry=Retry(NoBackoff(), 0),
        max_connections=1,
        decode_responses=False,
    )


def seconds_of(name: str, default: float) -> float:
    """Return a setting that is a time. Raises ValueError unless it is a positive number."""
    try:
        seconds = float(setting(name, str(default)))
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < math.inf:
        raise ValueError(f"{PREFIX}{name} should be a number of seconds")
    return seconds


ENDED = Ended()
os.register_at_fork(after_in_child=ENDED.forget)
AI_QUEUES = frozenset(name.strip() for name in setting("AI_QUEUES", "ai_tasks").split(","))

_started: dict[str, float] = {}
_reporter: Reporter | None = None


@contextlib.contextmanager
def harmless() -> Iterator[None]:
    """Keep every error from the task or the worker."""
    try:
        yield
    except Exception as error:  # noqa: BLE001 - the task has precedence over its statistics
        log.warning("A heartbeat or a statistic was left out (%s).", type(error).__name__)


def is_of_ai_queue(task: Any) -> bool:
    """Return whether this execution came from the AI queue; one that was called directly came from none."""
    delivered = getattr(task.request, "delivery_info", None) or {}
    return delivered.get("routing_key") in AI_QUEUES


@signals.task_prerun.connect  # type: ignore[untyped-decorator]
def begin(task_id: str = "", task: Any = None, **_: Any) -> None:
    """Note the begin of a task."""
    with harmless():
        if is_of_ai_queue(task):
            if len(_started) >= MOST_STARTED:
                _started.pop(next(iter(_started)))  # begun longest ago, and never ended
            _started[task_id] = time.perf_counter()


@signals.task_postrun.connect  # type: ignore[untyped-decorator]
def end(task_id: str = "", state: str | None = None, **_: Any) -> None:
    """Count a task that has ended."""
    with harmless():
        started = _started.pop(task_id, None)
        if started is not None:
            ENDED.add(int(state not in NOT_ENDED), max(0, round((time.perf_counter() - started) * 1_000_000)))


@signals.worker_ready.connect  # type: ignore[untyped-decorator]
def start(sender: Any = None, **_: Any) -> None:
    """Start the heartbeats once the worker consumes."""
    global _reporter
    with harmless():
        broker = sender.app.conf.broker_read_url or sender.app.conf.broker_url or ""
        url = setting("REDIS_URL", broker if isinstance(broker, str) else str(broker[0]))
        try:
            _reporter = Reporter(url, setting("ID", sender.hostname))
        except ValueError as error:
            # The text of another error may hold the URL.
            reason = str(error) if PREFIX in str(error) else f"{PREFIX}REDIS_URL or the broker's URL is not valid"
            log.error(  # noqa: TRY400 - a traceback may hold the URL too
                "This worker sends no heartbeats: %s.", reason
            )
            return
        _reporter.start()


@signals.worker_shutdown.connect  # type: ignore[untyped-decorator]
def stop(**_: Any) -> None:
    """Stop the heartbeats after the last task."""
    with harmless():
        if _reporter is not None:
            _reporter.stop()
