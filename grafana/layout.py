"""The layout of a dashboard: its panels in the order of the catalogue, row by row over the 24 columns."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from grafana.sdk import common, dashboard
from presentation.panels import COLUMNS, LINK_TO_PAGE, REFRESH, Dashboard, Panel

TAG = "hivesync"
REFRESHES = [REFRESH, "1m", "5m"]
"""Refresh intervals offered: none shorter, since the exporter refreshes every 15 s."""


def assemble(
    catalogue: type[Panel],
    description: str,
    drawn: Sequence[dashboard.Panel],
    *,
    since: str,
    others: Sequence[Dashboard],
    folded: Collection[Panel] = (),
) -> dashboard.Dashboard:
    """Return the dashboard of a part of the catalogue; `drawn` are its panels, in any order, `folded` its rows that are
    closed at first.

    Raises ValueError when a panel of the catalogue is not drawn or drawn twice, or when a panel is not in the
    catalogue.
    """
    (board,) = {panel.dashboard for panel in catalogue}
    by_id = {panel.id_val or 0: panel for panel in drawn}
    if not len(by_id) == len(drawn) == sum(not panel.is_row for panel in catalogue):
        raise ValueError(f"{board.title}: not each panel of the catalogue is drawn once")
    return dashboard.Dashboard(
        uid=board.uid,
        title=board.title,
        description=description,
        tags=[TAG],
        timezone="browser",
        editable=False,
        graph_tooltip=dashboard.DashboardCursorSync.CROSSHAIR,
        time=dashboard.DashboardDashboardTime(from_val=since, to="now"),
        timepicker=dashboard.TimePickerConfig(refresh_intervals=REFRESHES),
        refresh=REFRESH,
        annotations=dashboard.AnnotationContainer(list_val=[_no_annotations()]),
        templating=dashboard.DashboardDashboardTemplating(list_val=[]),
        links=[_to_the_page(), *map(_to_dashboard, others)],
        panels=_laid_out(catalogue, by_id, folded),
    )


def _laid_out(
    catalogue: type[Panel], drawn: Mapping[int, dashboard.Panel], folded: Collection[Panel]
) -> list[dashboard.Panel | dashboard.RowPanel]:
    """Place panels from left to right; a new line begins where the next panel would cross the edge, below the highest
    one. The panels of a folded row are inside it, placed as after its opening; the next row follows its heading."""
    placed: list[dashboard.Panel | dashboard.RowPanel] = []
    row: dashboard.RowPanel | None = None
    x = y = line_height = 0
    for panel in catalogue:
        if panel.is_row and row is not None and row.collapsed and row.grid_pos is not None:
            x, y, line_height = 0, row.grid_pos.y + row.grid_pos.h, 0
        elif x + panel.width > COLUMNS:
            x, y, line_height = 0, y + line_height, 0
        position = dashboard.GridPos(x=x, y=y, w=panel.width, h=panel.height)
        if panel.is_row:
            row = dashboard.RowPanel(
                id_val=panel.id, title=panel.title, grid_pos=position, collapsed=panel in folded, panels=[]
            )
            placed.append(row)
        elif panel.id in drawn:
            drawn[panel.id].grid_pos = position
            if row is not None and row.collapsed and row.panels is not None:
                row.panels.append(drawn[panel.id])
            else:
                placed.append(drawn[panel.id])
        else:
            raise ValueError(f"{panel.dashboard.title}: {panel.name} is not drawn")
        x, line_height = x + panel.width, max(line_height, panel.height)
    return placed


def _no_annotations() -> dashboard.AnnotationQuery:
    """Return Grafana's own annotations, disabled, since no user can write any and each page would query them."""
    return dashboard.AnnotationQuery(
        name="Annotations",
        datasource=common.DataSourceRef(type_val="grafana", uid="-- Grafana --"),
        enable=False,
        hide=True,
        icon_color="rgba(0, 0, 0, 0)",
        built_in=1,
        type_val="dashboard",
    )


def _to_the_page() -> dashboard.DashboardLink:
    """Return the link to the Analytics page, in a new tab: in the same, Grafana opens a page of its own."""
    link = dashboard.DashboardLink(title="Analytics", icon="external link", url=LINK_TO_PAGE, target_blank=True)
    link.tooltip = "The Analytics page, with the users and incidents behind these numbers"
    return _shown(link)


def _to_dashboard(board: Dashboard) -> dashboard.DashboardLink:
    return _shown(dashboard.DashboardLink(title=board.title, icon="dashboard", url=board.link, keep_time=True))


def _shown(link: dashboard.DashboardLink) -> dashboard.DashboardLink:
    """Place a link above the panels, not in a menu, the SDK's default."""
    link.placement = None  # type: ignore[assignment]
    return link
