"""HiveSync's usage as Prometheus metrics: see `python -m exporter --help`, and README.md for the whole."""
