"""Stream entries."""

from hypothesis import given
from hypothesis import strategies as st

from shared.bus.entries import entry_ms, entry_order

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
