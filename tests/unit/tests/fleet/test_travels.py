"""Trips of clients between gateways are told by what the clients' processes say."""

from collections import Counter
from collections.abc import Mapping
from math import inf

from tests.fleet.travels import Travels


def told(*lines: tuple[float, Mapping[str, object]]) -> Travels:
    travels = Travels()
    for now, said in lines:
        travels.note(said, now)
    return travels


def moved(name: str, left: float, back: float, served: float) -> list[tuple[float, Mapping[str, object]]]:
    return [
        (left, {"disconnected": name, "reason": "transport close"}),
        (back, {"connected": name, "recovered": True}),
        (served, {"trades": {name: [7], "other": [7]}}),
    ]


def test_the_first_connection_is_no_trip() -> None:
    travels = told((1.0, {"connected": "a", "recovered": False}), (2.0, {"trades": {"a": [1]}}))
    assert (travels.trips, travels.waiting, travels.longest_silence_s(9.0)) == ({}, 0, 0.0)


def test_silence_lasts_until_the_first_trade_after_the_return() -> None:
    travels = told(*moved("a", 1.0, 2.0, 3.5), *moved("b", 1.0, 2.5, 3.0))
    assert (travels.longest_silence_s(9.0), travels.waiting, travels.returns) == (2.5, 0, [2.0, 2.5])


def test_departures_are_told_from_the_first_to_the_last() -> None:
    travels = told(*moved("a", 1.0, 2.0, 3.0), *moved("b", 1.5, 2.0, 3.0), *moved("a", 5.0, 6.0, 7.0))
    assert (travels.departures_s, travels.last) == (4.0, 5.0)
    assert (Travels().departures_s, Travels().last) == (0.0, -inf)


def test_a_trade_that_was_told_late_does_not_end_a_trip_before_the_return() -> None:
    travels = told((1.0, {"disconnected": "a", "reason": ""}), (1.1, {"trades": {"a": [1]}}))
    assert (travels.waiting, travels.longest_silence_s(9.0)) == (1, 8.0)
    travels.note({"connected": "a", "recovered": True}, 2.0)
    assert travels.waiting == 1
    travels.note({"trades": {"a": [2]}}, 2.2)
    assert travels.waiting == 0


def test_who_is_dropped_again_before_being_served_has_made_two_trips() -> None:
    travels = told((1.0, {"disconnected": "a", "reason": ""}), *moved("a", 2.0, 3.0, 4.0), *moved("b", 1.0, 2.0, 3.0))
    assert travels.counts(["a", "b", "c"]) == Counter({2: 1, 1: 1, 0: 1})


def test_the_busiest_second_is_found_wherever_it_begins() -> None:
    times = (1.0, 1.9, 2.0, 2.1, 2.8, 9.0)
    travels = told(*(line for at in times for line in moved(f"client-{at}", 0.5, at, at)))
    assert travels.most_returns_in(1.0) == 4
    assert Travels().most_returns_in(1.0) == 0


def test_failed_attempts_are_counted_by_their_words() -> None:
    travels = told(*[(1.0, {"failed": "a", "what": "xhr poll error"})] * 2)
    assert travels.failures == {"xhr poll error": 2}
