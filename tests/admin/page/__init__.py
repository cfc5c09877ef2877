"""A package, and no mere folder: what conftest.py starts for it ends with it."""
