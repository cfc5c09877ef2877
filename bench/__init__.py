"""What the exporter costs, measured beside its peers: `make bench`, `python -m bench`. README.md says how."""
