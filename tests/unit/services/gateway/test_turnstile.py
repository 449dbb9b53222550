"""How many requests one turn of the event loop takes, and that nothing is overtaken or forgotten."""

import asyncio

from services.gateway.turnstile import Turnstile


async def turn() -> None:
    """Let the event loop make one turn."""
    await asyncio.sleep(0)


async def test_so_many_pass_in_a_turn_and_the_others_in_the_next_ones_in_their_order() -> None:
    turnstile = Turnstile(2)
    passed: list[int] = []
    for number in range(7):
        if turnstile.pass_through():
            passed.append(number)
        else:
            turnstile.wait(lambda number=number: passed.append(number))  # type: ignore[misc]
    assert passed == [0, 1]
    grown = []
    while len(passed) < 7:
        await turn()
        grown.append(len(passed))
    assert passed == list(range(7))
    assert grown == [4, 6, 7]


async def test_nobody_passes_those_who_wait() -> None:
    turnstile = Turnstile(1)
    assert turnstile.pass_through()
    turnstile.wait(lambda: None)
    turnstile.wait(lambda: None)
    await turn()
    assert not turnstile.pass_through()
    await turn()
    await turn()
    assert turnstile.pass_through()


async def test_there_is_room_again_in_the_next_turn() -> None:
    turnstile = Turnstile(2)
    assert [turnstile.pass_through() for _ in range(3)] == [True, True, False]
    await turn()
    assert [turnstile.pass_through() for _ in range(3)] == [True, True, False]
