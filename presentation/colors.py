"""HiveSync's design tokens as colours of charts: the page and the dashboards use no others.

A dashboard is drawn in the light and in the dark theme from the same file, so of each token the value is used (or the
opaque colour of its background) that is visible on the background of both.
"""

from __future__ import annotations

BLUE = "#2196F3"
"""focus"""
LIGHT_BLUE = "#64B5F6"
"""link, dark"""
YELLOW = "#FFB300"
"""button-primary, active: the yellow that is visible on white"""
LIGHT_YELLOW = "#FFD54F"
"""button-primary, hover, dark"""
GREEN = "#4CAF50"
"""success background, opaque"""
DARK_GREEN = "#2E7D32"
"""success text, light"""
RED = "#E53935"
"""error background, opaque"""
LIGHT_RED = "#EF9A9A"
"""error text, dark"""
ORANGE = "#FF8F00"
"""warning text, light"""
GREY = "#9E9E9E"
"""text-muted, light"""
LIGHT_GREY = "#BDBDBD"
"""border-strong, light"""

TOKENS = frozenset(
    {BLUE, LIGHT_BLUE, YELLOW, LIGHT_YELLOW, GREEN, DARK_GREEN, RED, LIGHT_RED, ORANGE, GREY, LIGHT_GREY}
)
"""All colours."""

GOOD, WARNING, BAD = DARK_GREEN, ORANGE, RED
"""Colours of judged values."""
