"""The dashboards as code: `python -m grafana` writes the files of Grafana's provisioning."""
