"""PostgreSQL as a server: reachable, new enough, encrypted where it is remote, and with the same clock."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from exporter.doctor.findings import Finding, Findings, check, look, ok, word, wrong
from exporter.doctor.installation import Installation
from exporter.sources.postgres import Transaction
from exporter.urls import read_postgres

LEAST_VERSION = 14

SLIGHT_SECONDS, LARGE_SECONDS = 2.0, 30.0
"""Differences of clocks that deserve a look, and that make values wrong: tokens end, and lines of logs count as late,
by this machine's clock, while windows end by that of PostgreSQL."""

LOCAL = ("", "localhost", "127.0.0.1", "::1")

_SERVER = """
SELECT current_setting('server_version_num')::int / 10000, current_database(), current_user::text,
       (SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()),
       (SELECT version FROM pg_stat_ssl WHERE pid = pg_backend_pid()), pg_is_in_recovery()
"""


@asynccontextmanager
async def brief(installation: Installation, milliseconds: int = 1_500) -> AsyncIterator[Transaction]:
    """Open a transaction whose statements end early: a check must not take longer than the trouble that it finds."""
    async with installation.sources.postgres.transaction() as transaction:
        await transaction.rows(
            "SELECT set_config('statement_timeout', %(limit)s, true)", {"limit": f"{milliseconds}ms"}
        )
        yield transaction


@check("postgres.reachable", seconds=4, gate=True, cheap=True)
async def reachable(installation: Installation) -> Findings:
    """PostgreSQL accepts the connection and answers."""
    async with brief(installation) as transaction:
        ((_, database, role, _, _, standby),) = await transaction.rows(_SERVER)
    kind = " (a standby)" if standby else ""
    where = read_postgres(installation.settings.database_url.get_secret_value())
    return [ok(f"{where}{kind}, database {word(database)}, role {word(role)}")]


@check("postgres.version")
async def version(installation: Installation) -> Findings:
    """The version is supported."""
    async with brief(installation) as transaction:
        ((major, *_),) = await transaction.rows(_SERVER)
    if major < LEAST_VERSION:
        return [wrong(f"PostgreSQL {major}", f"upgrade PostgreSQL to {LEAST_VERSION} or newer")]
    return [ok(f"PostgreSQL {major}")]


@check("postgres.tls")
async def encrypted(installation: Installation) -> Findings:
    """The connection to another machine is encrypted."""
    async with brief(installation) as transaction:
        ((_, _, _, ssl, tls_version, _),) = await transaction.rows(_SERVER)
    if ssl:
        return [ok(f"encrypted ({tls_version})")]
    places = read_postgres(installation.settings.database_url.get_secret_value()).places
    if all(place.is_socket or place.host in LOCAL for place in places):
        return [ok("not encrypted, on this machine")]
    return [
        look(
            "the password and all rows pass the network unencrypted",
            "append to HIVESYNC_DATABASE_URL: ?sslmode=verify-full&sslrootcert=/path/to/ca.pem",
        )
    ]


@check("postgres.clock")
async def clock(installation: Installation) -> Findings:
    """The clocks of PostgreSQL and of this machine agree."""
    async with brief(installation) as transaction:
        before = time.time()
        ((theirs,),) = await transaction.rows("SELECT extract(epoch FROM clock_timestamp())::float8")
        after = time.time()
    return [compared("PostgreSQL", theirs, before, after)]


def compared(server: str, theirs: float, before: float, after: float) -> Finding:
    """Return the finding for a server's clock, read between two readings of this machine's."""
    ahead = theirs - after if theirs > after else min(0.0, theirs - before)
    direction = "ahead of" if ahead > 0 else "behind"
    mend = f"synchronise both machines' clocks: timedatectl set-ntp true (here), and the same on {server}'s machine"
    if abs(ahead) < SLIGHT_SECONDS:
        return ok(f"within {SLIGHT_SECONDS:g} s of this machine's")
    verdict = wrong if abs(ahead) >= LARGE_SECONDS else look
    return verdict(f"{abs(ahead):.0f} s {direction} this machine's", mend)


CHECKS = (reachable, version, encrypted, clock)
