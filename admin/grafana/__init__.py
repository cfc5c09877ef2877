"""Grafana behind the Analytics section's middleware: a read-only reverse proxy.

middleware -> proxy -> paths (which requests), headers (under which name) -> Grafana
probe: whether Grafana answers
"""
