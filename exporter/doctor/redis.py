"""Redis as a server: reachable, supported, with every command that the collectors send, and with the same clock."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping

from exporter.doctor.findings import Finding, Findings, check, look, ok, word, wrong
from exporter.doctor.installation import Installation
from exporter.doctor.postgres import LOCAL, compared
from exporter.errors import CollectionFailed
from exporter.sources.redis import Redis
from exporter.sources.redis_commands import Command
from exporter.urls import read_redis

LEAST_VERSION = (6, 0)

ABSENT = b"hivesync-analytics:doctor"
"""A key that does not exist, for trying a command."""

HARMLESS: Mapping[Command, tuple[bytes, ...]] = {
    Command.SCAN: (b"0", b"COUNT", b"1"),
    Command.HMGET: (ABSENT, b"field"),
    Command.GETRANGE: (ABSENT, b"0", b"0"),
    Command.LLEN: (ABSENT,),
    Command.HLEN: (ABSENT,),
    Command.ZRANGE: (ABSENT, b"0", b"0"),
    Command.TIME: (),
    Command.INFO: (b"server",),
}
"""Arguments with which a command can be tried. The name of the client is set at each connection."""

OF_CELERY = (Command.HLEN, Command.ZRANGE)
"""The commands of the collector of Celery's unacknowledged messages."""

OF_STRINGS = (Command.GETRANGE,)
"""The commands for heartbeats in strings."""

OPTIONAL: Mapping[Command, str] = {
    Command.GETRANGE: "heartbeats in strings are not read",
    Command.INFO: "another Redis at its address is not noticed",
}
"""The commands without which the rest goes on, and the consequence."""


def needed(installation: Installation) -> list[Command]:
    """Return the commands that the collectors send with these settings."""
    settings = installation.settings
    has_beats = settings.workers_from == Redis.name and "workers" not in settings.not_provided
    left_out = {*(() if settings.has_celery else OF_CELERY), *(() if has_beats else OF_STRINGS)}
    return [command for command in Command if command not in left_out]


def rights(commands: Iterable[Command]) -> str:
    """Return the rights to these commands, as an ACL grants them."""
    return " ".join(command.right for command in commands)


@check("redis.reachable", seconds=4, gate=True)
async def reachable(installation: Installation) -> Findings:
    """Redis accepts the connection with its user, name and database."""
    url = read_redis(installation.settings.redis_url.get_secret_value())
    try:
        await installation.sources.redis.time()
    except CollectionFailed as error:
        if error.kind != "no_permission":
            raise
    return [ok(str(url))]


@check("redis.commands", gate=True)
async def commands(installation: Installation) -> Findings:
    """The user may send each command that the collectors send (its ACL)."""
    missing = []
    commands = [command for command in needed(installation) if command in HARMLESS]
    for command in commands:
        try:
            await installation.sources.redis.ask(command.encode(), *HARMLESS[command])
        except CollectionFailed as error:
            if error.kind != "no_permission":
                raise
            missing.append(command)
    user = str(read_redis(installation.settings.redis_url.get_secret_value()).options.get("username") or "default")
    if missing:
        found, mend = f"the user may not send {', '.join(missing)}", f"ACL SETUSER {word(user)} ~* {rights(missing)}"
        if set(missing) <= set(OPTIONAL):
            return [look(f"{found}: {', '.join(OPTIONAL[command] for command in missing)}", mend)]
        return [wrong(found, mend)]
    return [ok(", ".join(commands))]


@check("redis.server")
async def server(installation: Installation) -> Findings:
    """The version and the mode are supported."""
    try:
        answer = await installation.sources.redis.ask(b"HELLO")  # needs no right, unlike INFO
    except CollectionFailed:
        answer = None
    if not isinstance(answer, list):
        return [
            look("the server does not tell its version: older than 6.0, or a proxy", "use Redis 6 or newer, or Valkey")
        ]
    facts = {_text(name): value for name, value in zip(answer[::2], answer[1::2], strict=False)}
    version, mode, role = (_text(facts.get(name)) for name in ("version", "mode", "role"))
    shown = f"{word(_text(facts.get('server')))} {word(version)}, {word(mode)}, {word(role)}"
    findings: list[Finding] = []
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdecimal())
    if numbers < LEAST_VERSION:
        findings.append(wrong(shown, "upgrade to Redis 6 or newer, or Valkey"))
    if mode == "cluster":
        findings.append(wrong(f"{shown}: a cluster is not supported", "HIVESYNC_REDIS_URL=redis://one-server:6379/0"))
    if role in ("slave", "replica"):
        findings.append(look(f"{shown}: a replica, whose keys may be late", "name the master in HIVESYNC_REDIS_URL"))
    return findings or [ok(shown)]


def _text(value: object) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value or "")


@check("redis.password")
async def password(installation: Installation) -> Findings:
    """A server on another machine needs a password, and encryption."""
    url = read_redis(installation.settings.redis_url.get_secret_value())
    if url.place.is_socket or url.place.host in LOCAL:
        return [ok("on this machine")]
    findings: list[Finding] = []
    if not url.options.get("password"):
        mend = f"ACL SETUSER hivesync_exporter on >PASSWORD ~* {rights(needed(installation))}"
        findings.append(look("no password: every machine of its network may read and delete all keys", mend))
    if url.scheme != "rediss":
        findings.append(look("not encrypted on its way to another machine", "HIVESYNC_REDIS_URL=rediss://..."))
    return findings or [ok("with a password, encrypted")]


@check("redis.clock")
async def clock(installation: Installation) -> Findings:
    """The clocks of Redis and of this machine agree: heartbeats are compared with Redis' clock."""
    before = time.time()
    theirs = await installation.sources.redis.time()
    return [compared("Redis", theirs, before, time.time())]


CHECKS = (reachable, commands, server, password, clock)
