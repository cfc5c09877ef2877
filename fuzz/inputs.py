"""Parts of grammars that several targets share."""

from __future__ import annotations

from hypothesis import strategies as st

DEEPEST = 1_200
"""Levels of nesting beyond Python's own limit."""


def joined(separator: bytes, *parts: st.SearchStrategy[bytes], most: int = 5) -> st.SearchStrategy[bytes]:
    """Several of these parts in any order, with a separator between."""
    return st.lists(st.one_of(*parts), max_size=most).map(separator.join)


def nested(opening: bytes, closing: bytes, deepest: int = DEEPEST) -> st.SearchStrategy[bytes]:
    """Brackets in brackets, closed or not."""
    depths = st.sampled_from([1, 1, 2, 2, 3, 5, 50, deepest])
    return st.builds(lambda depth, closed: opening * depth + closing * depth * closed, depths, st.booleans())


def damaged(inputs: st.SearchStrategy[bytes], pieces: tuple[bytes, ...]) -> st.SearchStrategy[bytes]:
    """The inputs, with up to two places replaced by one of the pieces, or cut off there."""

    @st.composite
    def build(draw: st.DrawFn) -> bytes:
        content = draw(inputs)
        for _ in range(draw(st.sampled_from([0, 0, 1, 2]))):
            at = draw(st.integers(0, len(content)))
            piece = draw(st.sampled_from([*pieces, None]))
            rest = content[at + draw(st.integers(0, 2)) :]
            content = content[:at] if piece is None else content[:at] + piece + rest
        return content

    return build()
