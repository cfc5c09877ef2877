"""The committed files equal the generated ones, byte for byte and without extra files; the id of a panel never
changes."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import grafana.__main__ as command
from grafana.dashboards import DASHBOARDS
from presentation.panels import ANALYTICS, CATALOGUE, GAP_PIXELS, UNIT_PIXELS, Analytics, Operations, Panel
from tests.grafana.boards import ROOT, dashboards, everything_in, is_row

PANEL_IDS = Path(__file__).with_name("golden") / "panel_ids.txt"


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with all generated files."""
    monkeypatch.setattr(command, "HERE", tmp_path)
    assert command.main([]) == 0
    assert len(command.present(tmp_path)) >= 4
    return tmp_path


def test_what_is_committed_is_what_would_be_written() -> None:
    assert command.main(["--check"]) == 0


def test_writing_twice_gives_the_same_bytes(written: Path) -> None:
    assert command.main(["--check"]) == 0
    before = {name: (written / name).read_bytes() for name in command.present(written)}
    assert command.main([]) == 0
    assert {name: (written / name).read_bytes() for name in command.present(written)} == before


def test_one_other_byte_is_noticed(written: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name = min(command.present(written))
    (written / name).write_bytes((written / name).read_bytes() + b"\n")
    assert command.main(["--check"]) == 1
    assert name in capsys.readouterr().err


def test_a_missing_file_is_noticed(written: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (written / "provisioning" / "datasources" / "hivesync.yaml").unlink()
    assert command.main(["--check"]) == 1
    assert "provisioning/datasources/hivesync.yaml" in capsys.readouterr().err


@pytest.mark.parametrize("orphan", ["generated/old.json", "provisioning/alerting/old.yaml", "generated/.hidden"])
def test_a_file_that_nobody_writes_is_noticed_and_removed(
    written: Path, orphan: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (written / orphan).parent.mkdir(exist_ok=True)
    (written / orphan).write_text("{}")
    assert command.main(["--check"]) == 1
    assert orphan in capsys.readouterr().err
    assert command.main([]) == 0
    assert not (written / orphan).exists()


def test_checking_writes_nothing(written: Path) -> None:
    (written / "generated" / "hivesync-analytics.json").write_text("{}")
    assert command.main(["--check"]) == 1
    assert (written / "generated" / "hivesync-analytics.json").read_text() == "{}"


def test_every_dashboard_module_is_registered() -> None:
    modules = {path.stem for path in (ROOT / "grafana" / "dashboards").glob("*.py")} - {"__init__"}
    assert len(modules) >= 2
    assert {build.__module__.rpartition(".")[2] for build in DASHBOARDS.values()} == modules


def test_a_panels_id_never_changes() -> None:
    """Ids are in the URLs of iframes and in bookmarks. A new panel gets a new id, and a line in the golden file;
    existing lines are never changed or removed."""
    golden = PANEL_IDS.read_text().splitlines()
    assert len(golden) > 60
    ids = [f"{panel.dashboard.uid} {panel.id} {panel.name}" for part in CATALOGUE for panel in part]
    places = [line.rpartition(" ")[0] for line in golden]
    assert len(set(places)) == len(places)
    assert set(ids) - set(golden) == set(), "not in golden/panel_ids.txt: a new panel, or an id that changed"


def test_the_dashboards_hold_exactly_the_catalogue() -> None:
    found = {
        (board["uid"], panel["id"], panel["title"], panel["gridPos"]["w"], panel["gridPos"]["h"])
        for board in dashboards().values()
        for panel in everything_in(board)
    }
    catalogue = {(p.dashboard.uid, p.id, p.title, p.width, p.height) for part in CATALOGUE for p in part}
    assert len(catalogue) > 60
    assert found == catalogue


def test_the_catalogue_and_its_urls_need_no_sdk() -> None:
    """The Analytics page imports the catalogue where the SDK is not installed."""
    program = (
        "import sys; from presentation.panels import Analytics\n"
        "print(Analytics.DAU_FORTNIGHT.url(theme='dark'))\n"
        "foreign = {'grafana_foundation_sdk', 'pydantic', 'exporter', 'numpy'} & set(sys.modules)\n"
        "sys.exit(repr(foreign) if foreign else 0)"
    )
    result = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.startswith("/admin/analytics/grafana/d-solo/hivesync-analytics/panel?orgId=1&panelId=12&")


def test_only_one_module_imports_the_sdk() -> None:
    modules = sorted((ROOT / "grafana").rglob("*.py"))
    assert len(modules) > 8
    importing = [
        path.name
        for path in modules
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("grafana_foundation_sdk")
    ]
    assert set(importing) == {"sdk.py"}


def test_an_iframes_url_holds_what_was_asked_for() -> None:
    url = Operations.SOURCES_AGE.url(theme="light", since="now-6h", timezone="utc", refresh="")
    assert url == (
        "/admin/analytics/grafana/d-solo/hivesync-operations/panel"
        "?orgId=1&panelId=12&from=now-6h&to=now&timezone=utc&theme=light&hideLogo=true"
    )
    assert "refresh=30s" in Analytics.AI_LATENCY_DAY.url(theme="dark")


def test_a_panels_height_in_pixels_is_the_one_on_the_dashboard() -> None:
    assert Analytics.AI_LATENCY.height == 8
    assert Analytics.AI_LATENCY.pixels == 8 * 30 + 7 * 8


@pytest.mark.parametrize("part", CATALOGUE)
def test_rows_and_panels_fill_lines_to_the_edge(part: type[Panel]) -> None:
    """The panels of each line have one height and fill its width, without gaps."""
    boards = {board["uid"]: board for board in dashboards().values()}
    (uid,) = {panel.dashboard.uid for panel in part}
    rows = [panel["panels"] for panel in boards[uid]["panels"] if is_row(panel)]
    for inside in [boards[uid]["panels"], *filter(None, rows)]:
        lines: dict[int, list[dict[str, int]]] = {}
        for panel in inside:
            lines.setdefault(panel["gridPos"]["y"], []).append(panel["gridPos"])
        assert {y: sum(place["w"] for place in line) for y, line in lines.items()} == dict.fromkeys(lines, 24)
        assert [y for y, line in lines.items() if len({place["h"] for place in line}) > 1] == []


def test_header_and_charts_fit_on_the_first_screen() -> None:
    """At 1440 x 900, with the first of the folded rows below them."""
    chrome = 130  # Grafana's bar, its row of links and time range, and their margins
    (board,) = [board for board in dashboards().values() if board["uid"] == ANALYTICS.uid]
    first = next(panel for panel in board["panels"] if is_row(panel) and panel["collapsed"])
    assert first["gridPos"]["y"] * (UNIT_PIXELS + GAP_PIXELS) + chrome < 900
    shown = [panel["id"] for panel in board["panels"] if not is_row(panel)]
    assert shown == [2, 3, 4, 5, 6, 11, 12, 13, 14]
