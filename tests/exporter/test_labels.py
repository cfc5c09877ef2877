"""Label values from outside (docs/definitions.md#metrics)."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.labels import bounded, clean, clean_worker, closed


@pytest.mark.parametrize(
    ("value", "rest", "expected"),
    [
        ("timeout", "other", "timeout"),
        ("Timeout", "other", "timeout"),
        (" PROVIDER_ERROR\t", "other", "provider_error"),
        ("time out", "other", "other"),
        ("", "other", "other"),
        (None, "unknown", "unknown"),
        ("gremlins", "unknown", "unknown"),
    ],
)
def test_a_closed_label_has_a_value_of_its_set_or_the_word_for_the_rest(
    value: str | None, rest: str, expected: str
) -> None:
    assert closed(value, ("timeout", "provider_error"), rest) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("g5.xlarge", "g5.xlarge"),
        ("Az09._:-", "Az09._:-"),
        ('a b\t{c}"d\\e\nf', "abcdef"),
        ("größe", "gre"),
        ("日本", "unknown"),
        ("", "unknown"),
        (None, "unknown"),
        ("x" * 100, "x" * 100),
        ("x" * 101, "x" * 100),
        (" " * 50 + "x" * 101, "x" * 100),
    ],
)
def test_an_open_label_is_cut_to_its_characters_and_its_length(value: str | None, expected: str) -> None:
    assert clean(value) == expected


def test_a_worker_keeps_the_at_sign_and_no_other_character() -> None:
    assert clean_worker("celery@web-1 {x}\n") == "celery@web-1x"
    assert clean_worker("@" * 101) == "@" * 100
    assert clean_worker(None) == "unknown"
    assert bounded(["a@b", "a b"], clean_worker) == {"a@b": "a@b", "a b": "ab"}


def test_two_hundred_values_keep_their_names() -> None:
    values = [f"worker-{number:03}" for number in range(200)]
    assert bounded(values) == {value: value for value in values}


def test_of_too_many_the_first_keep_their_names() -> None:
    values = [f"worker-{number:03}" for number in range(250)]
    labels = bounded(values)
    assert [value for value in values if labels[value] == value] == values[:200]
    assert {labels[value] for value in values[200:]} == {"other"}


def test_values_that_come_to_the_same_take_one_place() -> None:
    values = [f"worker {number:03}" for number in range(200)] + [f"worker{number:03}" for number in range(200)]
    labels = bounded(values)
    assert len(set(labels.values())) == 200
    assert labels["worker 007"] == labels["worker007"] == "worker007"


def test_a_value_seen_twice_is_one_value() -> None:
    assert bounded(["a", "a", "b"]) == {"a": "a", "b": "b"}


@given(st.lists(st.text(max_size=120), max_size=300))
def test_no_input_makes_more_than_201_harmless_values(values: list[str]) -> None:
    labels = bounded(values)
    assert set(labels) == set(values)
    assert len(set(labels.values())) <= 201
    assert all(re.fullmatch(r"[A-Za-z0-9._:-]{1,100}", label) for label in labels.values())


def test_only_the_beginning_of_a_long_value_is_read() -> None:
    assert clean("{" * 999 + "ab") == "a"
    assert clean_worker("{" * 1_000 + "a") == "unknown"
    assert closed(" " * 1_000 + "gpu", ["gpu"]) == "other"
