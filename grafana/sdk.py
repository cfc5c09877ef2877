"""The used part of grafana-foundation-sdk, imported in this place only.

The SDK warns, where it defines them, that dashboards of the classic schema are deprecated. Grafana 12 and 13 read this
schema from files; Grafana 12 does not read version 2 of the schema.
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
