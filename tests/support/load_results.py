"""A load test's result made by hand, for the tests of what is said of it."""

from typing import Any

from services.launcher.load.crew import Counts
from services.launcher.load.histogram import Histogram
from services.launcher.load.observer import Sample
from services.launcher.load.results import Generator, Process, Result, Spread
from services.launcher.load.scenario import Scenario


def spread_of(*seconds: float) -> Spread:
    """Of a few durations."""
    histogram = Histogram()
    for value in seconds:
        histogram.add(value)
    return Spread.of(histogram)


def result_of(**changes: Any) -> Result:
    """A run without trouble: 1,000 prices in two seconds, 50 ms of the gateway's CPU."""
    values: dict[str, Any] = {
        "scenario": Scenario(name="fanout", summary="every update at once", clients=10, symbols=20),
        "url": "127.0.0.1:8080",
        "started": 1_763_800_000_000,
        "seconds": 2.0,
        "counts": Counts(served=10, sampled=100, represented=100),
        "published": 1000,
        "delivered": 1000,
        "expected": 1000,
        "latency": spread_of(0.002, 0.003, 0.004, 0.05),
        "answers": spread_of(),
        "connecting": spread_of(0.001, 0.002),
        "generator": Generator([0.1], 0.001, 0.002, 0.001),
        "processes": [Process("gateway", 0.05, 0.025, 60_000_000, 61_000_000, 62_000_000)],
        "samples": [
            Sample(0.5 * number, 10, 500.0, 3.0, 4.0, {"gateway": 0.02}, {"gateway": 60_000_000})
            for number in range(1, 5)
        ],
    }
    return Result(**{**values, **changes})
