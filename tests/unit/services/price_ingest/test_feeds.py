"""How far streams are read, for prices and for candles."""

import pytest

from services.price_ingest.feeds import BEGINNING, BOTH, MAX_STREAMS, Gap, GapReason, Lane, Part, Positions
from shared.bus.entries import StreamEnds, StreamEntry

S = "feed:prices"


def at(prices: str = BEGINNING, charts: str | None = None) -> Positions:
    """Committed at these two, the same where one is given."""
    positions = Positions({Lane.PRICES: {S: prices}, Lane.CHARTS: {S: prices if charts is None else charts}})
    assert positions.add([S]) == []
    return positions


def entries(*ids: str) -> list[StreamEntry]:
    return [StreamEntry(entry_id, {}) for entry_id in ids]


def test_a_new_stream_is_read_from_its_beginning_and_a_known_one_from_its_position():
    positions = at("5-0")
    assert positions.add([S, "feed:prices:1"]) == []
    assert positions.now == {S: "5-0", "feed:prices:1": BEGINNING}


def test_streams_without_number_of_end_are_left_out():
    positions = Positions({})
    left_out = positions.add([f"feed:prices:{number}" for number in range(MAX_STREAMS + 2)])
    assert left_out == [f"feed:prices:{MAX_STREAMS}", f"feed:prices:{MAX_STREAMS + 1}"]
    assert len(positions.now) == MAX_STREAMS


def test_each_move_is_taken_once_by_each_lane():
    positions = at("5-0")
    positions.move(S, "7-0")
    positions.move(S, "8-0")
    assert positions.take_moved(Lane.PRICES) == {S: "8-0"}
    assert positions.take_moved(Lane.PRICES) == {}
    assert positions.take_moved(Lane.CHARTS) == {S: "8-0"}


@pytest.mark.parametrize(
    ("positions", "behind"),
    [(at("9-2", "5-0"), Lane.CHARTS), (at("5-0", "9-2"), Lane.PRICES), (at("9-2", BEGINNING), Lane.CHARTS)],
)
def test_what_one_lane_had_goes_to_the_other_alone(positions: Positions, behind: Lane):
    (ahead,) = BOTH - {behind}
    first, rest = entries("6-0", "9-1"), entries("9-2", "9-10", "10-0")
    assert positions.split(S, first) == [Part(first, frozenset({behind}))]
    positions.move(S, "9-1")
    assert positions.take_moved(ahead) == {}
    assert positions.take_moved(behind) == {S: "9-1"}
    assert positions.split(S, rest) == [Part(rest[:1], frozenset({behind})), Part(rest[1:], BOTH)]
    positions.move(S, "10-0")
    assert positions.take_moved(ahead) == positions.take_moved(behind) == {S: "10-0"}
    assert positions.split(S, rest) == [Part(rest, BOTH)]


def test_done_is_what_both_lanes_have_committed():
    positions = at("5-0")
    positions.move(S, "10-0")
    assert positions.done(S) == "5-0"
    positions.commit(Lane.PRICES, positions.take_moved(Lane.PRICES))
    assert positions.done(S) == "5-0"
    positions.commit(Lane.CHARTS, positions.take_moved(Lane.CHARTS))
    assert positions.done(S) == "10-0"


@pytest.mark.parametrize("positions", [at("10-2"), at("10-2", "3-0"), at("3-0", "10-2")])
def test_a_position_ahead_of_its_stream_goes_back_to_the_beginning(positions: Positions):
    gaps = positions.reconcile({S: StreamEnds("4-0", "10-1")})
    assert gaps == [Gap(S, GapReason.POSITION_AHEAD, "10-2", "4-0", "10-1")]
    assert positions.now[S] == BEGINNING
    assert positions.take_moved(Lane.PRICES) == positions.take_moved(Lane.CHARTS) == {S: BEGINNING}
    assert positions.split(S, entries("4-0")) == [Part(entries("4-0"), BOTH)]


def test_a_stream_that_was_deleted_is_read_anew():
    assert len(at("10-2").reconcile({S: StreamEnds(None, "0-0")})) == 1


def test_entries_trimmed_before_they_were_read_are_a_gap_that_moves_nothing():
    positions = at("9-0")
    gaps = positions.reconcile({S: StreamEnds("10-0", "20-0")})
    assert gaps == [Gap(S, GapReason.TRIMMED, "9-0", "10-0", "20-0")]
    assert positions.now[S] == "9-0"


@pytest.mark.parametrize(
    ("position", "ends"),
    [
        ("10-2", StreamEnds("10-2", "10-2")),
        ("10-2", StreamEnds("9-0", "10-11")),
        ("10-2", StreamEnds(None, "10-2")),
        (BEGINNING, StreamEnds("9-0", "10-0")),
        (BEGINNING, StreamEnds(None, "0-0")),
    ],
)
def test_a_position_inside_its_stream_is_no_gap(position: str, ends: StreamEnds):
    assert at(position).reconcile({S: ends}) == []
