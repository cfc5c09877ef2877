"""The shipped folder `prometheus/`, adapted to one machine: for the demo and for the tests.

    folder = fit(directory, exporters=["127.0.0.1:10177"], alertmanager="127.0.0.1:9093", webhook="http://127.0.0.1:1/")
    PrometheusServer(directory / "data", configuration=folder / "prometheus.yml")

The shipped files name the services of docker-compose.yml. These names become addresses; nothing else changes.
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
    """Copy the folder with these addresses (`host:port`) to `directory`, which is replaced.

    Without an Alertmanager no alerts are sent; without a webhook (an URL), alertmanager.yml is as shipped.
    """
    shutil.rmtree(directory, ignore_errors=True)
    shutil.copytree(SHIPPED, directory)
    prometheus, alerts = directory / "prometheus.yml", directory / "alertmanager.yml"
    replace(prometheus, EXPORTERS, _listed(exporters))
    replace(prometheus, ALERTMANAGERS, _listed([alertmanager] if alertmanager else []))
    if webhook:
        # This URL is no secret, and older Alertmanagers do not support url_file.
        replace(alerts, WEBHOOK, f'url: "{webhook}"')
    return directory


def replace(path: Path, shipped: str, fitting: str) -> None:
    """Replace a text. Raises ChildError when the file does not contain it exactly once, so that it was changed
    since."""
    text = path.read_text()
    if text.count(shipped) != 1:
        raise ChildError(f"{path.name} should hold {shipped!r} once")
    path.write_text(text.replace(shipped, fitting))


def _listed(addresses: Sequence[str]) -> str:
    return "[" + ", ".join(f'"{address}"' for address in addresses) + "]"
