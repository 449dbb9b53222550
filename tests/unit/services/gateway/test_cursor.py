"""Cursors are what clients hand back: each text gives the positions it was made of, and any other text nothing."""

from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.gateway.cursor import BEGINNING, Cursor, id_of, ms_of, position_of, read_cursor

LATEST_MS: Final = 2**48 - 1
LARGEST: Final = 2**64 - 1

IDS: Final = st.builds(
    lambda ms, number: (ms, number),
    st.integers(0, LATEST_MS),
    st.one_of(st.integers(0, 3), st.integers(0, LARGEST), st.sampled_from([2**24 - 1, 2**24, LARGEST])),
)
POSITIONS: Final = IDS.map(lambda pair: position_of(f"{pair[0]}-{pair[1]}"))


@given(st.lists(POSITIONS, min_size=1, max_size=64))
def test_a_cursor_is_read_as_it_was_written(positions: list[int]) -> None:
    assert read_cursor(str(Cursor(positions)), len(positions)) == positions


@given(st.lists(POSITIONS, min_size=1, max_size=8), st.lists(st.tuples(st.integers(0, 7), POSITIONS), max_size=20))
def test_its_text_follows_every_move(positions: list[int], moves: list[tuple[int, int]]) -> None:
    cursor = Cursor(positions)
    for log, position in moves:
        cursor.move(log % len(positions), position)
        positions[log % len(positions)] = position
    assert (str(cursor), cursor.positions) == (str(Cursor(positions)), positions)


@given(IDS, IDS)
def test_positions_are_in_the_order_of_the_log(one: tuple[int, int], other: tuple[int, int]) -> None:
    positions = [position_of(f"{ms}-{number}") for ms, number in (one, other)]
    assert (positions[0] < positions[1]) == (one < other)
    assert id_of(positions[0]) == f"{one[0]}-{one[1]}"
    assert ms_of(positions[0]) == one[0]


def test_an_id_without_a_number_is_the_first_of_its_millisecond() -> None:
    assert position_of("5") == position_of("5-0") > position_of("4-99")
    assert id_of(BEGINNING) == "0-0"


def test_it_is_short_and_fits_in_a_query_or_a_header() -> None:
    text = str(Cursor([position_of("1800000000000-12")] * 8))
    assert len(text) <= 8 * 13
    assert set(text) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.")


GOOD: Final = str(Cursor([position_of("1800000000000-0"), position_of("1800000000001-7")]))


@pytest.mark.parametrize(
    "junk",
    [
        "",
        ".",
        "..",
        GOOD.partition(".")[0],
        f"{GOOD}.",
        f"{GOOD}.{GOOD}",
        f" {GOOD}",
        f"{GOOD}\n",
        GOOD.replace(".", ".."),
        GOOD[:-1],
        f"{GOOD}AAAA",
        "1800000000000-0.1800000000001-7",
        "AAAA====.AAAAAAAA",
        "\u00e9AAAAAAA.AAAAAAAA",
        "\ud800AAAAAAA.AAAAAAAA",
        "A" * 4096,
        "AAAAAAAA////////////.AAAAAAAA",
        "AAAAAAAA____________.AAAAAAAA",  # a number beyond 64 bits
    ],
)
def test_what_is_no_cursor_of_this_cluster_is_refused(junk: str) -> None:
    assert read_cursor(GOOD, 2) is not None
    assert read_cursor(junk, 2) is None


@given(st.text(max_size=60), st.integers(1, 4))
def test_whatever_a_client_says_gives_positions_or_nothing(text: str, logs: int) -> None:
    found = read_cursor(text, logs)
    assert found is None or len(found) == logs


@given(st.text(alphabet="AB_-z09.", max_size=60), st.integers(1, 3))
def test_what_is_read_can_be_written_and_means_the_same(text: str, logs: int) -> None:
    found = read_cursor(text, logs)
    if found is not None:
        assert read_cursor(str(Cursor(found)), logs) == found


def test_an_id_that_no_clock_gives_stands_for_the_latest() -> None:
    text = str(Cursor([position_of(f"{2**64 - 1}-{LARGEST}")]))
    assert read_cursor(text, 1) == [position_of(f"{LATEST_MS}-{LARGEST}")]
