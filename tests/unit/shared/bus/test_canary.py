"""Who is due a beat and who is deaf, by a clock that a test moves."""

from collections.abc import Iterable

import pytest

from shared.bus.canary import BEAT_S, DEAF_S, DOUBT_S, ECHO_S, JITTER_S, LONGEST_STEP_S, Canary
from tests.support.manual_clock import ManualClock

TICK_S = 0.1


class Listener:
    """One connection: what it publishes is answered at once, and heard on the channels in `ears`."""

    def __init__(self, *channels: str, chance: float = 0.0) -> None:
        self.clock = ManualClock()
        self.canary = Canary(lambda: chance)
        self.canary.tick(self.clock.monotonic())
        self.canary.ask(channels)
        self.ears = set(channels)
        self.answers = True
        self.beats: list[tuple[float, str]] = []

    def confirm(self, *channels: str) -> None:
        for channel in channels:
            self.canary.confirm(channel)
        self.hear(channels)

    def hear(self, channels: Iterable[str]) -> None:
        self.canary.heard.update(channels)

    def run(self, seconds: float) -> None:
        """Live for so long, a tick at a time."""
        for _ in range(round(seconds / TICK_S)):
            self.clock.seconds += TICK_S
            self.canary.tick(self.clock.monotonic())
            due = self.canary.due()
            self.beats += [(self.clock.seconds - 1000, channel) for channel in due]
            if self.answers:
                self.canary.answered(due)
                self.hear(self.ears & set(due))

    def until_deaf(self, longest: float = 10.0) -> float:
        begun = self.clock.seconds
        while not self.canary.deaf():
            assert self.clock.seconds < begun + longest, "it never was"
            self.run(TICK_S)
        return self.clock.seconds - begun


def listening(*channels: str, chance: float = 0.0) -> Listener:
    made = Listener(*channels, chance=chance)
    made.confirm(*channels)
    made.run(TICK_S)
    return made


def test_a_quiet_channel_gets_about_two_beats_a_second_and_is_never_deaf() -> None:
    alone = listening("a", "b")
    for _ in range(60):
        alone.run(1)
        assert not alone.canary.doubted()
        assert not alone.canary.deaf()
    of_a = [at for at, channel in alone.beats if channel == "a"]
    assert 80 <= len(of_a) <= 120, len(of_a)


def test_a_channel_on_which_others_speak_is_not_beaten() -> None:
    one = listening("a", "b")
    for _ in range(30):
        one.hear({"a"})
        one.run(0.4)
    assert {channel for _, channel in one.beats} == {"b"}


def test_chance_spreads_the_beats_of_many_over_a_quarter_of_a_second() -> None:
    early, late = listening("a", chance=0.0), listening("a", chance=0.999)
    early.run(2)
    late.run(2)
    assert late.beats[0][0] - early.beats[0][0] == pytest.approx(JITTER_S, abs=1.5 * TICK_S)


def test_a_silent_channel_is_doubted_first_and_deaf_two_seconds_after_it_was_heard_last() -> None:
    one = listening("a", "b", chance=0.999)
    one.run(5)
    one.ears = {"b"}
    one.hear({"a"})
    one.run(TICK_S)
    one.run(DOUBT_S - 2 * TICK_S)
    assert not one.canary.doubted()
    one.run(4 * TICK_S)
    assert set(one.canary.doubted()) == {"a"}
    assert not one.canary.deaf()
    one.run(DEAF_S - DOUBT_S)
    assert one.canary.deaf()["a"] == pytest.approx(DEAF_S, abs=3 * TICK_S)


def test_silence_while_redis_answers_nothing_is_not_deafness() -> None:
    one = listening("a")
    one.run(1)
    one.ears.clear()
    one.answers = False
    one.run(30)
    assert not one.canary.doubted()
    assert not one.canary.deaf()
    one.answers = True  # it is back: its beats have to be heard now
    assert one.until_deaf() <= BEAT_S + JITTER_S + ECHO_S + 2 * TICK_S


def test_an_answer_that_comes_after_its_echo_proves_nothing_against_the_silence_that_follows() -> None:
    one = listening("a")
    one.answers = False
    while not one.beats:
        one.run(TICK_S)
    one.hear({"a"})
    one.run(TICK_S)
    one.canary.answered(["a"])
    one.run(5)
    assert not one.canary.deaf()


def test_a_channel_that_is_never_confirmed_is_deaf() -> None:
    one = Listener("a", "b")
    one.confirm("b")
    assert one.until_deaf() <= DEAF_S + 2 * TICK_S
    assert set(one.canary.deaf()) == {"a"}


def test_messages_do_not_stand_for_the_confirmation_of_a_channel_that_is_asked_for_anew() -> None:
    one = listening("a")
    one.canary.ask(["a"])
    assert one.until_deaf() <= DEAF_S + 2 * TICK_S


def test_a_channel_that_was_left_gets_no_beats_and_is_not_missed() -> None:
    one = listening("a", "b")
    one.canary.leave(["a", "unknown"])
    one.ears.discard("a")
    one.hear({"a", "unknown"})
    one.run(10)
    assert {channel for _, channel in one.beats} == {"b"}
    assert not one.canary.deaf()


def test_who_was_stopped_has_not_listened_to_a_silence() -> None:
    one = listening("a")
    one.run(1)
    one.ears.clear()
    one.run(1)
    one.clock.seconds += 3600
    one.run(TICK_S)
    assert not one.canary.deaf()
    one.ears.add("a")
    one.hear({"a"})
    one.run(TICK_S)
    assert not one.canary.doubted()


def test_who_is_stopped_all_the_time_still_finds_out() -> None:
    one = listening("a")
    one.ears.clear()
    steps = 0
    while not one.canary.deaf():
        one.clock.seconds += 5
        one.run(TICK_S)
        steps += 1
        assert steps <= 2 * DEAF_S / LONGEST_STEP_S
