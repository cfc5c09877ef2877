"""The kinds of panels, each with its common options of Grafana, set in one place.

panels.py, style.py, queries.py -> a kind of panel (this) -> dashboards/
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from string import ascii_uppercase

from exporter.spec import MetricSpec
from grafana.panels import Panel
from grafana.queries import Query
from grafana.sdk import bargauge, common, dashboard, stat, statetimeline, table, timeseries
from grafana.style import BAD, GOOD, GREY, NO_DATA, UP, WARNING, Limits, Thing, Things

PLUGIN_VERSION = "12.0.0"
"""The version of Grafana for which these options were written: newer versions migrate them."""

HOUR_MILLISECONDS = 3_600_000
HISTORY_GAP = HOUR_MILLISECONDS + 5 * 60_000
"""Longest gap between joined points, in milliseconds. The past written by the roll-up has a point per hour. Grafana
joins points strictly less than this apart, and a chart's steps do not fall on the hour: so an hour and a little."""

OTHERS = GREY
"""Colour of values without a colour of their own, such as a new label value."""

LINE_WIDTH, FILL, STACK_FILL = 2, 10, 40


def about(spec: MetricSpec, more: str = "") -> str:
    """Return a panel's description: the metric's own help and source."""
    return f"{spec.help} {more} Source: {spec.source}."


def number(
    panel: Panel,
    description: str,
    *queries: Query,
    unit: str = "short",
    decimals: int | None = None,
    limits: Limits | None = None,
    values: Things | None = None,
    things: Things | None = None,
    sparkline: bool = True,
) -> dashboard.Panel:
    """Draw the latest value, large. With `limits` its colour is the judgement; with `values` it is shown as a word.
    Several `things` are shown with their titles."""
    judged = limits is not None or values is not None
    defaults = dashboard.FieldConfig(
        unit=unit,
        decimals=decimals,
        min_val=0,
        no_value=NO_DATA,
        color=_thresholds() if judged else _fixed(OTHERS),
        thresholds=_steps(limits),
        mappings=_words(values),
    )
    options = stat.Options(
        reduce_options=_latest(),
        color_mode=common.BigValueColorMode.VALUE if judged else common.BigValueColorMode.NONE,
        graph_mode=common.BigValueGraphMode.AREA if sparkline else common.BigValueGraphMode.NONE,
    )
    return _panel("stat", panel, description, queries, defaults, options, _titles(things))


def lines(
    panel: Panel,
    description: str,
    *queries: Query,
    unit: str = "short",
    decimals: int | None = None,
    things: Things | None = None,
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

    `things` have their own colours; a single thing has `color`, and in an open set each thing has one of the
    `shades_of` a colour. `has_history` (or `history_of`, for some of the series) joins the hourly points of the past;
    elsewhere gaps stay visible. `last` fixes the time range.
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
        decimals=decimals,
        min_val=0,
        no_value=NO_DATA,
        color=_shades(shades_of) if shades_of else _fixed(color or OTHERS),
        custom=custom,
    )
    options = timeseries.Options(
        legend=common.VizLegendOptions(show_legend=True, calcs=["lastNotNull", "max"]),
        tooltip=common.VizTooltipOptions(
            mode=common.TooltipDisplayMode.MULTI, sort=common.SortOrder.DESCENDING, hide_zeros=False
        ),
        timezone=["utc"] if utc else None,
    )
    overrides = [
        *_overrides(things),
        *(_override(name, [dashboard.DynamicConfigValue("custom.spanNulls", HISTORY_GAP)]) for name in history_of),
    ]
    drawn = _panel("timeseries", panel, description, queries, defaults, options, overrides)
    if last is not None:
        drawn.time_from, drawn.hide_time_override = last, True
    return drawn


def bars(
    panel: Panel,
    description: str,
    *queries: Query,
    unit: str = "short",
    things: Things | None = None,
    color: str | None = None,
    limits: Limits | None = None,
) -> dashboard.Panel:
    """Draw the latest value of each thing as a bar from zero."""
    defaults = dashboard.FieldConfig(
        unit=unit,
        min_val=0,  # otherwise the smallest bar has no length
        no_value=NO_DATA,
        color=_thresholds() if limits else _fixed(color or OTHERS),
        thresholds=_steps(limits),
    )
    options = bargauge.Options(
        reduce_options=_latest(),
        orientation=common.VizOrientation.HORIZONTAL,
        display_mode=common.BarGaugeDisplayMode.BASIC,
        value_mode=common.BarGaugeValueMode.TEXT,
        name_placement=common.BarGaugeNamePlacement.LEFT,
    )
    return _panel("bargauge", panel, description, queries, defaults, options, _overrides(things))


