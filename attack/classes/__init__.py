"""The classes of attacks, a module each.

Each module has `SUBJECT` and `ATTACKS`; an attack is a line of a table where its kind allows that.
"""

from __future__ import annotations

from collections.abc import Sequence

from attack.classes import (
    browsers,
    cookies,
    exports,
    files,
    flood,
    framing,
    headers,
    hosts,
    leaks,
    limits,
    local,
    logins,
    methods,
    parsing,
    proxying,
    reflection,
    tokens,
)
from attack.findings import Attack

ATTACKS: Sequence[Attack] = [
    attack
    for module in (
        tokens,
        cookies,
        logins,
        framing,
        parsing,
        limits,
        methods,
        hosts,
        proxying,
        files,
        reflection,
        exports,
        browsers,
        headers,
        leaks,
        local,
        flood,
    )
    for attack in module.ATTACKS
]
"""All attacks, the flood last: it closes the connections of the others."""
