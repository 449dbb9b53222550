"""The window of log entries: bounded, in order, and it says when it no longer reaches back."""

from hypothesis import given
from hypothesis import strategies as st

from services.gateway.trade_window import TradeWindow
from shared.names.events import ServerEvent
from tests.support.fakes_gateway import GatewayParts

EVENT = GatewayParts().encoder.event(ServerEvent.TRADE_NEW, {})


def rooms_since(window: TradeWindow, index: int) -> list[tuple[int, str]]:
    return [(number, room) for number, room, _ in window.since(index)]


def test_gives_what_came_from_an_index_on() -> None:
    window = TradeWindow(10)
    indexes = [window.append(room, EVENT) for room in "abc"]
    assert indexes == [0, 1, 2]
    assert rooms_since(window, 1) == [(1, "b"), (2, "c")]
    assert rooms_since(window, 3) == []


def test_drops_the_oldest_and_says_that_it_is_gone() -> None:
    window = TradeWindow(2)
    for room in "abc":
        window.append(room, EVENT)
    assert len(window) == 2
    assert not window.holds(0)
    assert window.holds(1)
    assert rooms_since(window, 1) == [(1, "b"), (2, "c")]


def test_an_index_never_comes_twice_even_after_a_clear() -> None:
    window = TradeWindow(5)
    window.append("a", EVENT)
    window.clear()
    assert not window.holds(0)
    assert window.append("b", EVENT) == 1
    assert window.holds(1)


@given(st.integers(1, 8), st.lists(st.sampled_from(["append", "clear"]), max_size=60))
def test_holds_exactly_what_it_can_give(length: int, steps: list[str]) -> None:
    window = TradeWindow(length)
    kept: list[int] = []
    for step in steps:
        if step == "clear":
            window.clear()
            kept = []
        else:
            kept = [*kept, window.append("a", EVENT)][-length:]
        assert len(window) == len(kept) <= length
        for index in kept:
            assert window.holds(index)
            assert [number for number, _, _ in window.since(index)] == [item for item in kept if item >= index]
        if kept:
            assert not window.holds(kept[0] - 1)
