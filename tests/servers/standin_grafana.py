"""A program called `grafana`, for machines without one: records its start, and reports itself healthy.

It stands for the edge between the demo and a real Grafana (arguments, variables, health, its end). It cannot show that
the dashboards and the provisioning work.
"""

from __future__ import annotations

import stat
import sys
from pathlib import Path

PROGRAM = """\
#!{python}
import json, os, sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

variables = {{name: value for name, value in os.environ.items() if name.startswith("GF_")}}
told = {{"arguments": sys.argv[1:], "variables": variables}}
Path(variables["GF_PATHS_DATA"]).mkdir(parents=True)
Path(variables["GF_PATHS_DATA"], "told.json").write_text(json.dumps(told))


class Answer(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/admin/analytics/grafana/api/health" else 404)
        self.send_header("content-length", "0")
        self.end_headers()


HTTPServer((variables["GF_SERVER_HTTP_ADDR"], int(variables["GF_SERVER_HTTP_PORT"])), Answer).serve_forever()
"""


def install(directory: Path, name: str = "grafana") -> Path:
    """Create an unpacked archive like Grafana's, with this program in it; returns its `bin`, for the PATH."""
    binaries = directory / "bin"
    binaries.mkdir(parents=True)
    (directory / "conf").mkdir()
    (directory / "conf" / "defaults.ini").touch()
    program = binaries / name
    program.write_text(PROGRAM.format(python=sys.executable))
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return binaries
