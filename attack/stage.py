"""The instance that is attacked without a URL: the demo, with all that an attack can need.

    demo, upstream -> stage (this) -> target

Beside the demo's own settings it has a secret, a public key, an audience and an issuer of tokens, the attacker's server
in place of Grafana, and users whose names are formulas and markup.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from attack.target import TABLES, Instance, read_port
from attack.upstream import upstream
from attack.wire import Budget, ask
from demo.console import Console
from demo.processes import Processes
from servers.bound import Bound

AUDIENCE, ISSUER = "hivesync-admin", "https://hivesync.example"
PLANTED = "=HYPERLINK(1);\t@planted <script>alert(1)</script>"
PLANTED_SECONDS = 120
LOOK_SECONDS = 0.2
USERS, DAYS = 60, 2


@contextmanager
def stage(directory: Path, budget: Budget) -> Iterator[Instance]:
    """Start everything in the directory. Raises ChildError."""
    public_key = _public_key()
    key_file = directory / "public.pem"
    key_file.write_bytes(public_key)
    processes = Processes(directory, Console())
    with upstream() as attackers:
        settings = {
            "HIVESYNC_ADMIN_JWT_SECRET": secrets.token_urlsafe(48),
            "HIVESYNC_ADMIN_JWT_PUBLIC_KEY_FILE": str(key_file),
            "HIVESYNC_ADMIN_JWT_AUDIENCE": AUDIENCE,
            "HIVESYNC_ADMIN_JWT_ISSUER": ISSUER,
            "HIVESYNC_ADMIN_API_KEY": secrets.token_urlsafe(32),
            "HIVESYNC_GRAFANA_URL": attackers.url,
        }
        try:
            processes.start(users=USERS, days=DAYS, seed=1, speed=1.0, settings=settings)
            target = Instance(
                metrics=read_port("metrics", processes.exporter.url, budget),
                admin=read_port("admin", processes.exporter.page, budget),
                api_key=settings["HIVESYNC_ADMIN_API_KEY"],
                jwt_secret=settings["HIVESYNC_ADMIN_JWT_SECRET"],
                jwt_public_key=public_key,
                audience=AUDIENCE,
                issuer=ISSUER,
                state_directory=directory / "state",
                upstream=attackers,
                is_planted=True,
            )
            _plant(processes.database, target)
            yield target
        finally:
            processes.stop()


def _public_key() -> bytes:
    key = rsa.generate_private_key(65_537, 2048).public_key()
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def _plant(database: str, target: Instance) -> None:
    """Give every user a name with a formula and markup, and wait until the table of users shows one."""
    with psycopg.connect(database) as connection:
        connection.execute("UPDATE users SET username = %s || id::text", [PLANTED])
    bound = Bound(PLANTED_SECONDS)
    while not bound.is_reached():
        answer = ask(target.admin, TABLES[0], headers=[target.key])
        if answer is not None and b"planted" in answer.body:
            return
        time.sleep(LOOK_SECONDS)
    raise TimeoutError("the names that were planted in the database are not in the table of users")
