"""The real exporter whose Analytics section cannot be loaded: metrics go on, the admin port answers 503, and the
section is there once the fault is gone."""

from __future__ import annotations

import os
from pathlib import Path

import orjson

from tests.rows import NO_DATABASE, NOWHERE
from tests.running import RunningExporter, get
from tests.waiting import until

FAULT = """
import pathlib
from admin.access import authentication

stored_key = authentication.stored_key

def failing(directory):
    if pathlib.Path({trigger!r}).exists():
        raise RuntimeError("hunter2")
    return stored_key(directory)

authentication.stored_key = failing
"""
"""A `sitecustomize` for the exporter: the section fails while a file is there. It stands for every fault in its code
and its files."""


def test_a_section_that_cannot_be_loaded_costs_the_page_alone_until_it_can(tmp_path: Path) -> None:
    trigger = tmp_path / "trigger"
    trigger.touch()
    (tmp_path / "sitecustomize.py").write_text(FAULT.format(trigger=str(trigger)))
    exporter = RunningExporter(tmp_path, database_url=NO_DATABASE, redis_url=NOWHERE)
    exporter.environment = {
        **exporter.environment,
        "PYTHONPATH": f"{tmp_path}{os.pathsep}{exporter.environment['PYTHONPATH']}",
    }
    with exporter:
        status, headers, body = get(exporter.page)
        assert (status, headers["content-type"]) == (503, "application/problem+json")
        assert orjson.loads(body)["status"] == 503
        exporter.refreshed()
        link = exporter.command_line("login-link")
        assert (link.returncode, "is not loaded" in link.stderr) == (1, True)
        trigger.unlink()
        until(lambda: get(exporter.page)[0] == 401, "the page")
        assert exporter.command_line("login-link").returncode == 0
    events = [event for event in exporter.events() if event["event"].startswith("admin.section.")]
    assert [event["event"] for event in events] == ["admin.section.failed", "admin.section.loaded"]
    assert events[0]["kind"] == "RuntimeError"
    assert events[0]["where"].startswith(f"{tmp_path}/sitecustomize.py:")
    assert "hunter2" not in exporter.log.read_text()
