"""The command line: help with an example for every command, and errors that say what to do."""

import re

import pytest
from typer.testing import CliRunner

from services.launcher.cli import app
from shared.clock import SystemClock
from shared.identity import AuthSettings, TokenVerifier
from shared.rights import Rights, SymbolPatterns

SECRET = "0123456789abcdef0123456789abcdef"
COMMANDS = [
    ["up"],
    ["feed"],
    ["feed", "simulate"],
    ["feed", "replay"],
    ["watch"],
    ["load"],
    ["token"],
    ["revoke"],
    ["debug"],
    ["debug", "path"],
    ["settings"],
    ["gateway"],
    ["price-ingest"],
    ["trade-notifier"],
    ["metrics"],
]


@pytest.fixture(autouse=True)
def alone(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "200")
    for name in ("REDIS_URL", "GATEWAY_PORT", "JWT_SECRET", "JWT_ISSUER", "JWT_AUDIENCE"):
        monkeypatch.delenv(name, raising=False)


def run(*words: str):
    return CliRunner().invoke(app, list(words), prog_name="tickwire")


def plain(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_command_explains_itself_with_an_example(words):
    result = run(*words, "--help")
    assert result.exit_code == 0
    assert re.search(rf"Example: .*tickwire {' '.join(words)}", plain(result.output)), result.output


def test_it_says_which_version_it_is():
    assert re.fullmatch(r"tickwire \d+\.\d+\.\d+", run("--version").output.strip())


def test_alone_it_lists_its_commands():
    output = plain(run().output)
    assert all(words[0] in output for words in COMMANDS)


@pytest.mark.parametrize("words", COMMANDS[-4:], ids=" ".join)
def test_a_service_replaces_this_process_so_that_signals_reach_it(words, monkeypatch):
    called = []
    monkeypatch.setattr("os.execv", lambda path, argv: called.append((path, argv)))
    run(*words)
    ((path, argv),) = called
    assert argv[0] == path
    assert argv[-2:] == ["-m", f"services.{words[0].replace('-', '_')}"]


def test_a_token_has_the_rights_that_are_asked_for(monkeypatch):
    monkeypatch.setenv("JWT_SECRET", SECRET)
    words = ("--symbols", "BTC-*", "--max-hz", "2", "--delay", "15m", "--connections", "3", "--jti", "t1")
    (token,) = run("token", *words).stdout.splitlines()
    identity = TokenVerifier(AuthSettings(jwt_secret=SECRET)).verify(token, SystemClock().now_ms())
    assert identity.rights == Rights(SymbolPatterns(["BTC-*"]), 2.0, 900, 3)
    assert identity.token_id == "t1"


def test_a_token_is_printed_alone(monkeypatch):
    monkeypatch.setenv("JWT_SECRET", SECRET)
    result = run("token", "--sub", "u7", "--role", "admin", "--ttl", "7d")
    (token,) = result.stdout.splitlines()
    claims = TokenVerifier(AuthSettings(jwt_secret=SECRET)).verify(token, SystemClock().now_ms())
    assert (claims.user_id, claims.is_admin) == ("u7", True)


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["token"], 1, "no secret to sign with"),
        (["token", "--ttl", "1w"], 2, "write 90s, 15m, 1h or 7d"),
        (["token", "--symbols", "BTC USDT"], 2, "no pattern of symbols"),
        (["token", "--delay", "soon"], 2, "write 90s, 15m, 1h or 7d"),
        (["token", "--max-hz", "0"], 2, "max-hz"),
        (["token", "--connections", "0"], 2, "connections"),
        (["revoke"], 2, "give either --sub USER or --jti ID"),
        (["revoke", "--sub", "ann", "--jti", "t1"], 2, "give either --sub USER or --jti ID"),
        (["revoke", "--sub", "ann", "--for", "8d"], 2, "at most 7d"),
        (["revoke", "--sub", "ann", "--redis-url", "redis://127.0.0.1:1"], 1, "Redis does not answer"),
        (["revoke", "--list", "--redis-url", "http://x"], 1, "REDIS_URL cannot be used"),
        (["feed", "replay", "nowhere.csv"], 1, "nowhere.csv: no such file"),
        (["feed", "replay", "x.csv", "--original-time", "--loop"], 2, "second round"),
        (["up", "--feed", "replay"], 2, "needs a file"),
        (["up", "--feed", "replay", "nowhere.csv"], 1, "no such file"),
        (["up", "--feed", "magic"], 2, "magic"),
        (["up", "trades.csv"], 2, "only read with --feed replay"),
        (["up", "--gateways", "0"], 2, "gateways"),
        (["watch"], 2, "Missing argument"),
        (["load", "flood"], 1, "no scenario is called 'flood'"),
        (["load", "--clients", "0"], 1, "clients"),
        (["load", "--start", "--url", "http://127.0.0.1:1"], 2, "no --url, --redis-url"),
        (["load", "--url", "http://8.8.8.8"], 1, "--i-own-this-server"),
        (["load", "--publisher", "no-such-program x"], 1, "no program is called 'no-such-program'"),
        (["load", "--out", "nowhere"], 1, "nowhere: no such folder"),
        (["nonsense"], 2, "No such command"),
    ],
)
def test_a_mistake_is_answered_with_what_to_do(words, status, said):
    result = run(*words)
    assert result.exit_code == status
    assert said in plain(result.output)
    assert "Traceback" not in result.output


def test_a_wrong_setting_is_named(monkeypatch, tmp_path):
    file = tmp_path / "BTCUSDT-trades-2024-08-09.csv"
    file.touch()
    monkeypatch.setenv("LOG_LEVEL", "loud")
    result = run("feed", "replay", str(file))
    assert result.exit_code == 1
    assert "LOG_LEVEL='loud'" in result.output
