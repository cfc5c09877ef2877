"""The kinds of panels, each with its common options of Grafana, set in one place.

presentation/, thresholds.py, queries.py -> a kind of panel (this) -> dashboards/
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from string import ascii_uppercase

from exporter.spec import MetricSpec
from grafana import sdk
from grafana.promql import NONE, highest_first
from grafana.queries import PromQL, Query
from grafana.sdk import common, dashboard
from grafana.thresholds import Thresholds
from presentation.colors import BAD, GOOD, GREY, WARNING
from presentation.label_styles import UP, LabelStyle, LabelStyles
from presentation.panels import Panel

PLUGIN_VERSION = "12.0.0"
"""The version of Grafana for which these options were written: newer versions migrate them."""

HOUR_MILLISECONDS = 3_600_000
HISTORY_GAP = HOUR_MILLISECONDS + 5 * 60_000
"""Longest gap between joined points, in milliseconds. The past written by the roll-up has a point per hour. Grafana
joins points strictly less than this apart, and a chart's steps do not fall on the hour: so an hour and a little."""

NO_DATA = "no data"
"""Text in place of a missing value: not 0, which would be a value."""

COUNT = "locale"
"""Unit of counts: whole numbers in full, where Grafana's `short` rounds 1,624 to 1.62 K, or to 2 K."""

SECONDS, MINUTES, HOURS = "s", "m", "h"
"""Units of durations."""

RATE, RATIO, LARGE = "short", "short", "short"
"""Units of rates per minute, of quotients, and of counts of millions, which may be rounded."""

AGE = "dtdurations"
"""Unit of long times as text: 14 hours, 17 minutes."""

RECORDED_ONLY = "Recorded by Prometheus since its first scrape; an earlier past is not known."
"""Part of the description of charts whose past is neither in PostgreSQL nor written by the roll-up."""

OTHERS = GREY
"""Colour of series without a colour of their own, such as a new label value."""

TEXT = "text"
"""Colour of the theme's text, in Grafana's name: numbers and words without judgement. No token is readable on the
backgrounds of both themes."""

NOTHING: LabelStyles = {NONE: LabelStyle("None", GREY)}
"""Of the series in place of those that are all 0."""

LINE_WIDTH, FILL, STACK_FILL = 2, 10, 40


def about(spec: MetricSpec, more: str = "") -> str:
    """Return a panel's description: the metric's own help and source."""
    return f"{spec.help} {more} Source: {spec.source}."


def stat(
    panel: Panel,
    description: str,
    *queries: PromQL,
    unit: str = COUNT,
    decimals: int | None = None,
    thresholds: Thresholds | None = None,
    mappings: LabelStyles | None = None,
    styles: LabelStyles | None = None,
) -> dashboard.Panel:
    """Draw the value at the end of the time range, large: with `thresholds` in the colour of its judgement, with
    `mappings` as a word.

    `styles` are the titles of several series.
    """
    judged = thresholds is not None or mappings is not None
    defaults = dashboard.FieldConfig(
        unit=unit,
        decimals=_decimals(unit, decimals),
        min_val=0,
        no_value=NO_DATA,
        color=_thresholds() if judged else _fixed(TEXT),
        thresholds=_steps(thresholds),
        mappings=_mappings(mappings),
    )
    options = sdk.stat.Options(
        reduce_options=_latest(),
        color_mode=common.BigValueColorMode.VALUE if judged else common.BigValueColorMode.NONE,
        graph_mode=common.BigValueGraphMode.NONE,
    )
    return _panel("stat", panel, description, _at_the_end(queries), defaults, options, _titles(styles))


