"""A short run of every target that is no part of the protocol package, and proof that their oracles would tell."""

import importlib
from collections.abc import Callable
from typing import Any

import pytest

from services.gateway.http import HttpConnection
from services.gateway.server import Server
from services.gateway.websocket import WebSocket
from services.price_ingest import normalise
from shared import identity, messages
from shared.identity import TokenVerifier
from shared.log import configure_logging
from tests.fuzz import coverage, fuzz_port, fuzz_readers
from tests.fuzz.fuzzer import attempt, main, run_target
from tests.fuzz.targets import TARGETS

OTHERS = [*fuzz_port.TARGETS, *fuzz_readers.TARGETS]


@pytest.fixture(autouse=True)
def _quiet() -> None:
    configure_logging("error", "console")


@pytest.mark.parametrize("name", OTHERS)
def test_a_short_run_finds_nothing(name: str) -> None:
    summary = run_target(name, TARGETS[name], seconds=0.7, seed=20_251_122)
    assert summary.failure is None
    assert summary.inputs > 100


@pytest.mark.parametrize("name", TARGETS)
def test_no_seed_is_a_finding_and_some_are_accepted(name: str) -> None:
    assert [attempt(TARGETS[name], seed) for seed in TARGETS[name].corpus] == [None] * len(TARGETS[name].corpus)


def fail(*_: object, **__: object) -> None:
    raise KeyError("planted")


def trust(*_: object) -> identity.Identity:
    return identity.Identity("anybody", None, 2_000_000_000)


FAULTS: list[tuple[str, object, str, Callable[..., Any]]] = [
    ("http", Server, "finish", fail),
    ("http", HttpConnection, "on_headers_complete", fail),
    ("http", Server, "_gone", lambda *_: None),
    ("websocket", WebSocket, "_take_message", fail),
    ("token", TokenVerifier, "verify", trust),
    ("upstream", normalise, "read_decimal", lambda *_, **__: "1e5"),
    ("bus", messages, "encode", lambda message: repr(id(message)).encode()),
]


@pytest.mark.parametrize(("name", "owner", "attribute", "planted"), FAULTS, ids=[f"{it[0]}.{it[2]}" for it in FAULTS])
def test_a_planted_fault_is_found(
    monkeypatch: pytest.MonkeyPatch, name: str, owner: object, attribute: str, planted: Callable[..., Any]
) -> None:
    monkeypatch.setattr(owner, attribute, planted)
    module = importlib.import_module(TARGETS[name].run.__module__)
    if name == "bus":
        monkeypatch.setattr(module, "KINDS", ((messages.decode_trade, planted),))
        monkeypatch.setattr(module, "DECODERS", {})
    summary = run_target(name, TARGETS[name], seconds=5, seed=1)
    assert summary.failure is not None


def test_the_command_line_runs_one_target(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(fuzz_readers.TARGETS, "Fuzz.", ["--seconds", "0.2", "--target", "token"]) == 0
    assert "nothing found" in capsys.readouterr().out


def test_the_fuzzer_by_coverage_knows_every_target() -> None:
    assert sorted(coverage.NAMES) == sorted(TARGETS)
