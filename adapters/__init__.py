"""Adapters: views of the documented tables over the tables of another backend (docs/adapting.md).

A folder is an adapter: `adapter.toml`, `views.sql`, `indexes.sql`, and for its users `settings.env` and `README.md`.
This package is data only; `rollup/adapter.py` reads a folder, `rollup/installation.py` installs it.
"""