def timeseries(
    panel: Panel,
    description: str,
    *queries: Query,
    unit: str = COUNT,
    decimals: int | None = None,
    styles: LabelStyles | None = None,
    color: str | None = None,
    shades_of: str | None = None,
    stacked: bool = False,
    bars: bool = False,
    points: bool = False,
    has_history: bool = False,
    history_of: Iterable[str] = (),
    utc: bool = False,
    last: str | None = None,
) -> dashboard.Panel:
    """Draw values over time.

    Series with an entry in `styles` have its title and colour; a single series has `color`, and series of an open set
    have `shades_of` a colour. `has_history` (or `history_of`, for some of the series) joins the hourly points of the
    past; elsewhere gaps stay visible. `last` fixes the time range.
    """
    custom = common.GraphFieldConfig(
        draw_style=common.GraphDrawStyle.BARS if bars else common.GraphDrawStyle.LINE,
        line_width=0 if bars else LINE_WIDTH,
        fill_opacity=100 if bars else STACK_FILL if stacked else FILL,
        show_points=common.VisibilityMode.ALWAYS if points else common.VisibilityMode.AUTO,
        point_size=6 if points else 4,
        span_nulls=HISTORY_GAP if has_history else False,
        axis_soft_min=0,
        stacking=common.StackingConfig(
            mode=common.StackingMode.NORMAL if stacked or bars else common.StackingMode.NONE, group="A"
        ),
    )
    defaults = dashboard.FieldConfig(
        unit=unit,
        decimals=_decimals(unit, decimals),
        min_val=0,
        no_value=NO_DATA,
        color=_shades(shades_of) if shades_of else _fixed(color or OTHERS),
        custom=custom,
    )
    options = sdk.timeseries.Options(
        legend=common.VizLegendOptions(show_legend=not panel.is_framed, calcs=["lastNotNull", "max"]),
        tooltip=common.VizTooltipOptions(
            mode=common.TooltipDisplayMode.MULTI, sort=common.SortOrder.DESCENDING, hide_zeros=False
        ),
        timezone=["utc"] if utc else None,
    )
    overrides = [
        *_overrides(styles),
        *(_override(name, [dashboard.DynamicConfigValue("custom.spanNulls", HISTORY_GAP)]) for name in history_of),
    ]
    if not has_history and not history_of and isinstance(queries[0], PromQL):
        description = f"{description} {RECORDED_ONLY}"
    drawn = _panel("timeseries", panel, description, queries, defaults, options, overrides)
    if last is not None:
        drawn.time_from, drawn.hide_time_override = last, True
    return drawn


def bargauge(
    panel: Panel,
    description: str,
    query: PromQL,
    *,
    unit: str = COUNT,
    styles: LabelStyles | None = None,
    color: str | None = None,
    thresholds: Thresholds | None = None,
) -> dashboard.Panel:
    """Draw the value of each series at the end of the time range as a bar from zero, the highest first."""
    defaults = dashboard.FieldConfig(
        unit=unit,
        decimals=_decimals(unit),
        min_val=0,  # otherwise the smallest bar has no length
        no_value=NO_DATA,
        color=_thresholds() if thresholds else _fixed(color or OTHERS),
        thresholds=_steps(thresholds),
    )
    options = sdk.bargauge.Options(
        reduce_options=_latest(),
        orientation=common.VizOrientation.HORIZONTAL,
        display_mode=common.BarGaugeDisplayMode.BASIC,
        value_mode=common.BarGaugeValueMode.TEXT,
        name_placement=common.BarGaugeNamePlacement.LEFT,
    )
    highest = replace(query, expression=highest_first(query.expression))
    return _panel("bargauge", panel, description, _at_the_end([highest]), defaults, options, _overrides(styles))


def state_timeline(
    panel: Panel, description: str, *queries: Query, styles: LabelStyles | None = None
) -> dashboard.Panel:
    """Draw a band per series over time: up at 1, down at 0, empty without a sample."""
    defaults = dashboard.FieldConfig(
        unit="bool",
        no_value=NO_DATA,
        color=_thresholds(),
        thresholds=_steps(None),
        mappings=_mappings(UP),
        custom=sdk.statetimeline.FieldConfig(line_width=0, fill_opacity=70),
    )
    options = sdk.statetimeline.Options(
        show_value=common.VisibilityMode.NEVER,
        row_height=0.8,
        legend=common.VizLegendOptions(show_legend=False),
        tooltip=common.VizTooltipOptions(mode=common.TooltipDisplayMode.SINGLE),
    )
    return _panel("state-timeline", panel, description, queries, defaults, options, _titles(styles))


def table(
    panel: Panel,
    description: str,
    query: PromQL,
    *,
    columns: dict[str, str],
    mappings: dict[str, LabelStyles] | None = None,
    unit: str = COUNT,
    decimals: int | None = None,
    thresholds: Thresholds | None = None,
    sort_by: str | None = None,
    nothing: str = NO_DATA,
) -> dashboard.Panel:
    """Draw a row per series: `columns` are its labels and `Value`, in order, with their titles.

    Labels with an entry in `mappings` are shown by its titles and colours; `unit`, `decimals` and `thresholds` are for
    the value. Rows are sorted by the column `sort_by`, the first by default. `nothing` is the text without rows.
    """
    defaults = dashboard.FieldConfig(
        unit="string",
        no_value=nothing,
        custom=common.TableFieldOptions(cell_options=common.TableAutoCellOptions()),
        color=_fixed(TEXT),
    )
    colored = dashboard.DynamicConfigValue("custom.cellOptions", common.TableColorTextCellOptions())
    overrides = [
        _override(columns[label], [colored, dashboard.DynamicConfigValue("mappings", _mappings(styles))])
        for label, styles in (mappings or {}).items()
    ]
    if "Value" in columns:
        value = [dashboard.DynamicConfigValue("unit", unit)]
        if (places := _decimals(unit, decimals)) is not None:
            value.append(dashboard.DynamicConfigValue("decimals", places))
        if thresholds:
            value += [
                colored,
                dashboard.DynamicConfigValue("color", _thresholds()),
                dashboard.DynamicConfigValue("thresholds", _steps(thresholds)),
            ]
        overrides.append(_override(columns["Value"], value))
    first = columns[sort_by or next(iter(columns))]
    options = sdk.table.Options(sort_by=[common.TableSortByFieldState(first, desc=False)])
    options.footer = None
    drawn = _panel("table", panel, description, _at_the_end([query]), defaults, options, overrides, as_table=True)
    hidden = {"Time"} | ({"Value"} - columns.keys())
    drawn.transformations = [
        dashboard.DataTransformerConfig(
            id_val="organize",
            options={
                "excludeByName": dict.fromkeys(sorted(hidden), True),
                "indexByName": {name: index for index, name in enumerate(columns)},
                "renameByName": columns,
            },
        )
    ]
    return drawn


