"""A short run of the client port's fuzzer, and proof that it would tell."""

import pytest

from services.gateway.server import Server
from services.gateway.upgrade import Probe
from tests.fuzz import fuzz_http
from tests.fuzz.fuzz_http import Play, check_written, run
from tests.fuzz.fuzzer import Finding
from tests.support.fakes_http import FakePort


async def test_a_short_run_finds_nothing() -> None:
    summary = await run(seconds=2, seed=20_251_122)
    assert summary.failure is None
    assert summary.plays > 50


async def test_the_same_seed_makes_the_same_play() -> None:
    one, other = Play(7), Play(7)
    for play in (one, other):
        play.port.applications.clear()
    assert [one._request() for _ in range(100)] == [other._request() for _ in range(100)]


async def first_finding(plays: int = 600) -> str:
    return next((found for seed in range(plays) if (found := fuzz_http.attempt(seed)) is not None), "nothing found")


async def test_an_error_that_gets_out_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise AssertionError("planted")

    monkeypatch.setattr(Probe, "receive_frame", fail)
    assert "planted" in await first_finding()


async def test_a_sid_that_stays_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Server, "_gone", lambda *_: None)
    assert "something is left" in await first_finding()


async def test_an_end_that_is_not_told_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Server, "_ended", lambda *_: None)
    assert await first_finding() != "nothing found"


@pytest.mark.parametrize(
    "written",
    [
        b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokok",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n\x81\x05abc",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n\x83\x00",
        b"\x81\x00",
    ],
)
def test_an_answer_that_is_not_documented_or_not_whole_is_a_finding(written: bytes) -> None:
    with pytest.raises(Finding):
        check_written(written)


def test_memory_that_grows_is_a_finding(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    kept: list[bytes] = []
    made = FakePort.connect

    def connect(port: FakePort) -> object:
        kept.append(bytes(200_000))
        return made(port)

    monkeypatch.setattr(FakePort, "connect", connect)
    assert fuzz_http.main(["--seconds", "1"]) == 1
    assert "memory grew" in capsys.readouterr().out
