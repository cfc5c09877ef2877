"""SQL files as statements, and statements as a script for psql."""

from __future__ import annotations

from collections.abc import Iterable, Iterator


def statements_of(text: str) -> Iterator[str]:
    """Yield the statements of an SQL file, in which each ends with a semicolon at the end of a line. Semicolons and
    lines that are comments are left out."""
    lines: list[str] = []
    for line in text.splitlines():
        code = line.partition("--")[0].rstrip()
        if code.endswith(";"):
            yield "\n".join([*lines, code[:-1]]).strip()
            lines = []
        elif code:
            lines.append(line.rstrip())
    if lines:
        yield "\n".join(lines)


def render(together: Iterable[str], each: Iterable[str] = ()) -> str:
    """Return a script: one transaction, and statements that cannot be in a transaction."""
    return "\n".join([*(f"{statement};" for statement in ("BEGIN", *together, "COMMIT", *each))])
