"""Rendering of the snapshot for /metrics: both formats, once per change."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from exporter import exposition
from exporter.exposition import SHOWN_SECONDS, Renderer, render
from exporter.spec import Histogram, Label, MetricSpec, Summary
from exporter.view import CollectorView, View
from tests.running import metrics_of, parse


def test_whatever_a_label_or_a_help_text_holds_both_formats_can_be_read() -> None:
    nasty = 'a "quoted" \\ back\\nslash\nand a new line, {braces}="x" # HELP über 完'
    spec = MetricSpec("hivesync_nasty", "gauge", f"Help with {nasty}.", nasty, (Label("label"),))
    view = View((CollectorView("c", (), (spec,), 15, True, None, None, (spec.sample(1, label=nasty),)),), ())
    rendered = render(view)
    for body, parser in ((rendered.text, parse_text), (rendered.openmetrics, parse_openmetrics)):
        families: Mapping[str, Any] = {family.name: family for family in parser(body.plain.decode())}
        (sample,) = families["hivesync_nasty"].samples
        assert sample.labels == {"label": nasty}
        assert families["hivesync_nasty"].documentation.startswith(f"Help with {nasty}.")


def test_a_metric_without_samples_is_not_mentioned() -> None:
    spec = MetricSpec("hivesync_silent", "gauge", "Says nothing.", "nowhere")
    rendered = render(View((CollectorView("c", (), (spec,), 15, False, "refused", None, ()),), ()))
    assert metrics_of(parse(rendered.text.plain.decode())) == {spec.name for spec in exposition.SPECS}
    assert b"hivesync_silent" not in rendered.text.plain + rendered.openmetrics.plain


def test_a_metric_that_two_collectors_feed_is_one_metric() -> None:
    spec = MetricSpec("hivesync_shared", "gauge", "Shared.", "both", (Label("part"),))
    views = [
        CollectorView(part, (), (spec,), 15, True, None, None, (spec.sample(index, part=part),))
        for index, part in enumerate(("left", "right"))
    ]
    text = render(View(tuple(views), ())).text.plain.decode()
    assert text.count("# TYPE hivesync_shared gauge") == 1
    assert 'hivesync_shared{part="left"} 0.0\nhivesync_shared{part="right"} 1.0\n' in text


@pytest.mark.parametrize(
    ("kind", "value"),
    [("gauge", Summary(1, 1)), ("counter", Histogram((), 0)), ("summary", 1.0), ("histogram", 1.0)],
)
def test_a_value_of_the_wrong_kind_is_refused(kind: Any, value: Any) -> None:
    spec = MetricSpec("hivesync_wrong_total", kind, "Wrong.", "nowhere")
    view = View((CollectorView("c", (), (spec,), 15, True, None, None, (spec.sample(value),)),), ())
    with pytest.raises(TypeError, match="hivesync_wrong_total takes a"):
        render(view)


def test_a_change_is_rendered_for_whoever_asks_first_and_kept_for_all_others() -> None:
    views: list[int] = []
    spec = MetricSpec("hivesync_views", "gauge", "Number of views.", "the test")

    def view() -> View:
        views.append(len(views))
        return View((CollectorView("c", (), (spec,), 15, True, None, None, (spec.sample(len(views)),)),), ())

    def current(renderer: Renderer) -> float:
        return parse(renderer.current.text.plain.decode())["hivesync_views"]

    now = [100.0]
    renderer = Renderer(view, clock=lambda: now[0])
    assert not views, "nobody has asked yet"
    for expected in (1, 2, 3):
        for _ in range(5):
            renderer.changed()
        assert [current(renderer) for _ in range(5)] == [expected] * 5
        assert renderer.current is renderer.current
        now[0] += SHOWN_SECONDS
        assert current(renderer) == expected, "nothing has changed"


def test_who_scrapes_many_times_a_second_does_not_have_every_change_rendered() -> None:
    views: list[View] = []
    now = [100.0]

    def view() -> View:
        views.append(View((), ()))
        return views[-1]

    renderer = Renderer(view, clock=lambda: now[0])
    for _ in range(1_000):
        now[0] += 0.001
        renderer.changed()
        assert renderer.current.text.plain
    assert len(views) == pytest.approx(1 / SHOWN_SECONDS, abs=1)


def test_each_format_is_made_once_and_of_the_same_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []

    def count(name: str) -> None:
        real = getattr(exposition, name)

        def counted(*args: Any, **named: Any) -> Any:
            made.append(name)
            return real(*args, **named)

        monkeypatch.setattr(exposition, name, counted)

    for name in ("family", "generate_latest", "generate_openmetrics"):
        count(name)
    rendered = render(View((), ()))
    of_the_exporter = ["family"] * len(exposition.SPECS)
    assert made == of_the_exporter, "its build and the inputs, and no text without a request"
    for _ in range(3):
        assert rendered.text.plain
        assert rendered.text.gzipped is rendered.text.gzipped
        assert rendered.openmetrics.plain
        assert rendered.openmetrics.gzipped is rendered.openmetrics.gzipped
    assert made == [*of_the_exporter, "generate_latest", "generate_openmetrics"]
