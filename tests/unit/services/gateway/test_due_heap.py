"""What is due comes once, at its newest time, in order; and what was told again takes no memory."""

import random

from services.gateway.due_heap import SLACK, DueHeap


def test_what_is_due_comes_once_and_in_order() -> None:
    heap = DueHeap[str]()
    heap.put("b", 20)
    heap.put("a", 10)
    heap.put("c", 30)
    assert heap.pop_until(9) == []
    assert heap.pop_until(20) == ["a", "b"]
    assert heap.pop_until(20) == []
    assert heap.pop_until(30) == ["c"]


def test_the_newest_time_counts() -> None:
    heap = DueHeap[str]()
    heap.put("later", 10)
    heap.put("later", 50)
    heap.put("sooner", 50)
    heap.put("sooner", 10)
    heap.put("never", 10)
    heap.put("never", None)
    heap.put("gone", 10)
    heap.discard("gone")
    heap.discard("unknown")
    assert heap.pop_until(10) == ["sooner"]
    assert heap.pop_until(50) == ["later"]


def test_a_thing_whose_time_is_always_told_anew_takes_no_more_room() -> None:
    heap = DueHeap[int]()
    chance = random.Random(1)
    due = {}
    for _ in range(10_000):
        thing, at = chance.randrange(10), chance.randrange(1_000_000)
        heap.put(thing, at)
        due[thing] = at
        assert len(heap._heap) <= 2 * 10 + SLACK + 1
    assert heap.pop_until(1_000_000) == sorted(due, key=lambda thing: due[thing])
