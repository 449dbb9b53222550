"""`tickwire revoke` against a real server."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from typer.testing import CliRunner

from services.launcher.cli import app
from services.launcher.embedded_valkey import EmbeddedValkey
from shared import revocations
from shared.identity import sign_development_token
from tests.support.redis_cli import redis_cli

Run = Callable[..., Any]
"""Runs `tickwire revoke` with these words."""


@pytest.fixture
def run(valkey: EmbeddedValkey) -> Run:
    redis_cli(valkey.url, "FLUSHALL")
    return lambda *words: CliRunner().invoke(app, ["revoke", *words, "--redis-url", valkey.url], prog_name="tickwire")


def test_a_user_is_revoked_listed_and_taken_back(run: Run) -> None:
    assert run("--list").stdout == "nothing is revoked\n"
    said = run("--sub", "ann", "--for", "90s").stdout
    assert re.fullmatch(
        r"revoked sub ann until \S+ \S+ UTC, at every gateway .* issued from now on are accepted\n", said
    )
    assert run("--jti", "t1").exit_code == 0
    assert [line.split(" until ")[0] for line in run("--list").stdout.splitlines()] == ["sub ann", "jti t1"]
    assert run("--sub", "ann", "--undo").stdout == "sub ann is no longer revoked\n"
    assert [line.split(" until ")[0] for line in run("--list").stdout.splitlines()] == ["jti t1"]


def test_what_is_not_revoked_cannot_be_taken_back(run: Run) -> None:
    result = run("--sub", "bob", "--undo")
    assert result.exit_code == 1
    assert "sub bob is not revoked" in result.output


def test_a_whole_token_is_refused_and_not_repeated(run: Run) -> None:
    token = sign_development_token("0123456789abcdef" * 4, "ann", role=None, lifetime_s=60, now_ms=0)
    result = run("--jti", token)
    assert result.exit_code == 2
    assert "a whole token" in result.output
    assert token[:20] not in result.output
    assert run("--list").stdout == "nothing is revoked\n"


def test_a_full_list_says_so(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(revocations, "MAX_REVOCATIONS", 1)
    assert run("--sub", "ann").exit_code == 0
    result = run("--sub", "bob")
    assert result.exit_code == 1
    assert "revoked already" in result.output


def test_what_a_stranger_wrote_cannot_steer_the_terminal(run: Run, valkey: EmbeddedValkey) -> None:
    redis_cli(valkey.url, r'XADD svc:{auth}:revocations * kind sub value "a\x1b[2Jb" for 60')
    said = run("--list").stdout
    assert "\x1b" not in said
    assert r"\x1b[2J" in said


def test_no_control_character_is_anybodys_name(run: Run) -> None:
    result = run("--sub", "a\x1bb")
    assert result.exit_code == 2
    assert "cannot be the `sub`" in result.output
