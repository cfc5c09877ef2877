"""`--web.config.file`: TLS, passwords and headers of a port, in the format of Prometheus' exporter-toolkit.

file     YAML, checked: an error names file and key
tls      its TLS part as Python's context        authentication   passwords: bcrypt, cached
  └──────────────┬──────────────────────────────────┘
               port     the present configuration of one port, re-read when a file changes
                 └─> httpd: the context of each new connection; a middleware around the port's application
"""
