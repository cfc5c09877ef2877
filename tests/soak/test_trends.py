"""The verdict on synthetic series: leaks are found, noise is flat, and a run that is too short claims nothing."""

from __future__ import annotations

import numpy as np
import pytest

from soak.trends import FLAT, GROWS, TOO_SHORT, Trend, fit, warm_up

HOURS = 1.0
EVERY_SECONDS = 2.0
SEEDS = range(20)


def trend(
    seed: int,
    *,
    hours: float = HOURS,
    leak: float = 0.0,
    noise: float = 1.0,
    step: float = 0.0,
    correlated: float = 0.0,
    bursts: float = 0.0,
    least: float = 2.0,
) -> Trend:
    """The trend of a series of about 100 MB: `leak` per hour, `noise` as a deviation, `step` within the warm-up,
    `bursts` of that height in a tenth of the minutes."""
    random = np.random.default_rng(seed)
    times = np.arange(0, hours * 3600, EVERY_SECONDS)
    innovations = random.normal(0, noise * np.sqrt(1 - correlated**2), len(times))
    noises = np.zeros(len(times))
    for index in range(1, len(times)):
        noises[index] = correlated * noises[index - 1] + innovations[index]
    is_burst = random.random(int(hours * 60) + 1) < 0.1
    values = 100 + leak * times / 3600 + noises + bursts * is_burst[(times // 60).astype(int)]
    seconds = hours * 3600
    values[times < warm_up(seconds)] -= step
    return fit(list(times), list(values), begin=warm_up(seconds), end=seconds, least=least)


def verdicts(**series: float) -> list[str]:
    return [trend(seed, **series).verdict for seed in SEEDS]


@pytest.mark.parametrize("leak", [10.0, 200.0])
def test_a_slow_and_a_fast_leak_grow(leak: float) -> None:
    assert verdicts(leak=leak) == [GROWS] * len(SEEDS)


def test_the_slope_of_a_leak_is_measured_within_its_interval() -> None:
    trends = [trend(seed, leak=10.0) for seed in SEEDS]
    assert all(each.low <= 10 <= each.high for each in trends)
    assert all(abs(each.slope - 10) < 1 for each in trends)


def test_a_leak_under_bursts_grows() -> None:
    assert verdicts(leak=30.0, bursts=20.0) == [GROWS] * len(SEEDS)


def test_a_very_slow_leak_grows_in_a_longer_run() -> None:
    """A megabyte per hour is within the smallest rise that counts (2 MB) in an hour, and beyond it in eight."""
    assert GROWS not in verdicts(leak=1.0)
    assert verdicts(leak=1.0, hours=8.0) == [GROWS] * len(SEEDS)


@pytest.mark.parametrize("series", [{"noise": 0.0}, {"noise": 1.0}, {"noise": 5.0}, {"bursts": 50.0}])
def test_noise_alone_is_flat(series: dict[str, float]) -> None:
    assert verdicts(**series) == [FLAT] * len(SEEDS)


def test_noise_with_a_long_memory_does_not_grow() -> None:
    assert GROWS not in verdicts(noise=3.0, correlated=0.999)


def test_a_step_at_the_start_is_flat() -> None:
    assert verdicts(step=60.0) == [FLAT] * len(SEEDS)


def test_a_resource_that_falls_is_flat() -> None:
    assert verdicts(leak=-50.0) == [FLAT] * len(SEEDS)


def test_a_step_in_the_middle_that_stays_is_not_flat() -> None:
    """It is no leak either, as far as one run shows."""
    times = list(range(0, 3600, 2))
    values = [100.0 if second < 2000 else 130.0 for second in times]
    assert fit(times, values, begin=720, end=3600, least=2.0).verdict == TOO_SHORT


def test_a_count_that_grows_by_one_a_minute_grows() -> None:
    times = list(range(0, 1800, 2))
    assert fit(times, [20.0 + second // 60 for second in times], begin=360, end=1800, least=2).verdict == GROWS


@pytest.mark.parametrize("leak", [0.0, 10.0, 1000.0])
def test_a_short_run_is_too_short_to_tell(leak: float) -> None:
    assert verdicts(leak=leak, hours=0.1) == [TOO_SHORT] * len(SEEDS)


def test_few_values_are_too_few_to_tell() -> None:
    assert fit([1000.0, 2000.0, 3000.0], [1.0, 2.0, 3.0], begin=720, end=3600, least=0.1).verdict == TOO_SHORT
    assert fit([], [], begin=720, end=3600, least=0.1).verdict == TOO_SHORT


def test_an_interval_wider_than_the_noise_is_too_short_to_tell() -> None:
    """A wave of a single period could be the start of a growth as well."""
    times = list(range(0, 3600, 2))
    values = [100 + 5 * float(np.sin(2 * np.pi * second / 2880)) for second in times]
    assert fit(times, values, begin=720, end=3600, least=1.0).verdict == TOO_SHORT


@pytest.mark.parametrize(("seconds", "expected"), [(60, 120), (1800, 360), (3600, 720), (100_000, 1800)])
def test_the_warm_up_is_a_fifth_within_bounds(seconds: float, expected: float) -> None:
    assert warm_up(seconds) == expected
