"""What commands are given, and where the rest comes from."""

from pathlib import Path

import pytest
import typer

from services.launcher.arguments import existing_file, find_gateways, find_redis, parse_speed
from services.launcher.errors import LauncherError
from services.launcher.run_state import RunState, published, state_directory


@pytest.fixture(autouse=True)
def alone(monkeypatch, tmp_path):
    """No cluster of the developer's, and none of their settings."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    for name in ("REDIS_URL", "GATEWAY_PORT", "JWT_SECRET"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def running(tmp_path):
    state = RunState(1, 1, "redis://127.0.0.1:7777", ("http://localhost:9001", "http://localhost:9002"))
    with published(state, state_directory({"XDG_RUNTIME_DIR": str(tmp_path)})):
        yield state


@pytest.mark.parametrize(("text", "speed"), [("1", 1.0), ("0.5", 0.5), ("50", 50.0), ("max", None)])
def test_a_speed_is_a_factor_or_max(text, speed):
    assert parse_speed(text) == speed


@pytest.mark.parametrize("text", ["0", "-1", "fast", "nan", "inf", "1e9"])
def test_anything_else_is_no_speed(text):
    with pytest.raises(typer.BadParameter, match="positive number nor max"):
        parse_speed(text)


def test_redis_is_as_given_then_of_the_environment_then_of_the_running_cluster(monkeypatch, running):
    assert find_redis("redis://given") == "redis://given"
    assert find_redis("") == running.redis_url
    monkeypatch.setenv("REDIS_URL", "redis://environment")
    assert find_redis("") == "redis://environment"


def test_gateways_are_as_given_then_of_the_running_cluster(running):
    assert find_gateways("http://given:1") == ("http://given:1",)
    assert find_gateways("given:1") == ("http://given:1",)
    assert find_gateways("") == running.gateways


def test_without_a_cluster_the_usual_ports_are_taken(monkeypatch):
    assert find_redis("") == "redis://127.0.0.1:6379"
    assert find_gateways("") == ("http://localhost:8080",)
    monkeypatch.setenv("GATEWAY_PORT", "9999")
    assert find_gateways("") == ("http://localhost:9999",)


def test_a_replay_needs_a_file_that_exists(tmp_path):
    with pytest.raises(typer.BadParameter, match="needs a file"):
        existing_file(None)
    with pytest.raises(LauncherError, match="no such file"):
        existing_file(Path("nowhere.csv"))
    there = tmp_path / "x.csv"
    there.touch()
    assert existing_file(there) == there
