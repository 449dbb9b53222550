"""The fuzzer that goes by coverage: what it says without its package, what it begins with, and a short run with it."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz import coverage
from tests.fuzz.coverage import SlowInput, prepare, watched
from tests.support.source_tree import ROOT

ATHERIS = importlib.util.find_spec("atheris") is not None


def test_without_its_package_it_says_which_command_installs_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    assert coverage.main(["--target", "json"]) == 2
    assert "pip install -c constraints.txt -e '.[fuzz]'" in capsys.readouterr().err


def test_it_begins_with_the_corpus_and_the_words_of_its_target(tmp_path: Path) -> None:
    inputs, seeds, words = prepare(tmp_path / "new" / "json", [b"one", b"two"], [b'"\\', b"", b"\xff"])
    assert sorted(seed.read_bytes() for seed in seeds.iterdir()) == [b"one", b"two"]
    assert words.read_text(encoding="ascii") == '"\\x22\\x5c"\n"\\xff"\n'
    assert list(inputs.iterdir()) == []
    prepare(tmp_path / "new" / "json", [b"one"], [])


def test_what_was_found_is_told_as_a_literal(capsys: pytest.CaptureFixture[str]) -> None:
    def fail(_data: bytes) -> None:
        raise KeyError

    with pytest.raises(KeyError):
        watched(fail)(b"\x00x")
    assert r"found with b'\x00x'" in capsys.readouterr().err


def test_an_input_that_takes_long_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coverage, "MOST_CPU_S", -1.0)
    with pytest.raises(SlowInput):
        watched(lambda _: None)(b"")


@pytest.mark.skipif(not ATHERIS, reason="atheris is not installed: " + coverage.NOT_INSTALLED.splitlines()[-1].strip())
def test_a_short_run_finds_nothing_and_keeps_what_reached_something_new(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "tests.fuzz.coverage",
        "--target",
        "json",
        "--seconds",
        "2",
        "--keep",
        str(tmp_path),
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr[-2_000:]
    assert len(list((tmp_path / "json" / "inputs").iterdir())) > 10
