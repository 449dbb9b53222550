"""A short run of every fuzz target, and proof that the fuzzer would tell."""

import pytest

from protocol.errors import PeerError, UsageError
from tests.fuzz.fuzz_protocol import TARGETS
from tests.fuzz.fuzzer import Mutator, Target, main, run_target


@pytest.mark.parametrize("name", TARGETS)
def test_a_short_run_finds_nothing(name: str) -> None:
    summary = run_target(name, TARGETS[name], seconds=1, seed=20_251_122)
    assert summary.failure is None
    assert summary.inputs > 1_000


def test_the_same_seed_makes_the_same_inputs() -> None:
    target = TARGETS["json"]
    one, other = (Mutator(target.corpus, target.tokens, seed=7) for _ in range(2))
    assert [one.make() for _ in range(100)] == [other.make() for _ in range(100)]


@pytest.mark.parametrize("error", [KeyError, RecursionError, UsageError, PeerError])
def test_any_error_that_gets_out_of_a_target_is_a_finding(error: type[Exception]) -> None:
    def fail(data: bytes) -> None:
        if b"5" in data:
            raise error("planted")

    target = TARGETS["json"]
    summary = run_target("planted", Target(fail, target.corpus, target.tokens), seconds=2, seed=1)
    assert summary.failure is not None
    assert error.__name__ in summary.failure


def test_memory_that_grows_is_a_finding() -> None:
    kept: list[bytes] = []
    target = TARGETS["json"]
    planted = Target(lambda _data: kept.append(bytes(100_000)), target.corpus, target.tokens)
    summary = run_target("planted", planted, seconds=0.5, seed=1)
    assert summary.failure is not None
    assert "memory" in summary.failure


def test_the_command_line_runs_one_target(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(TARGETS, "Fuzz.", ["--seconds", "0.2", "--target", "engineio"]) == 0
    assert "engineio" in capsys.readouterr().out
