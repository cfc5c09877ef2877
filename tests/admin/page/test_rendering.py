"""The HTML without a browser: it fits the API, has definitions, and no inline script or style."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin
from urllib.parse import parse_qs, urlsplit

import pytest
from pydantic import BaseModel
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.routing import Mount

from admin.documents import DOCUMENTS, models, summary
from admin.documents.cards import REPEATS, Card, TableCard
from admin.documents.charts import CHARTS, ChartCard
from admin.documents.tables import TABLES, TableDocument
from admin.page import HERE, UPLOT, Page
from tests.admin.client import Answer, Headers, ask
from tests.admin.page.samples import MODELS, documents
from tests.admin.page.stage import BASE

CARDS: tuple[Card, ...] = (*summary.CARDS, *(card for document in DOCUMENTS for card in document.cards))
LISTS: tuple[TableCard, ...] = (
    *(table.card for table in TABLES),
    *(table for document in DOCUMENTS for table in document.tables),
)
EVERYTHING: tuple[Card | ChartCard | TableCard, ...] = (*CARDS, *CHARTS, *LISTS)


def page(root: str = BASE, uplot: Path = UPLOT) -> Starlette:
    return Starlette(routes=[Mount(root.rstrip("/"), routes=Page(uplot=uplot).routes())])


def answer_of(app: Starlette, path: str, headers: Headers = ()) -> Answer:
    return ask(app, path, headers=headers, root_path="")


@pytest.fixture(scope="module")
def html() -> str:
    answer = answer_of(page(), BASE)
    assert answer.status == 200
    return answer.body.decode()


@pytest.fixture(scope="module")
def login() -> str:
    request = Request({"type": "http", "root_path": BASE.rstrip("/"), "headers": []})
    return Page().render_login(request, True)


class Elements(HTMLParser):
    """Every element and its attributes; the text inside scripts and styles."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.inside: list[tuple[dict[str, str | None], str]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.found and self.found[-1][0] in ("script", "style") and data.strip():
            self.inside.append((self.found[-1][1], data))


def members(kind: Any) -> Iterator[tuple[str, Any]]:
    for name, member in kind.model_fields.items():
        yield member.alias or name, member.annotation


def at(kind: Any, keys: list[str]) -> Any:
    """The type at these keys of a document of this type."""
    if not keys:
        return kind
    if get_origin(kind) is dict:
        return at(get_args(kind)[1], keys[1:])
    return at(dict(members(kind))[keys[0]], keys[1:])


@pytest.mark.parametrize(
    "number", [n for card in CARDS for n in (*card.numbers, *card.meaning.numbers)], ids=lambda n: n.path
)
def test_every_number_is_one_that_the_api_gives(number: Any) -> None:
    document, *keys = number.path.split("/")
    known, not_provided = get_args(at(MODELS[document], keys))
    compared = ["previous", "change"] * bool(number.than) + ["previous_week", "change_week"] * bool(number.than_week)
    assert [name for name, _ in members(known)] == ["value", "status", "sources", "as_of", *compared]
    assert not_provided is models.NotProvided


def test_every_value_of_the_api_is_on_the_page() -> None:
    def paths(kind: Any, path: str) -> Iterator[str]:
        if models.is_value(kind):
            yield path
        elif get_origin(kind) in (Union, UnionType, list, dict) or not isinstance(kind, type):
            return
        elif issubclass(kind, BaseModel):
            for name, inner in members(kind):
                yield from paths(inner, f"{path}/{name}")

    given = {path for name, kind in MODELS.items() for path in paths(kind, name)}
    shown = {number.path for card in CARDS for number in (*card.numbers, *card.meaning.numbers)}
    assert len(given) > 50
    twice = {"queues/ai_queue_depth", "queues/preview_queue_depth", "monetization/paid_free_ratio"}
    assert given - shown == twice


