"""Price files: a file is read as prices in their domain, or refused with its name and the problem."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hypothesis import strategies as st

from exporter.errors import SettingsError
from exporter.prices import read_prices
from exporter.settings import read_environment
from fuzz.inputs import joined, nested
from fuzz.target import ByteTarget, Check

URLS = {"database_url": "postgresql://u@127.0.0.1/d", "redis_url": "redis://127.0.0.1"}


@contextmanager
def opened(directory: Path) -> Iterator[Check]:
    """The check, with a file."""
    file = directory / "prices.toml"

    def check(content: bytes) -> None:
        file.write_bytes(content)
        try:
            prices = read_prices(file)
        except ValueError as error:
            assert str(file) in str(error), "the message does not name the file"
            assert len(str(error).splitlines()) == 1 or "\n" in repr(content), "a message of several lines"
            if len(content) % 8 == 0:  # slow: the other inputs go by the reader alone
                _refused(file)
            return
        numbers = [price for model in prices.models.values() for price in (model.prompt, model.completion)]
        numbers += [price for instance in prices.instances.values() for price in instance.values()]
        assert all(math.isfinite(number) and number >= 0 for number in numbers)
        assert "other" not in prices.models

    yield check


def _refused(file: Path) -> None:
    try:
        read_environment(**URLS, prices_file=file)
    except SettingsError as error:
        assert str(error).startswith("HIVESYNC_PRICES_FILE: ")
    else:
        raise AssertionError("a file that is refused is accepted as a setting")


_values = st.sampled_from([b"2.0", b"-1", b"inf", b"nan", b"1e999", b"'x'", b"true", b"[1]", b"{}", b"0x10", b"1_0"])
_keys = st.sampled_from([b"prompt", b"completion", b"spot", b"on-demand", b'"a b"', b"x", b"''"])
_tables = st.sampled_from(
    [b'[models."gpt-4.1"]', b"[models.other]", b'[instances."g5.xlarge"]', b"[models]", b"[x]", b"[[x]]"]
)

TARGET = ByteTarget(
    name="price-files",
    promise="A price file gives finite prices that are not negative, or one message with the file and the problem.",
    opened=opened,
    inputs=joined(
        b"\n",
        _tables,
        st.builds(lambda key, value: key + b" = " + value, _keys, _values),
        st.builds(lambda value: b"a = " + value, nested(b"[", b"]")),
        st.builds(lambda value: b"a = " + value, nested(b"{a=", b"}")),
        st.integers(0, 10**5000).map(lambda number: b"a = 9%d" % (number % 10**200)),
        st.binary(max_size=8),
    ),
    seeds=(
        (
            b'[models."gpt-4.1"]\nprompt = 2.0\ncompletion = 8.0\n'
            b'[instances."g5.xlarge"]\nspot = 0.45\non-demand = 1.006\n'
        ),
        b"models.x = {prompt = 1, completion = 2}\n",
    ),
    words=(
        b"[models.x]",
        b"prompt = ",
        b"completion = ",
        b"[instances.x]",
        b"inf",
        b"nan",
        b"1e400",
        b"9" * 400,
        b"'''",
    ),
)
