"""A package, so that the package-scoped fixtures of conftest.py end with it."""
