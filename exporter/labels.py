"""Sanitised label values from outside: no source can make a metric grow without bound (docs/definitions.md#metrics).

Closed labels take a word of a fixed set, compared without case and surrounding blanks, or a word for the rest. Open
labels (`worker`, a queue's `name`, `instance_type`, `lifecycle`) keep 100 characters out of `A-Za-z0-9._:-` (`worker`
also `@`, as in `celery@host`), and 200 values per metric; further values become `other`. Of a value, 1,000 characters
are read.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable

OTHER = "other"
UNKNOWN = "unknown"
MAX_LENGTH = 100
MAX_VALUES = 200
MAX_READ = 1_000
"""Characters that are read of a value."""

_REFUSED = re.compile(r"[^A-Za-z0-9._:-]+")
_REFUSED_IN_WORKERS = re.compile(r"[^A-Za-z0-9._:@-]+")


def folded(value: str | None) -> str:
    """Return a word in the form in which it is compared: in lower case, without surrounding blanks; empty for none."""
    return (value or "").strip().lower()


_ASCII_LOWER = {ord(letter): ord(letter.lower()) for letter in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"}


def folded_forms(words: Iterable[str]) -> list[str]:
    """Return the forms of words that PostgreSQL's `lower` with the collation "C" gives: it leaves letters beyond ASCII
    as they are, so that such a word has a form in small and one in capital letters."""
    forms = (form.translate(_ASCII_LOWER) for word in words for form in (folded(word), folded(word).upper()))
    return list(dict.fromkeys(forms))


def closed(value: str | None, allowed: Collection[str], rest: str = OTHER) -> str:
    """Return the word of `allowed` (in lower case) that matches the value, else `rest`."""
    word = folded((value or "")[:MAX_READ])
    return word if word in allowed else rest


def clean(value: str | None) -> str:
    """Return an open label's value restricted to the allowed characters and length; `unknown` where nothing is left."""
    return _REFUSED.sub("", (value or "")[:MAX_READ])[:MAX_LENGTH] or UNKNOWN


def clean_worker(value: str | None) -> str:
    """Return a worker's name likewise restricted; `@` is part of it."""
    return _REFUSED_IN_WORKERS.sub("", (value or "")[:MAX_READ])[:MAX_LENGTH] or UNKNOWN


def bounded(values: Iterable[str], restrict: Callable[[str], str] = clean) -> dict[str, str]:
    """Return the label per raw value, as `restrict` gives it. The first 200 labels, in the given order, are kept; the
    rest is `other`.

    Two raw values may share a label (`a b` and `ab`, or both beyond the limit): the caller adds up their values.
    """
    labels: dict[str, str] = {}
    taken: set[str] = set()
    for raw in values:
        label = restrict(raw)
        if label not in taken and len(taken) >= MAX_VALUES:
            label = OTHER
        else:
            taken.add(label)
        labels[raw] = label
    return labels
