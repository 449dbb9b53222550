"""What follows from the figures, in words; `result_of` is used by the tests of the reports too."""

import msgspec

from services.launcher.load.crew import Counts
from services.launcher.load.observer import Mark, Sample
from services.launcher.load.results import Generator, Process, Result, processes_between
from services.launcher.usage import Usage
from tests.support.load_results import result_of


def test_a_good_run_has_nothing_to_say():
    assert result_of().remarks() == []


def test_figures_follow_from_what_was_counted():
    result = result_of()
    assert result.delivered_per_s == 500.0
    assert result.cpu_us == 50_000 / 1000


def test_nothing_delivered_has_no_price():
    assert result_of(delivered=0).cpu_us is None


def says(what: str, **changes: object) -> bool:
    return any(what in remark for remark in result_of(**changes).remarks())


def test_a_busy_or_late_generator_is_said_to_be_saturated():
    assert says("generator saturated", generator=Generator([0.2, 0.95], 0.001, 0.01, 0.0))
    assert says("generator saturated", generator=Generator([0.2], 0.2, 0.3, 0.0))
    assert not says("generator saturated", generator=Generator([0.2], 0.2, 0.3, 0.0, bursty=True))


def test_a_late_publisher_is_named():
    assert says("publisher was up to 400 ms late", generator=Generator([0.1], 0.001, 0.01, 0.4))


def test_clients_that_were_not_served_or_were_lost_are_counted():
    assert says("3 clients were not served", counts=Counts(served=7))
    assert says("2 clients lost", counts=Counts(served=10, lost=2))
    assert says("5 subscriptions were answered with an error", counts=Counts(served=10, rejected=5))


def test_folded_prices_are_told_from_missing_ones():
    folded = Counts(served=10, sampled=100, represented=125)
    assert says("nothing is missing: one price stands for 1.25 ticks", counts=folded, expected=1250)
    torn = Counts(served=10, sampled=100, represented=125, gaps=4)
    assert says("4 sampled prices did not follow", counts=torn, expected=1250)
    assert not says("nothing is missing", counts=torn, expected=1250)


def test_a_process_is_measured_between_two_marks():
    first = Mark(10.0, Counts(), {"server": Usage(100, 1.0)}, [])
    last = Mark(14.0, Counts(), {"server": Usage(120, 3.0)}, [])
    peak = Sample(11.0, 1, 0.0, None, None, {"server": 0.0}, {"server": 150})
    assert processes_between(first, last, [peak]) == [Process("server", 2.0, 0.5, 100, 120, 150)]


def test_a_result_can_be_read_back_from_json():
    result = result_of()
    assert msgspec.json.decode(msgspec.json.encode(result), type=Result) == result
