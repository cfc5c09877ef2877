"""The words of HiveSync's that mean something here, in lower case as they are compared."""

from __future__ import annotations

TRIAL = "trial"

FREE_PLANS = ("free", "admin")
"""Plans that are not paid, unless FREE_PLANS names others."""

PAID_PLANS = ("pro", "premium")
"""Plans that are known to be paid. Any other word is taken for a paid plan too, and logged once."""
