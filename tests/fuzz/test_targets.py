"""Every target with its corpus and the same inputs each time; `make fuzz` runs them for minutes with other ones."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis.stateful import run_state_machine_as_test
from structlog.testing import capture_logs

from fuzz import corpus
from fuzz.catalogue import BYTE_TARGETS, CATALOGUE, MACHINES
from fuzz.engines import pool, steps_check
from fuzz.mutation import mutations
from fuzz.target import Check
from servers.postgres_files import MEMORY
from servers.temporary import temporary_directory

SEED = 7
EVERYTHING = settings(database=None, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


@pytest.fixture(scope="module", params=BYTE_TARGETS)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def check(name: str) -> Iterator[Check]:
    directory = Path(tempfile.mkdtemp(dir=temporary_directory("hivesync-fuzz-", MEMORY if MEMORY.exists() else None)))
    with BYTE_TARGETS[name].opened(directory) as check, capture_logs():
        yield check


def test_what_broke_a_property_once_breaks_it_no_more(name: str, check: Check) -> None:
    for entry, content in corpus.entries(name).items():
        try:
            check(content)
        except Exception as error:
            raise AssertionError(f"fuzz/corpus/{name}/{entry}") from error


def test_the_seeds_and_their_mutations_keep_the_property(name: str, check: Check) -> None:
    target = BYTE_TARGETS[name]
    for content in (*target.seeds, *islice(mutations(SEED, pool(target), target.words, target.size), target.examples)):
        try:
            check(content)
        except Exception as error:
            raise AssertionError(f"{content!r}") from error


def test_inputs_by_grammar_keep_the_property(name: str, check: Check) -> None:
    target = BYTE_TARGETS[name]

    @settings(EVERYTHING, max_examples=target.examples)
    @given(target.inputs)
    def keeps(content: bytes) -> None:
        check(content)

    keeps()


@pytest.mark.parametrize("name", MACHINES)
def test_any_sequence_of_steps_keeps_the_property(name: str) -> None:
    target = MACHINES[name]
    for content in corpus.entries(name).values():
        steps_check(target)(content)
    run_state_machine_as_test(
        seed(SEED)(target.machine),
        settings=settings(EVERYTHING, max_examples=target.examples, stateful_step_count=target.steps),
    )


def test_the_corpus_is_small_and_of_known_targets() -> None:
    folders = {path.name for path in corpus.CORPUS.iterdir()}
    assert folders <= CATALOGUE.keys()
    sizes = {path: path.stat().st_size for path in corpus.CORPUS.glob("*/*")}
    assert len(sizes) > 10
    assert {path: size for path, size in sizes.items() if size > 16_384} == {}
