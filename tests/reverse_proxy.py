"""nginx in front of the admin port, with the lines of docs/operating.md, as a child process on a free port."""

from __future__ import annotations

import re
import shutil
import socket
from collections.abc import Sequence
from pathlib import Path

from servers.child import Child, ChildError
from servers.ports import LOOPBACK, free_port
from tests.pooling import PATH

DOCS = Path(__file__).parents[1] / "docs" / "operating.md"
DOCUMENTED = "127.0.0.1:10178"
"""The admin port in the documentation."""


class Nginx(Child):
    """An nginx that passes the Analytics section on to an admin port."""

    name = "nginx"

    def __init__(self, directory: Path, admin: str) -> None:
        """`admin`: host:port of the admin port."""
        super().__init__(directory)
        self.port = free_port()
        self._admin = admin

    @staticmethod
    def binary() -> str | None:
        """The path of the program; None if it is not installed."""
        return shutil.which("nginx", path=PATH)

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"

    def command(self) -> Sequence[str]:
        binary = self.binary()
        if binary is None:
            raise ChildError("nginx is not installed")
        found = re.search(r"```nginx\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
        assert found is not None
        location = found[1]
        assert DOCUMENTED in location
        temporary = "".join(
            f"{kind}_temp_path {self.directory}/{kind};"
            for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        configuration = self.directory / "nginx.conf"
        configuration.write_text(
            f"daemon off; pid {self.directory}/pid; error_log stderr; events {{}}\n"
            f"http {{ access_log off; {temporary}\n"
            f"server {{ listen {LOOPBACK}:{self.port};\n{location.replace(DOCUMENTED, self._admin)}}} }}\n"
        )
        return [binary, "-c", str(configuration), "-p", str(self.directory), "-e", "stderr"]

    def is_ready(self) -> bool:
        with socket.socket() as client:
            return client.connect_ex((LOOPBACK, self.port)) == 0