def _panel(
    kind: str,
    panel: Panel,
    description: str,
    queries: Sequence[Query],
    defaults: dashboard.FieldConfig,
    options: object,
    overrides: Sequence[dashboard.DashboardFieldConfigSourceOverrides] = (),
    *,
    as_table: bool = False,
) -> dashboard.Panel:
    targets = zip(ascii_uppercase, queries, strict=False)
    return dashboard.Panel(
        type_val=kind,
        plugin_version=PLUGIN_VERSION,
        id_val=panel.id,
        title=panel.title,
        description=None if panel.is_framed else " ".join(description.split()),
        transparent=panel.is_framed,
        datasource=queries[0].datasource,
        targets=[query.target(ref_id, table=as_table) for ref_id, query in targets],
        grid_pos=dashboard.GridPos(w=panel.width, h=panel.height),
        field_config=dashboard.FieldConfigSource(defaults=defaults, overrides=list(overrides)),
        options=options,
    )


def _overrides(styles: LabelStyles | None) -> list[dashboard.DashboardFieldConfigSourceOverrides]:
    return [
        _override(name, [_title(style), dashboard.DynamicConfigValue("color", _fixed(style.color))])
        for name, style in (styles or {}).items()
    ]


def _titles(styles: LabelStyles | None) -> list[dashboard.DashboardFieldConfigSourceOverrides]:
    return [_override(name, [_title(style)]) for name, style in (styles or {}).items()]


def _override(
    name: str, properties: list[dashboard.DynamicConfigValue]
) -> dashboard.DashboardFieldConfigSourceOverrides:
    return dashboard.DashboardFieldConfigSourceOverrides(
        matcher=dashboard.MatcherConfig("byName", name), properties=properties
    )


def _title(style: LabelStyle) -> dashboard.DynamicConfigValue:
    return dashboard.DynamicConfigValue("displayName", style.title)


def _at_the_end(queries: Sequence[PromQL]) -> list[PromQL]:
    """Return instant queries: the last point of a range is up to a step old, and empty over long ranges."""
    return [replace(query, now=True) for query in queries]


def _decimals(unit: str, decimals: int | None = None) -> int | None:
    """Return the decimal places of a unit: counts have no halves."""
    return 0 if unit == COUNT else decimals


def _latest() -> common.ReduceDataOptions:
    return common.ReduceDataOptions(calcs=["lastNotNull"], fields="", values=False)


def _fixed(color: str) -> dashboard.FieldColor:
    return dashboard.FieldColor(mode=dashboard.FieldColorModeId.FIXED, fixed_color=color)


def _shades(color: str) -> dashboard.FieldColor:
    return dashboard.FieldColor(mode=dashboard.FieldColorModeId.SHADES, fixed_color=color)


def _thresholds() -> dashboard.FieldColor:
    return dashboard.FieldColor(mode=dashboard.FieldColorModeId.THRESHOLDS)


def _steps(thresholds: Thresholds | None) -> dashboard.ThresholdsConfig:
    steps = [dashboard.Threshold(value=None, color=GOOD)]
    if thresholds is not None:
        if thresholds.warning < thresholds.bad:
            steps.append(dashboard.Threshold(value=thresholds.warning, color=WARNING))
        steps.append(dashboard.Threshold(value=thresholds.bad, color=BAD))
    return dashboard.ThresholdsConfig(mode=dashboard.ThresholdsMode.ABSOLUTE, steps=steps)


def _mappings(styles: LabelStyles | None) -> list[dashboard.ValueMapping]:
    """Return the mapping of each value to its title, in its colour if that is a judgement."""
    if not styles:
        return []
    judgements = (GOOD, WARNING, BAD)
    results = {
        value: dashboard.ValueMappingResult(
            text=style.title, color=style.color if style.color in judgements else TEXT, index=index
        )
        for index, (value, style) in enumerate(styles.items())
    }
    return [dashboard.ValueMap(options=results)]
