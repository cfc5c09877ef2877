"""Where inputs come from: hypothesis by a target's grammar, atheris by coverage, mutation where there is no atheris.

    worker -> engines (this) -> campaign

atheris (libFuzzer for Python) has wheels for Linux on x86-64 alone. It instruments the modules of the product as they
are imported, and prefers inputs that reach new code; it never returns, so that each campaign has a process of its own.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import hypothesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.stateful import run_state_machine_as_test

from fuzz import corpus
from fuzz.campaign import Campaign
from fuzz.mutation import mutations
from fuzz.target import ByteTarget, MachineTarget

GRAMMAR, BYTES = "grammar", "bytes"
"""The two lanes: inputs that are nearly valid, and any bytes."""

INSTRUMENTED = ["admin", "exporter"]
"""The packages whose coverage leads atheris."""

ROUND = 500
"""Inputs of hypothesis from one seed."""

SEQUENCES = 30
"""Sequences of steps from one seed: hypothesis begins with the simplest."""


def has_atheris() -> bool:
    """Return whether atheris is installed."""
    return find_spec("atheris") is not None


def pool(target: ByteTarget) -> list[bytes]:
    """Return the inputs from which mutations start."""
    return [*target.seeds, *corpus.entries(target.name).values()]


def by_grammar(target: ByteTarget, campaign: Campaign, seed: int) -> None:
    """Run inputs of the target's grammar until the campaign is over."""
    for number in itertools.count(seed):
        if campaign.is_over:
            return

        @hypothesis.seed(number)
        @_plain(max_examples=ROUND)
        @given(target.inputs)
        def one(content: bytes) -> None:
            if not campaign.is_over:
                campaign.run(content)

        one()


def by_steps(target: MachineTarget, campaign: Campaign, seed: int) -> None:
    """Run sequences of steps until the campaign is over: the input of a run is the seed of its sequences."""
    for number in itertools.count(seed):
        if campaign.is_over:
            return
        campaign.run(b"%d" % number)
        campaign.tally.executions += SEQUENCES - 1


def steps_check(target: MachineTarget) -> Callable[[bytes], None]:
    """Return a check whose input is the seed of SEQUENCES sequences of steps."""

    def check(content: bytes) -> None:
        if content.isdigit():
            machine = hypothesis.seed(int(content))(type(target.machine.__name__, (target.machine,), {}))
            run_state_machine_as_test(
                machine, settings=_plain(max_examples=SEQUENCES, stateful_step_count=target.steps)
            )

    return check


def by_mutation(target: ByteTarget, campaign: Campaign, seed: int) -> None:
    """Run mutations until the campaign is over."""
    for content in mutations(seed, pool(target), target.words, target.size):
        if campaign.is_over:
            return
        campaign.run(content)


def by_coverage(target: ByteTarget, campaign: Campaign, seed: int, directory: Path, ended: Callable[[], None]) -> None:
    """Run atheris' inputs until the campaign is over; then call `ended` and end the process."""
    import atheris

    def one(content: bytes) -> None:
        campaign.run(content)
        if campaign.is_over:
            ended()
            os._exit(0)

    begin = directory / "begin"
    begin.mkdir()
    for number, content in enumerate(pool(target)):
        (begin / str(number)).write_bytes(content)
    words = directory / "words"
    words.write_text("".join('"' + "".join(map("\\x{:02x}".format, word)) + '"\n' for word in target.words))
    atheris.Setup(
        ["fuzz", f"-seed={seed + 1}", f"-max_len={target.size}", f"-dict={words}", "-timeout=0", str(begin)], one
    )
    atheris.Fuzz()


def _plain(**given_settings: int) -> settings:
    return settings(
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
        **given_settings,  # type: ignore[arg-type]  # numbers all
    )
