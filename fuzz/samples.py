"""The domain of samples: the bounds of a collector's results for any input."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence

from exporter.labels import MAX_LENGTH, MAX_VALUES
from exporter.spec import MetricSpec, Sample, Summary, family

OPEN_LABEL = re.compile(r"[A-Za-z0-9._:@-]+")


def check_samples(samples: Iterable[Sample], specs: Sequence[MetricSpec]) -> None:
    """Every sample is of one of the specs, once; its labels are in their sets or bounded, its value is one."""
    seen: set[tuple[str, tuple[str, ...]]] = set()
    for sample in samples:
        assert sample.spec in specs, sample.spec.name
        key = (sample.spec.name, sample.labels)
        assert key not in seen, f"twice: {key}"
        seen.add(key)
        for label, value in zip(sample.spec.labels, sample.labels, strict=True):
            if label.values is not None:
                assert value in label.values, key
            else:
                assert OPEN_LABEL.fullmatch(value), key
                assert len(value) <= MAX_LENGTH, key
        for number in _numbers(sample):
            assert math.isfinite(number), key
            assert number >= 0, key
    for spec in specs:
        for index, label in enumerate(spec.labels):
            if label.values is None:
                values = {labels[index] for name, labels in seen if name == spec.name}
                assert len(values) <= MAX_VALUES + 1, f"{spec.name}: {label.name}"
        family(spec, [])


def _numbers(sample: Sample) -> list[float]:
    value = sample.value
    return [value.total, float(value.count)] if isinstance(value, Summary) else [float(value)]  # type: ignore[arg-type]
