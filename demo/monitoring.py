"""The shipped folder `prometheus/`, made fit for one machine: for the demo, and for the tests.

    folder = fit(directory, exporters=["127.0.0.1:10177"], alertmanager="127.0.0.1:9093", webhook="http://127.0.0.1:1/")
    PrometheusServer(directory / "data", configuration=folder / "prometheus.yml")

What ships names the services of docker-compose.yml. Here those names become addresses, and nothing else changes.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from servers.child import ChildError

SHIPPED = Path(__file__).parents[1] / "prometheus"

EXPORTERS = '["exporter:10177"]'
ALERTMANAGERS = '["alertmanager:9093"]'
WEBHOOK = "url_file: /run/secrets/alert_webhook_url"


def fit(directory: Path, *, exporters: Sequence[str], alertmanager: str | None = None, webhook: str = "") -> Path:
    """A copy of the folder with these addresses (`host:port`), in `directory`, which is made anew.

    Without an Alertmanager nobody is told of alerts; without a webhook (an URL), alertmanager.yml is as shipped.
    """
    shutil.rmtree(directory, ignore_errors=True)
    shutil.copytree(SHIPPED, directory)
    prometheus, alerts = directory / "prometheus.yml", directory / "alertmanager.yml"
    replace(prometheus, EXPORTERS, _listed(exporters))
    replace(prometheus, ALERTMANAGERS, _listed([alertmanager] if alertmanager else []))
    if webhook:
        # Nothing secret here, and older Alertmanagers know no url_file.
        replace(alerts, WEBHOOK, f'url: "{webhook}"')
    return directory


def replace(path: Path, shipped: str, fitting: str) -> None:
    """Put the one for the other. Raises ChildError when the file does not hold it once: then it has moved on."""
    text = path.read_text()
    if text.count(shipped) != 1:
        raise ChildError(f"{path.name} should hold {shipped!r} once")
    path.write_text(text.replace(shipped, fitting))


def _listed(addresses: Sequence[str]) -> str:
    return "[" + ", ".join(f'"{address}"' for address in addresses) + "]"
