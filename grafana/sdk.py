"""What is used of grafana-foundation-sdk, and the one place that imports it.

It warns, where it defines them, that dashboards of the classic schema are deprecated. They are what Grafana 12 reads
from files, and 13 too; version 2 of the schema is not, in 12.
"""

from __future__ import annotations

import warnings

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    from grafana_foundation_sdk.cog.encoder import JSONEncoder
    from grafana_foundation_sdk.cog.variants import Dataquery
    from grafana_foundation_sdk.models import (
        bargauge,
        common,
        dashboard,
        prometheus,
        stat,
        statetimeline,
        table,
        timeseries,
    )

__all__ = [
    "Dataquery",
    "JSONEncoder",
    "bargauge",
    "common",
    "dashboard",
    "prometheus",
    "stat",
    "statetimeline",
    "table",
    "timeseries",
]
