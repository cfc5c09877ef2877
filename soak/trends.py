"""The trend of a resource: Theil-Sen's slope with an interval, and the verdict of it.

A series is cut into blocks of equal length, and each becomes its median: a fault, a burst, or a pass of a garbage
collection within a block moves nothing. The slope is the median of the slopes of all pairs of blocks; its interval is
that of Sen (1968), from the variance of Kendall's statistic, widened by the correlation of neighbouring blocks. The
deviation of the blocks from the line is the noise.

A series *grows* if its slope is above zero for certain, and its rise over the run exceeds the noise. It is *flat* only
if the run excludes such a rise: the upper end of the interval stays within the noise. In all other cases the run was
too short to tell, and so is every run of less than `LEAST_SECONDS` after the warm-up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

BLOCKS = 40
LEAST_BLOCKS = 12
LEAST_SECONDS = 300.0

WARM_UP_SHARE = 0.2
WARM_UP_SECONDS = (120.0, 1800.0)
"""Bounds of the warm-up: first passes, caches and pools are filled."""

CERTAINTY = 2.576
"""Standard deviations of the interval: 99 in 100."""

NOISE = 3.0
"""Standard deviations of the band in which the blocks of a flat series lie."""

MOST_CORRELATED = 0.9
HOUR = 3600.0

FLAT: Final = "flat"
GROWS: Final = "GROWS"
TOO_SHORT: Final = "too short to tell"

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Trend:
    """A trend. `slope`, `low` and `high` (the interval) are in units per hour; `rise` is the slope's over the measured
    time, and `noise` the rise that is still flat, both in units."""

    verdict: str
    level: float
    slope: float = 0.0
    low: float = 0.0
    high: float = 0.0
    rise: float = 0.0
    noise: float = 0.0
    seconds: float = 0.0


def warm_up(seconds: float) -> float:
    """Return the seconds at the start of a run that are left out."""
    shortest, longest = WARM_UP_SECONDS
    return min(max(seconds * WARM_UP_SHARE, shortest), longest)


def fit(times: Sequence[float], values: Sequence[float], *, begin: float, end: float, least: float) -> Trend:
    """Return the trend of a series between two times (seconds). `least` is the smallest rise that counts, in units."""
    centres, medians = _blocks(np.asarray(times, float), np.asarray(values, float), begin, end)
    seconds = end - begin
    if len(medians) < LEAST_BLOCKS or seconds < LEAST_SECONDS:
        return Trend(TOO_SHORT, float(np.median(values)) if len(values) else float("nan"), seconds=max(0.0, seconds))
    slopes = _slopes(centres, medians)
    slope = float(np.median(slopes))
    residuals = medians - slope * centres
    residuals -= np.median(residuals)
    low, high = _interval(slopes, medians, residuals)
    noise = max(NOISE * 1.4826 * float(np.median(np.abs(residuals))), least)
    if low > 0 and slope * seconds > noise:
        verdict = GROWS
    elif high * seconds <= noise:
        verdict = FLAT
    else:
        verdict = TOO_SHORT
    return Trend(
        verdict,
        float(np.median(medians)),
        slope * HOUR,
        low * HOUR,
        high * HOUR,
        slope * seconds,
        noise,
        seconds,
    )


def _blocks(times: Floats, values: Floats, begin: float, end: float) -> tuple[Floats, Floats]:
    """Return the middle of each block that has values, and their median."""
    edges = np.linspace(begin, end, BLOCKS + 1)
    inside = (times >= begin) & (times < end) & np.isfinite(values)
    numbers, values = np.searchsorted(edges, times[inside], side="right") - 1, values[inside]
    filled = np.unique(numbers)
    medians = np.array([np.median(values[numbers == number]) for number in filled])
    return (edges[filled] + edges[filled + 1]) / 2, medians


def _slopes(times: Floats, values: Floats) -> Floats:
    """Return the slopes of all pairs, in ascending order."""
    first, second = np.triu_indices(len(times), 1)
    slopes: Floats = np.sort((values[second] - values[first]) / (times[second] - times[first]))
    return slopes


def _interval(slopes: Floats, values: Floats, residuals: Floats) -> tuple[float, float]:
    """Return the interval of the slope: the pairs whose rank is within Kendall's deviation of the middle one."""
    count = len(values)
    _, ties = np.unique(values, return_counts=True)
    variance = (count * (count - 1) * (2 * count + 5) - float(np.sum(ties * (ties - 1) * (2 * ties + 5)))) / 18
    correlation = _correlation(residuals)
    half = CERTAINTY * np.sqrt(variance * (1 + correlation) / (1 - correlation)) / 2
    middle = (len(slopes) - 1) / 2
    low, high = int(np.floor(middle - half)), int(np.ceil(middle + half))
    return float(slopes[max(low, 0)]), float(slopes[min(high, len(slopes) - 1)])


def _correlation(residuals: Floats) -> float:
    """Return the correlation of neighbouring blocks, from 0 to `MOST_CORRELATED`."""
    total = float(np.sum(residuals**2))
    if not total:
        return 0.0
    return min(max(float(np.sum(residuals[1:] * residuals[:-1])) / total, 0.0), MOST_CORRELATED)
