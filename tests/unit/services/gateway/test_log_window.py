"""The window against a naive list: what it holds, who is served from it, and what it forgets at its bound."""

import gc
from collections.abc import Callable
from typing import Final

from hypothesis import given
from hypothesis import strategies as st

from services.gateway.log_window import ENTRY_BYTES, FRAME_BYTES, LogEntry, LogWindow

LOGS: Final = 2
ROOMS: Final = {"a": 0, "b": 0, "c": 1}
"""Each room's log."""


def write(entry: LogEntry, parser: int, with_cursor: bool) -> bytes:  # noqa: FBT001 - as `WriteEntry`
    return f"{entry.room}{entry.position}/{parser}/{with_cursor}".encode()


def window(max_bytes: int = 1_000_000, writer: Callable[[LogEntry, int, bool], bytes] = write) -> LogWindow:
    return LogWindow(max_bytes, writer, LOGS)


def entry(room: str, position: int, data: bytes = b"d") -> LogEntry:
    return LogEntry(ROOMS[room], position, room, room, data)


def filled(kept: LogWindow, *entries: tuple[str, int]) -> list[LogEntry]:
    made = [entry(room, position) for room, position in entries]
    for one in made:
        kept.append(one)
    return made


def test_entries_of_several_rooms_come_in_the_order_in_which_they_were_read() -> None:
    kept = window()
    made = filled(kept, ("a", 10), ("c", 3), ("b", 11), ("a", 12), ("c", 4))
    assert list(kept.since(0, ["c", "a"])) == [made[0], made[1], made[3], made[4]]
    assert list(kept.since(made[3].index, ["a", "b", "c"])) == made[3:]
    assert list(kept.since(0, ["nobody's"])) == []


def test_each_room_begins_behind_its_own_position() -> None:
    kept = window()
    made = filled(kept, ("a", 10), ("c", 3), ("b", 11), ("a", 12), ("c", 4))
    assert list(kept.after({"a": 10, "c": 0, "b": 11})) == [made[1], made[3], made[4]]
    assert list(kept.after({"a": 12, "nobody's": 0})) == []
    assert list(kept.after({})) == []


def test_a_position_between_two_entries_skips_none() -> None:
    kept = window()
    made = filled(kept, ("a", 10), ("a", 20))
    assert list(kept.after({"a": 15})) == made[1:]


def test_its_bytes_are_bounded_and_its_floors_say_what_was_forgotten() -> None:
    kept = window(3 * (ENTRY_BYTES + 1))
    kept.begin([7, 2])
    assert kept.floors == [7, 2]
    made = filled(kept, ("a", 10), ("c", 3), ("a", 11))
    assert (kept.floors, len(kept)) == ([7, 2], 3)
    made += filled(kept, ("c", 4))
    assert (kept.floors, len(kept)) == ([10, 2], 3)
    filled(kept, ("c", 5))
    assert kept.floors == [10, 3]
    assert not kept.holds(made[1].index)
    assert kept.holds(made[2].index)
    assert kept.size <= 3 * (ENTRY_BYTES + 1)


def test_an_entry_larger_than_the_whole_window_is_still_delivered() -> None:
    kept = window(100)
    (small,) = filled(kept, ("a", 1))
    large = entry("a", 2, b"x" * 10_000)
    kept.append(large)
    assert list(kept.since(0, ["a"])) == [large]
    assert not kept.holds(small.index)
    filled(kept, ("a", 3))
    assert len(kept) == 1


