"""The queries of panels: the two datasources by their fixed uids, and a query of each kind."""

from __future__ import annotations

from dataclasses import dataclass

from grafana.sdk import Dataquery, common, prometheus

PROMETHEUS = common.DataSourceRef(type_val="prometheus", uid="hivesync-prometheus")
POSTGRES = common.DataSourceRef(type_val="grafana-postgresql-datasource", uid="hivesync-postgres")


@dataclass(frozen=True, slots=True)
class PromQL:
    """A query to Prometheus: over the time range, or (`now`) at its end alone; `legend` names its series."""

    expression: str
    legend: str = ""
    now: bool = False

    datasource = PROMETHEUS

    def target(self, ref_id: str, *, table: bool) -> Dataquery:
        """Return the query in the SDK's form; `table`: labels become columns."""
        form = prometheus.PromQueryFormat.TABLE if table else prometheus.PromQueryFormat.TIME_SERIES
        return prometheus.Dataquery(
            datasource=PROMETHEUS,
            ref_id=ref_id,
            editor_mode=prometheus.QueryEditorMode.CODE,
            expr=self.expression,
            format_val=form,
            legend_format=self.legend or "__auto",
            instant=self.now,
            range_val=not self.now,
        )


@dataclass(frozen=True, slots=True)
class SQL:
    """A query to PostgreSQL about `usage_analytics_daily`; its first column is `time`, the others are series."""

    statement: str

    datasource = POSTGRES

    def target(self, ref_id: str, *, table: bool) -> Dataquery:
        """Return the query as `PostgresQuery`."""
        return PostgresQuery(ref_id, " ".join(self.statement.split()), "table" if table else "time_series")


Query = PromQL | SQL


@dataclass(frozen=True, slots=True)
class PostgresQuery(Dataquery):
    """The query of Grafana's PostgreSQL datasource, which the SDK does not have."""

    ref_id: str
    statement: str
    form: str

    def to_json(self) -> dict[str, object]:
        """Return the query in Grafana's file format."""
        return {
            "refId": self.ref_id,
            "datasource": POSTGRES,
            "editorMode": "code",
            "rawQuery": True,
            "rawSql": self.statement,
            "format": self.form,
        }
