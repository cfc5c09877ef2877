"""The cost of the exporter, measured beside its peers: `make bench`, `python -m bench`. See README.md for the
method."""
