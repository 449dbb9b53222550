"""Durations in classes: quantiles close to the true ones, whatever was merged or sent."""

import random

import pytest

from services.launcher.load.histogram import LARGEST_S, SMALLEST_S, Histogram, merged


def histogram(*seconds: float) -> Histogram:
    made = Histogram()
    for value in seconds:
        made.add(value)
    return made


def test_quantiles_are_within_two_per_cent_of_the_true_ones():
    chance = random.Random(1)
    values = sorted(chance.lognormvariate(-5, 1.5) for _ in range(5000))
    made = histogram(*values)
    for share in (0.01, 0.5, 0.9, 0.99, 0.999):
        assert made.quantile(share) == pytest.approx(values[int(share * len(values)) - 1], rel=0.02)
    assert made.quantiles().max == values[-1]


def test_nothing_has_quantiles_of_zero():
    found = Histogram().quantiles()
    assert (found.count, found.p50, found.p99, found.max) == (0, 0.0, 0.0, 0.0)


def test_a_quantile_never_exceeds_the_largest():
    made = histogram(0.0101)
    assert made.quantile(0.5) == made.quantile(1) == pytest.approx(0.0101, rel=0.02)
    assert made.quantile(1) <= made.largest


@pytest.mark.parametrize("seconds", [-1.0, 0.0, SMALLEST_S, LARGEST_S, LARGEST_S * 1000])
def test_what_is_out_of_range_counts_in_the_outermost_class(seconds):
    made = histogram(seconds)
    assert len(made) == 1
    assert made.quantile(0.5) <= LARGEST_S * 1.02


@pytest.mark.parametrize("share", [-0.1, 1.1])
def test_a_share_is_between_none_and_all(share):
    with pytest.raises(ValueError, match="no share"):
        histogram(1.0).quantile(share)


def test_merging_counts_all_of_both():
    both = merged([histogram(0.001, 0.002), histogram(5.0), Histogram()])
    assert len(both) == 3
    assert both.largest == 5.0


def test_it_survives_the_way_between_processes():
    made = histogram(0.001, 0.001, 0.25)
    again = Histogram.from_plain(made.to_plain())
    assert list(again.classes()) == list(made.classes())
    assert again.largest == made.largest
