"""A target: a part of the product that reads bytes of others, and the property that holds for any bytes.

    targets/ -> target (this) -> catalogue -> engines, tests

A check raises AssertionError where the property does not hold. Any other exception that leaves it breaks the property
too: the product has one way to refuse an input, and the check expects that one alone.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine

Check = Callable[[bytes], None]


@dataclass(frozen=True)
class ByteTarget:
    """A target whose input is a stretch of bytes."""

    name: str
    promise: str
    """The property, as docs/reliability.md prints it."""
    opened: Callable[[Path], AbstractContextManager[Check]]
    """Opens the check, with an empty directory of its own: servers and files live as long as the context."""
    inputs: st.SearchStrategy[bytes]
    """Inputs close to valid ones, by grammar."""
    seeds: tuple[bytes, ...]
    """Valid and nearly valid inputs, from which mutations start."""
    words: tuple[bytes, ...] = ()
    """Words that mutations insert."""
    examples: int = 300
    """Inputs of each engine in `make test`, so that a target takes two or three seconds."""
    size: int = 2_048
    """Length of the longest mutation."""


@dataclass(frozen=True)
class MachineTarget:
    """A target whose input is a sequence of steps, with a model that knows the true result of each."""

    name: str
    promise: str
    machine: type[RuleBasedStateMachine]
    examples: int = 150
    steps: int = 40
