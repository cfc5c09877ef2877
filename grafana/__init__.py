"""The dashboards as code: `python -m grafana` writes what Grafana is provisioned with (contract §3, Commands)."""