@pytest.mark.parametrize("table", LISTS, ids=lambda table: table.id)
def test_every_column_is_one_that_the_api_gives(table: TableCard) -> None:
    (row,) = get_args(at(MODELS[table.document], [table.rows]))
    assert {column.name for column in table.columns} <= set(row.model_fields)
    of_repeats = {column.name for column in REPEATS} if table.equal_by else set()
    assert set(table.shown) <= {column.name for column in table.columns} | of_repeats
    assert {*table.equal_by, *(("kind", "time") if table.equal_by else ())} <= set(row.model_fields)


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.card.id)
def test_the_columns_of_a_table_are_the_fields_of_its_rows(table: TableDocument) -> None:
    (row,) = get_args(at(table.model, [table.card.rows]))
    assert [column.name for column in table.card.columns] == list(row.model_fields)


@pytest.mark.parametrize("chart", CHARTS, ids=lambda chart: chart.id)
def test_every_range_of_a_chart_is_the_range_of_its_panel(chart: ChartCard, html: str) -> None:
    assert chart.range in (chart.ranges or ("",))
    ((_, data),) = Elements(html).inside
    frames = json.loads(data)["frames"][chart.id]
    assert frames.keys() == set(chart.ranges or ("",))
    for span, url in frames.items():
        assert url.startswith("/admin/analytics/grafana/d-solo/hivesync-embedded/panel?orgId=1&")
        query = parse_qs(urlsplit(url).query)
        assert (query["panelId"], query["from"]) == ([str(chart.panel.id)], [f"now-{span or '24h'}"])
        assert (query["hideLogo"], query["refresh"]) == (["true"], ["30s"])
    assert chart.panel.is_framed


@pytest.mark.parametrize("name", MODELS)
def test_the_samples_are_documents_of_the_api(name: str) -> None:
    MODELS[name].model_validate(documents()[name])


def test_every_card_chart_and_table_has_a_definition(html: str) -> None:
    for thing in EVERYTHING:
        assert thing.meaning.counts
        assert thing.meaning.window
        assert thing.meaning.source
    assert html.count('role="tooltip"') == len(EVERYTHING)


@pytest.mark.parametrize("name", ["page", "login"])
def test_there_are_no_inline_scripts_or_styles(html: str, login: str, name: str) -> None:
    elements = Elements({"page": html, "login": login}[name])
    names = Counter(tag for tag, _ in elements.found)
    assert names["script"] > 1
    assert not names["style"]
    assert [attributes for attributes, _ in elements.inside if attributes.get("type") != "application/json"] == []
    for _, attributes in elements.found:
        assert not [name for name in attributes if name == "style" or name.startswith("on")]


def test_ids_are_unique_and_references_resolve(html: str) -> None:
    elements = Elements(html)
    ids = Counter(attributes["id"] for _, attributes in elements.found if "id" in attributes)
    assert len(ids) > 50
    assert set(ids.values()) == {1}
    for _, attributes in elements.found:
        for name in ("aria-labelledby", "aria-describedby", "for"):
            assert attributes.get(name) is None or attributes[name] in ids


@pytest.mark.parametrize("root", ["/admin/analytics/", "/elsewhere/admin/analytics/"])
def test_all_links_of_the_page_are_below_its_mount(root: str) -> None:
    app = page(root)
    elements = Elements(answer_of(app, root).body.decode())
    urls = [
        attributes[name]
        for tag, attributes in elements.found
        for name in ("href", "src", "action")
        if attributes.get(name) and not str(attributes[name]).startswith("#")
    ]
    assert len(urls) > 20
    assert [url for url in urls if not str(url).startswith(root)] == []
    static = [str(url) for url in urls if "/static/" in str(url)]
    assert len(static) > 5
    assert [url for url in static if answer_of(app, url).status != 200] == []
    (data,) = [text for attributes, text in elements.inside]
    assert json.loads(data)["base"] == root


