"""Random changes of bytes from a seed: for machines without atheris, and for tests that are the same every time."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

CHANGES_AT_MOST = 5
INTERESTING = (b"", b"\0", b"\n", b"\r\n", b"\xff", b"\xef\xbb\xbf", b"%00", b"..", b"-1", b"1e999", b"nan", b"9" * 25)
COPIES = (2, 8, 64, 1_100)
"""Repetitions of a piece: over a thousand for nesting."""


def mutations(seed: int, pool: Sequence[bytes], words: Sequence[bytes], size: int) -> Iterator[bytes]:
    """Yield mutations of the inputs in `pool`, each at most `size` bytes, for ever; the same for the same seed."""
    source = random.Random(seed)
    while True:
        yield mutated(source, pool, words)[:size]


def mutated(source: random.Random, pool: Sequence[bytes], words: Sequence[bytes]) -> bytes:
    """Return one mutation."""
    content = bytearray(source.choice(pool))
    for _ in range(source.randint(1, CHANGES_AT_MOST)):
        at = source.randint(0, len(content))
        end = min(len(content), at + source.choice((0, 1, 1, 2, 4, 16, 64)))
        match source.randrange(7):
            case 0:
                content[at:end] = bytes(source.choices(range(256), k=source.randint(1, 4)))
            case 1:
                content[at:end] = source.choice(words or INTERESTING)
            case 2:
                content[at:end] = source.choice(INTERESTING)
            case 3:
                del content[at:end]
            case 4:
                content[at:end] = content[at:end] * source.choice(COPIES)
            case 5:
                other = source.choice(pool)
                start = source.randint(0, len(other))
                content[at:end] = other[start : start + source.choice((1, 8, 64, len(other)))]
            case _:
                for index in range(at, end):
                    content[index] ^= 1 << source.randrange(8)
    return bytes(content)