def test_frames_are_made_once_and_count_as_long_as_their_entry_is_kept() -> None:
    calls: list[tuple[int, bool]] = []

    def counting(one: LogEntry, parser: int, with_cursor: bool) -> bytes:  # noqa: FBT001 - as `WriteEntry`
        calls.append((parser, with_cursor))
        return write(one, parser, with_cursor)

    kept = window(2 * ENTRY_BYTES, counting)
    (made,) = filled(kept, ("a", 1))
    empty = kept.size
    wanted = [(0, True), (0, False), (1, True), (1, False)]
    frames = {each: kept.frame(made, *each) for each in wanted}
    assert all(kept.frame(made, *each) is frame for each, frame in frames.items())
    assert calls == wanted
    assert len(set(frames.values())) == 4
    assert kept.size == empty + 4 * FRAME_BYTES + sum(map(len, frames.values()))
    filled(kept, ("a", 2))
    assert (len(kept), kept.size) == (1, empty)
    kept.frame(made, 0, with_cursor=True)
    assert kept.size == empty  # it is not kept any more


def test_a_frame_of_no_bytes_is_not_made_again() -> None:
    calls: list[LogEntry] = []

    def unreadable(one: LogEntry, _parser: int, _with_cursor: bool) -> bytes:  # noqa: FBT001 - as `WriteEntry`
        calls.append(one)
        return b""

    kept = window(writer=unreadable)
    (made,) = filled(kept, ("a", 1))
    assert [kept.frame(made, 0, with_cursor=True) for _ in range(3)] == [b""] * 3
    assert calls == [made]


def test_after_beginning_anew_nobody_who_was_behind_is_served_a_hole() -> None:
    kept = window()
    made = filled(kept, ("a", 1), ("a", 2))
    kept.begin([5, 6])
    assert (len(kept), kept.size, kept.floors) == (0, 0, [5, 6])
    assert not kept.holds(made[0].index)
    assert kept.holds(kept.next_index)
    (later,) = filled(kept, ("a", 7))
    assert later.index > made[1].index
    assert list(kept.since(later.index, ["a"])) == [later]


def test_the_entries_of_one_log_come_newest_first() -> None:
    kept = window()
    made = filled(kept, ("a", 1), ("c", 1), ("b", 2))
    assert list(kept.of_log(0)) == [made[2], made[0]]


STEPS: Final = st.lists(st.tuples(st.sampled_from(sorted(ROOMS)), st.integers(1, 3), st.integers(0, 300)), max_size=300)


@given(STEPS, st.integers(1, 150), st.data())
def test_it_serves_what_a_list_of_everything_would(
    steps: list[tuple[str, int, int]], fits: int, data: st.DataObject
) -> None:
    max_bytes = fits * (ENTRY_BYTES + 100)
    kept = window(max_bytes)
    everything: list[LogEntry] = []
    at = [0] * LOGS
    for room, step, size in steps:
        at[ROOMS[room]] += step
        everything.append(entry(room, at[ROOMS[room]], bytes(size)))
        kept.append(everything[-1])
        assert kept.size <= max_bytes or len(kept) == 1
    here = everything[len(everything) - len(kept) :]
    gone = everything[: len(everything) - len(kept)]
    assert kept.size == sum(ENTRY_BYTES + len(one.data) for one in here)
    assert kept.floors == [max([one.position for one in gone if one.log == log], default=0) for log in range(LOGS)]
    assert [kept.holds(one.index) for one in everything] == [False] * len(gone) + [True] * len(here)
    rooms = data.draw(st.sets(st.sampled_from(sorted(ROOMS))))
    index = data.draw(st.integers(0, len(everything)))
    assert list(kept.since(index, rooms)) == [one for one in here if one.room in rooms and one.index >= index]
    behind = {room: data.draw(st.integers(0, at[ROOMS[room]])) for room in sorted(rooms)}
    assert list(kept.after(behind)) == [one for one in here if one.room in rooms and one.position > behind[one.room]]


def test_what_was_forgotten_is_held_by_nobody() -> None:
    kept = window(3 * (ENTRY_BYTES + 1))
    filled(kept, *(("a", position) for position in range(40)))
    held = sum(isinstance(it, LogEntry) and it.room == "a" for it in gc.get_referents(kept._runs["a"].entries))
    assert held == len(kept) == 3