def test_the_noscript_part_links_all_data(html: str) -> None:
    noscript = html[html.index("<noscript>") : html.index("</noscript>")]
    assert "JavaScript" in noscript
    for path in ("summary", "users", "ai", "queues", "workers", "monetization", "status"):
        assert f'href="{BASE}{path}"' in noscript
    for document in [*(chart.document for chart in CHARTS), *(table.card.document for table in TABLES)]:
        assert f'href="{BASE}{document}?format=csv"' in noscript


def test_files_are_revalidated_at_each_use() -> None:
    app = page()
    first = answer_of(app, f"{BASE}static/modules/main.js")
    assert first.status == 200
    assert first.header("cache-control") == "no-cache"
    assert "javascript" in (first.header("content-type") or "")
    again = answer_of(app, f"{BASE}static/modules/main.js", {"if-none-match": first.header("etag") or ""})
    assert again.status == 304
    assert again.header("cache-control") == "no-cache"


@pytest.mark.parametrize(
    "path",
    [
        "modules/../templates/page.html",
        "modules/%2e%2e/templates/page.html",
        "modules/..%2f..%2fsite.py",
        "templates/page.html",
        "modules/",
        "node_modules/uplot/package.json",
        "../__init__.py",
    ],
)
def test_nothing_but_modules_styles_and_uplot_is_served(path: str) -> None:
    assert answer_of(page(), f"{BASE}static/{path}").status in (404, 405)


def test_without_uplot_the_page_does_not_ask_for_it(tmp_path: Path) -> None:
    app = page(uplot=tmp_path)
    text = answer_of(app, BASE).body.decode()
    assert "uPlot" not in text
    assert '"hasUplot": false' in text
    assert answer_of(app, f"{BASE}static/uplot/uPlot.esm.js").status == 404


COLOR = re.compile(r"#[0-9a-fA-F]{3,8}\b|\b(?:rgb|hsl|oklch|lab|lch|color)a?\(|:\s*(?:white|black|red|gray|grey)\b")


def test_colours_are_tokens_and_stand_in_one_file() -> None:
    styles = {path.name: path.read_text() for path in (HERE / "styles").glob("*.css")}
    assert set(styles) == {"tokens.css", "layout.css", "parts.css", "attention.css", "print.css"}
    assert len(COLOR.findall(styles.pop("tokens.css"))) > 40
    assert {name: COLOR.findall(text) for name, text in styles.items()} == {name: [] for name in styles}
    used = set(re.findall(r"var\((--[a-z-]+)", " ".join(styles.values())))
    of_charts = {"--success-bg"}
    assert used | of_charts == set(re.findall(r"(--[a-z-]+):", (HERE / "styles" / "tokens.css").read_text()))


def test_what_a_module_exports_another_imports() -> None:
    modules = {path.name: path.read_text() for path in (HERE / "modules").glob("*.js")}
    exported = {
        (name, symbol)
        for name, text in modules.items()
        for symbol in re.findall(r"^export (?:async )?(?:const|function|class) (\w+)", text, re.MULTILINE)
    }
    imported = {
        (module, symbol.strip())
        for text in modules.values()
        for symbols, module in re.findall(r'^import \{(.*?)\} from "\./(.*?)";', text, re.MULTILINE | re.DOTALL)
        for symbol in symbols.split(",")
        if symbol.strip()
    }
    assert len(exported) > 15
    assert exported == imported


def test_the_packages_are_locked_with_hashes_and_name_no_host() -> None:
    lock = json.loads((HERE / "package-lock.json").read_text())
    declared = json.loads((HERE / "package.json").read_text())
    packages = {name: package for name, package in lock["packages"].items() if name}
    assert packages.keys() == {
        f"node_modules/{name}" for name in declared["dependencies"] | declared["devDependencies"]
    }
    assert all(package["integrity"].startswith("sha512-") for package in packages.values())
    assert "://" not in (HERE / "package-lock.json").read_text()
