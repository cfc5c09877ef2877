"""Formulas in exported tables (CSV): names come from HiveSync's users, and a spreadsheet would calculate them."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable

from attack.findings import Attack, Finding, judged, not_applicable, shown
from attack.target import SECTION, TABLES, Instance
from attack.wire import ask

SUBJECT = "exports"
CHARTS = tuple(f"{SECTION}/charts/{name}" for name in ("ai-requests", "dau", "plans", "ai-latency"))

FORMULA = re.compile(r"(?:^|[;\t\r\n])[\s\"]*[=+\-@\uff0b\uff0d\uff1d\uff20]")
"""The beginning of a cell, under any of the usual separators, with a sign that begins a formula."""

NUMBER = re.compile(r"-?[0-9.e+-]+")


def _formulas(path: str) -> Callable[[Instance], Finding]:
    def run(target: Instance) -> Finding:
        if not target.api_key:
            return not_applicable("the API key is not known (HIVESYNC_ADMIN_API_KEY)")
        answer = ask(target.admin, f"{path}?format=csv", headers=[target.key])
        if answer is None or answer.status != 200:
            return judged(False, f"{shown(answer)} in place of a table")
        rows = list(csv.reader(io.StringIO(answer.body.decode())))
        cells = [cell for row in rows for cell in row if not NUMBER.fullmatch(cell)]
        found = [cell for cell in cells if FORMULA.search(cell)]
        is_file = answer.header("content-disposition").startswith("attachment")
        planted = ", planted names in it" if any("planted" in cell for cell in cells) else ""
        return judged(not found and is_file, f"{len(rows)} rows, {len(found)} formulas{planted}")

    return run


def _stranger(path: str) -> Callable[[Instance], Finding]:
    def run(target: Instance) -> Finding:
        answer = ask(target.admin, f"{path}?format=csv", source=target.source())
        return judged(answer is not None and answer.status in (401, 403), shown(answer))

    return run


ATTACKS = [
    *(Attack(SUBJECT, f"formulas in {path.removeprefix(SECTION)}", _formulas(path)) for path in (*TABLES, *CHARTS)),
    *(
        Attack(SUBJECT, f"without a login: {path.removeprefix(SECTION)}", _stranger(path))
        for path in (*TABLES, *CHARTS)
    ),
]
