"""Grafana's provisioning: its two datasources, and the folder of the dashboards.

Addresses and the password come from Grafana's own environment (`grafana.env` has the defaults), so that the same files
serve a container, a package and the demo. The variables are named GF_... because Grafana's image reads such a variable
from the file named in the variable of the same name with `__FILE` at its end: so the password can be a secret.
"""

from __future__ import annotations

from grafana.queries import POSTGRES, PROMETHEUS

SCRAPE_INTERVAL = "15s"
"""Prometheus' scrape_interval (prometheus/prometheus.yml): `$__rate_interval` follows from it."""

HEADER = "# Written by `python -m grafana`; `make generate` writes it anew.\n"

DATASOURCES = f"""\
{HEADER}apiVersion: 1

datasources:
  - name: HiveSync Prometheus
    uid: {PROMETHEUS.uid}
    type: {PROMETHEUS.type_val}
    access: proxy
    url: $GF_HIVESYNC_PROMETHEUS_URL
    isDefault: true
    editable: false
    jsonData:
      httpMethod: POST
      timeInterval: {SCRAPE_INTERVAL}

  # Its role may read usage_analytics_daily and nothing else (see reader.sql).
  - name: HiveSync PostgreSQL
    uid: {POSTGRES.uid}
    type: {POSTGRES.type_val}
    access: proxy
    url: $GF_HIVESYNC_DB_ADDRESS
    user: $GF_HIVESYNC_DB_USER
    isDefault: false
    editable: false
    jsonData:
      database: $GF_HIVESYNC_DB_NAME
      sslmode: $GF_HIVESYNC_DB_SSLMODE
      postgresVersion: 1500
      timescaledb: false
      maxOpenConns: 2
      maxIdleConns: 1
    secureJsonData:
      password: $GF_HIVESYNC_DB_PASSWORD
"""

DASHBOARD_PROVIDERS = f"""\
{HEADER}apiVersion: 1

providers:
  - name: hivesync
    orgId: 1
    folder: HiveSync
    folderUid: hivesync
    type: file
    disableDeletion: true
    allowUiUpdates: false
    updateIntervalSeconds: 30
    options:
      path: $GF_HIVESYNC_DASHBOARDS
      foldersFromFilesStructure: false
"""

FILES = {
    "datasources/hivesync.yaml": DATASOURCES,
    "dashboards/hivesync.yaml": DASHBOARD_PROVIDERS,
}
"""By their path in the provisioning folder."""
