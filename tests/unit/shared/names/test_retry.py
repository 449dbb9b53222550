"""Verdicts are words that a reader of the README's table understands."""

from shared.names.retry import Retry


def test_no_two_verdicts_say_the_same() -> None:
    assert len({verdict.value for verdict in Retry}) == len(Retry)
