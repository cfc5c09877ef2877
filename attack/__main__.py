"""python -m attack: attack the demo, or a running instance on this machine, and print attack, answer and verdict.

    python -m attack                                                            # the demo, started for this
    python -m attack --metrics-url http://127.0.0.1:10177 --admin-url http://127.0.0.1:10178

With the settings of the instance in the environment (HIVESYNC_ADMIN_API_KEY, HIVESYNC_ADMIN_JWT_SECRET,
HIVESYNC_ADMIN_JWT_PUBLIC_KEY_FILE, HIVESYNC_ADMIN_JWT_AUDIENCE, HIVESYNC_ADMIN_JWT_ISSUER, HIVESYNC_STATE_DIR), it also
attacks as an admin and as a local process. Sessions that it opens stay open until their end, or `python -m exporter
sessions --end-all`.

Exit status: 0 if everything was held, 1 if anything was not, 2 for invalid options, for addresses that are not
loopback and for ports that do not answer, 130 when interrupted.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from attack import report, suite
from attack.classes.framing import OPEN_PATH
from attack.findings import Verdict
from attack.stage import stage
from attack.suite import Outcome
from attack.target import Instance, NotLoopbackError, read_port
from attack.wire import Budget, ask
from servers.child import ChildError
from servers.temporary import temporary_directory

STATUS_NOT_HELD, STATUS_INVALID, STATUS_INTERRUPTED = 1, 2, 130


def main(arguments: Sequence[str] | None = None, environment: Mapping[str, str] = os.environ) -> int:
    """Run the suite and return the exit status."""
    options = _parse(arguments)
    attacks = suite.chosen(quick=options.quick, subjects=options.only)
    try:
        with _target(options, environment) as target:
            started = time.monotonic()
            rows = suite.run(target.with_budget(Budget()), attacks, _progress)
            seconds = time.monotonic() - started
    except (NotLoopbackError, ValueError, OSError, ChildError) as error:
        print(f"python -m attack: {error}", file=sys.stderr)
        return STATUS_INVALID
    except KeyboardInterrupt:
        return STATUS_INTERRUPTED
    print(report.table(rows))
    print(report.summary(rows, seconds))
    return 0 if suite.is_held(rows) else STATUS_NOT_HELD


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m attack", description="Attack an instance on this machine; loopback addresses only."
    )
    parser.add_argument("--metrics-url", metavar="URL", help="the metrics port (default: that of a demo)")
    parser.add_argument("--admin-url", metavar="URL", help="the admin port (default: that of a demo)")
    parser.add_argument("--quick", action="store_true", help="without attacks that wait for a limit in time")
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        choices=suite.subjects(),
        metavar="SUBJECT",
        help="this subject alone; repeatable",
    )
    parser.add_argument(
        "--connections", type=int, default=1_500, help="idle connections per port (default: %(default)s)"
    )
    options = parser.parse_args(arguments)
    if bool(options.metrics_url) != bool(options.admin_url):
        parser.error("--metrics-url and --admin-url belong together")
    if not 1 <= options.connections <= 5_000:
        parser.error("--connections: should be from 1 to 5000")
    return options


@contextmanager
def _target(options: argparse.Namespace, environment: Mapping[str, str]) -> Iterator[Instance]:
    """The instance at the URLs, or a demo."""
    if not options.metrics_url:
        with stage(temporary_directory("hivesync-attack-"), Budget()) as target:
            yield replace(target, connections=options.connections)
        return
    budget = Budget()
    key_file, state = (environment.get(f"HIVESYNC_{name}", "") for name in ("ADMIN_JWT_PUBLIC_KEY_FILE", "STATE_DIR"))
    target = Instance(
        metrics=read_port("metrics", options.metrics_url, budget),
        admin=read_port("admin", options.admin_url, budget),
        api_key=environment.get("HIVESYNC_ADMIN_API_KEY", ""),
        jwt_secret=environment.get("HIVESYNC_ADMIN_JWT_SECRET", ""),
        jwt_public_key=Path(key_file).read_bytes() if key_file else b"",
        audience=environment.get("HIVESYNC_ADMIN_JWT_AUDIENCE", ""),
        issuer=environment.get("HIVESYNC_ADMIN_JWT_ISSUER", ""),
        state_directory=Path(state) if state else None,
        connections=options.connections,
    )
    for port, url in zip(target.ports, (options.metrics_url, options.admin_url), strict=True):
        if ask(port, OPEN_PATH[port.name]) is None:
            raise ValueError(f"{url}: no answer")
    yield target


def _progress(row: Outcome) -> None:
    """A mark per attack, on a terminal alone."""
    if sys.stderr.isatty():
        print("." if row.finding.verdict is not Verdict.NOT_HELD else "!", end="", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
