"""Label values from outside, made harmless: whatever a source holds, no metric can grow without bound (contract §3,
Rules).

Closed labels take a word of a fixed set, compared without case and surrounding blanks, or a word for the rest. Open
ones (`worker`, a queue's `name`, `instance_type`, `lifecycle`) keep 100 characters out of `A-Za-z0-9._:-`, and 200
values a metric; what is over goes to `other`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

OTHER = "other"
UNKNOWN = "unknown"
MAX_LENGTH = 100
MAX_VALUES = 200

_REFUSED = re.compile(r"[^A-Za-z0-9._:-]+")


def folded(value: str | None) -> str:
    """A word as it is compared: in lower case, without surrounding blanks; empty for none."""
    return (value or "").strip().lower()


def closed(value: str | None, allowed: Collection[str], rest: str = OTHER) -> str:
    """The word of `allowed` (in lower case) that the value is, else `rest`."""
    word = folded(value)
    return word if word in allowed else rest


def clean(value: str | None) -> str:
    """An open label's value cut to the characters and the length the contract allows; `unknown` when nothing is
    left."""
    return _REFUSED.sub("", value or "")[:MAX_LENGTH] or UNKNOWN


def bounded(values: Iterable[str]) -> dict[str, str]:
    """Each raw value's label. The first 200 labels, in the order given, stand for themselves; the rest is `other`.

    Two raw values may share a label (`a b` and `ab`, or both over the bound): whoever uses this adds them up.
    """
    labels: dict[str, str] = {}
    taken: set[str] = set()
    for raw in values:
        label = clean(raw)
        if label not in taken and len(taken) >= MAX_VALUES:
            label = OTHER
        else:
            taken.add(label)
        labels[raw] = label
    return labels
