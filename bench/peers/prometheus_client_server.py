"""prometheus_client's own server with a page's metrics: `python -m bench.peers.prometheus_client_server PORT PAGE`.

Metrics of the same names, types, labels and values are created, as in an application, and rendered at each request.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Metric,
    Summary,
    disable_created_metrics,
    start_http_server,
)
from prometheus_client.parser import text_string_to_metric_families as parse

from servers.ports import LOOPBACK


def registry_of(page: str) -> CollectorRegistry:
    """Return a registry that exposes the metrics of the page."""
    disable_created_metrics()  # type: ignore[no-untyped-call]
    registry = CollectorRegistry()
    for family in parse(page):
        _add(family, registry)
    return registry


def _add(family: Metric, registry: CollectorRegistry) -> None:
    names = list(
        dict.fromkeys(name for sample in family.samples for name in sample.labels if name not in ("le", "quantile"))
    )
    label_sets = {tuple(sample.labels.get(name, "") for name in names) for sample in family.samples}
    name, text = family.name, family.documentation
    if family.type == "histogram":
        bounds = sorted({float(sample.labels["le"]) for sample in family.samples if "le" in sample.labels})
        histogram = Histogram(name, text, names, buckets=bounds, registry=registry)
        for labels in label_sets:
            (histogram.labels(*labels) if names else histogram).observe(bounds[0])
    elif family.type == "summary":
        summary = Summary(name, text, names, registry=registry)
        for labels in label_sets:
            (summary.labels(*labels) if names else summary).observe(1)
    else:
        kind = Counter if family.type == "counter" else Gauge
        metric = kind(name, text, names, registry=registry)
        for sample in family.samples:
            (metric.labels(**sample.labels) if names else metric).inc(sample.value)


if __name__ == "__main__":
    start_http_server(int(sys.argv[1]), addr=LOOPBACK, registry=registry_of(Path(sys.argv[2]).read_text()))
    while True:
        time.sleep(3600)