def up_or_down(panel: Panel, description: str, *queries: Query, things: Things | None = None) -> dashboard.Panel:
    """Draw a band per thing over time: up at 1, down at 0, empty without a sample."""
    defaults = dashboard.FieldConfig(
        unit="bool",
        no_value=NO_DATA,
        color=_thresholds(),
        thresholds=_steps(None),
        mappings=_words(UP),
        custom=statetimeline.FieldConfig(line_width=0, fill_opacity=70, span_nulls=False),
    )
    options = statetimeline.Options(
        show_value=common.VisibilityMode.NEVER,
        row_height=0.8,
        legend=common.VizLegendOptions(show_legend=False),
        tooltip=common.VizTooltipOptions(mode=common.TooltipDisplayMode.SINGLE),
    )
    return _panel("state-timeline", panel, description, queries, defaults, options, _titles(things))


def listing(
    panel: Panel,
    description: str,
    query: Query,
    *,
    columns: dict[str, str],
    words: dict[str, Things] | None = None,
    unit: str = "short",
    limits: Limits | None = None,
) -> dashboard.Panel:
    """Draw a row per series: `columns` are its labels and `Value`, in order, with their titles.

    Labels with an entry in `words` are shown by those titles and colours; `unit` and `limits` are for the value.
    """
    defaults = dashboard.FieldConfig(
        unit="string", no_value=NO_DATA, custom=common.TableFieldOptions(), color=_fixed(OTHERS)
    )
    colored = dashboard.DynamicConfigValue("custom.cellOptions", common.TableColorTextCellOptions())
    overrides = [
        _override(columns[label], [colored, dashboard.DynamicConfigValue("mappings", _words(things))])
        for label, things in (words or {}).items()
    ]
    if "Value" in columns:
        value = [dashboard.DynamicConfigValue("unit", unit)]
        if limits:
            value += [
                colored,
                dashboard.DynamicConfigValue("color", _thresholds()),
                dashboard.DynamicConfigValue("thresholds", _steps(limits)),
            ]
        overrides.append(_override(columns["Value"], value))
    options = table.Options(sort_by=[common.TableSortByFieldState(next(iter(columns.values())), desc=False)])
    options.footer = None
    drawn = _panel("table", panel, description, (query,), defaults, options, overrides, as_table=True)
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
        description=" ".join(description.split()),
        datasource=queries[0].datasource,
        targets=[query.target(ref_id, table=as_table) for ref_id, query in targets],
        grid_pos=dashboard.GridPos(w=panel.width, h=panel.height),
        field_config=dashboard.FieldConfigSource(defaults=defaults, overrides=list(overrides)),
        options=options,
    )


def _overrides(things: Things | None) -> list[dashboard.DashboardFieldConfigSourceOverrides]:
    return [
        _override(name, [_title(thing), dashboard.DynamicConfigValue("color", _fixed(thing.color))])
        for name, thing in (things or {}).items()
    ]


def _titles(things: Things | None) -> list[dashboard.DashboardFieldConfigSourceOverrides]:
    return [_override(name, [_title(thing)]) for name, thing in (things or {}).items()]


def _override(
    name: str, properties: list[dashboard.DynamicConfigValue]
) -> dashboard.DashboardFieldConfigSourceOverrides:
    return dashboard.DashboardFieldConfigSourceOverrides(
        matcher=dashboard.MatcherConfig("byName", name), properties=properties
    )


def _title(thing: Thing) -> dashboard.DynamicConfigValue:
    return dashboard.DynamicConfigValue("displayName", thing.title)


def _latest() -> common.ReduceDataOptions:
    return common.ReduceDataOptions(calcs=["lastNotNull"], fields="", values=False)


def _fixed(color: str) -> dashboard.FieldColor:
    return dashboard.FieldColor(mode=dashboard.FieldColorModeId.FIXED, fixed_color=color)


def _shades(color: str) -> dashboard.FieldColor:
    return dashboard.FieldColor(mode=dashboard.FieldColorModeId.SHADES, fixed_color=color)


def _thresholds() -> dashboard.FieldColor:
    return dashboard.FieldColor(mode=dashboard.FieldColorModeId.THRESHOLDS)


def _steps(limits: Limits | None) -> dashboard.ThresholdsConfig:
    steps = [dashboard.Threshold(value=None, color=GOOD)]
    if limits is not None:
        if limits.warning < limits.bad:
            steps.append(dashboard.Threshold(value=limits.warning, color=WARNING))
        steps.append(dashboard.Threshold(value=limits.bad, color=BAD))
    return dashboard.ThresholdsConfig(mode=dashboard.ThresholdsMode.ABSOLUTE, steps=steps)


def _words(things: Things | None) -> list[dashboard.ValueMapping]:
    """Return the mapping of each value to its title, in its colour."""
    if not things:
        return []
    results = {
        value: dashboard.ValueMappingResult(text=thing.title, color=thing.color, index=index)
        for index, (value, thing) in enumerate(things.items())
    }
    return [dashboard.ValueMap(options=results)]
