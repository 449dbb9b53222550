"""Which streams are read, and how far."""

import pytest

from services.price_ingest.feeds import BEGINNING, MAX_STREAMS, Feed, Gap, GapReason, Positions, feed_of, find_feeds
from shared.bus.entries import StreamEnds
from shared.bus.redis_bus import RedisBus


@pytest.mark.parametrize(
    ("key", "feed"),
    [
        ("feed:prices", Feed.PRICES),
        ("feed:prices:0", Feed.PRICES),
        ("feed:trades:17", Feed.TRADES),
        ("feed:trades", Feed.TRADES),
        ("feed:trades:", None),
        ("feed:prices:old", None),
        ("feed:prices:1:2", None),
        ("feed:pricesX", None),
        ("{feed:trades}:lease", None),
    ],
)
def test_only_the_two_feeds_and_their_numbered_partitions_are_read(key: str, feed: Feed | None):
    assert feed_of(key) is feed


async def test_partitions_are_found_and_what_only_looks_like_one_is_not(bus: RedisBus):
    for stream in ("feed:prices:1", "feed:trades:2", "feed:prices:backup"):
        await bus.append(stream, [{"a": "b"}], 10)
    await bus.hash_set("feed:prices:3", {"a": b"b"})
    assert await find_feeds(bus) == ["feed:prices", "feed:trades", "feed:prices:1", "feed:trades:2"]


def test_a_new_stream_is_read_from_its_beginning_and_a_known_one_from_its_position():
    positions = Positions({"feed:prices": "5-0"})
    assert positions.add(["feed:prices", "feed:prices:1"]) == []
    assert positions.now == {"feed:prices": "5-0", "feed:prices:1": BEGINNING}


def test_partitions_without_number_of_end_are_left_out():
    positions = Positions({})
    left_out = positions.add([f"feed:prices:{number}" for number in range(MAX_STREAMS + 2)])
    assert left_out == [f"feed:prices:{MAX_STREAMS}", f"feed:prices:{MAX_STREAMS + 1}"]
    assert len(positions.now) == MAX_STREAMS


def test_each_move_is_taken_once():
    positions = Positions({"feed:prices": "5-0", "feed:trades": "6-0"})
    positions.move("feed:prices", "7-0")
    positions.move("feed:prices", "8-0")
    assert positions.take_moved() == {"feed:prices": "8-0"}
    assert positions.take_moved() == {}


def test_a_position_ahead_of_its_stream_goes_back_to_the_beginning():
    positions = Positions({"feed:prices": "10-2"})
    gaps = positions.reconcile({"feed:prices": StreamEnds("4-0", "10-1")})
    assert gaps == [Gap("feed:prices", GapReason.POSITION_AHEAD, "10-2", "4-0", "10-1")]
    assert positions.now["feed:prices"] == BEGINNING
    assert positions.take_moved() == {"feed:prices": BEGINNING}


def test_a_stream_that_was_deleted_is_read_anew():
    positions = Positions({"feed:prices": "10-2"})
    assert len(positions.reconcile({"feed:prices": StreamEnds(None, "0-0")})) == 1
    assert positions.now["feed:prices"] == BEGINNING


def test_entries_trimmed_before_they_were_read_are_a_gap_that_moves_nothing():
    positions = Positions({"feed:prices": "9-0"})
    gaps = positions.reconcile({"feed:prices": StreamEnds("10-0", "20-0")})
    assert gaps == [Gap("feed:prices", GapReason.TRIMMED, "9-0", "10-0", "20-0")]
    assert positions.now["feed:prices"] == "9-0"


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
    assert Positions({"feed:prices": position}).reconcile({"feed:prices": ends}) == []
