"""Stream entries."""

from hypothesis import given
from hypothesis import strategies as st

from shared.bus.entries import entry_ms, entry_order, is_text, parse_positions

IDS = st.builds("{}-{}".format, st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1))


def test_an_id_begins_with_redis_milliseconds():
    assert entry_ms("1763800000000-7") == 1_763_800_000_000


def test_ids_are_ordered_as_numbers_not_as_text():
    assert sorted(["10-11", "9-9", "100-0", "10-2", "10-0"], key=entry_order) == [
        "9-9",
        "10-0",
        "10-2",
        "10-11",
        "100-0",
    ]


def test_an_id_without_a_second_part_is_the_first_of_its_millisecond():
    assert entry_order("10") == entry_order("10-0") < entry_order("10-1")


@given(IDS)
def test_the_beginning_comes_before_every_id(entry_id: str):
    assert entry_order("0-0") <= entry_order(entry_id)


def test_positions_that_nobody_could_have_written_are_left_out():
    found = {
        b"feed:prices": b"5-1",
        b"\xff": b"5-1",
        b"a": b"",
        b"b": b"x-1",
        b"c": b"5-1\n",
        b"d": b"5",
        b"e": b"9" * 50,
    }
    assert parse_positions(found) == {"feed:prices": "5-1"}


def test_text_is_utf_8():
    assert is_text("é".encode())
    assert not is_text(b"\xff")
