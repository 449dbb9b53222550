"""Scenarios: by name or path, with single values replaced, and errors that name file, key and limit."""

import itertools

import pytest

from services.launcher.errors import LauncherError
from services.launcher.load.scenario import Scenario, load_scenario, names


def test_every_scenario_that_comes_along_can_be_loaded():
    assert names() == ["batch", "churn", "fanout", "idle", "slow", "storm"]
    assert [load_scenario(name).name for name in names()] == names()
    assert all(load_scenario(name).summary for name in names())


def test_values_from_the_command_line_replace_those_of_the_file():
    changed = load_scenario("fanout", {"clients": 7, "parser": "msgpack"})
    assert (changed.clients, changed.parser, changed.symbols) == (7, "msgpack", load_scenario("fanout").symbols)


def test_a_file_of_ones_own_is_named_after_itself(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text('kind = "idle"\nclients = 3\n')
    assert load_scenario(str(path)) == Scenario(name="mine", kind="idle", clients=3)


def test_an_unknown_name_lists_those_that_exist():
    with pytest.raises(LauncherError, match="'fan-out'") as caught:
        load_scenario("fan-out")
    assert "fanout" in caught.value.hint


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("clients = ", "Invalid value"),
        ("clients = 0", r"clients.*`int` >= 1|`int` >= 1.*clients"),
        ("client = 5", "unknown field `client`"),
        ('parser = "xml"', "xml"),
        ("slow_share = 1.5", r"<= 1"),
        ('kind = "slow"', "slow_share above 0"),
        ('kind = "churn"', "churn_per_s above 0"),
        ("symbols = 3\nsymbols_per_client = 4", "symbols_per_client = 4 is more than symbols = 3"),
    ],
)
def test_what_makes_no_sense_is_named_with_its_file(tmp_path, text, says):
    path = tmp_path / "wrong.toml"
    path.write_text(text)
    with pytest.raises(LauncherError, match=says) as caught:
        load_scenario(str(path))
    assert str(path) in caught.value.message


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(LauncherError, match=r"gone\.toml"):
        load_scenario(str(tmp_path / "gone.toml"))


def test_clients_spread_evenly_over_the_symbols():
    scenario = Scenario(clients=50, symbols=10, symbols_per_client=4)
    watched = [name for client in range(50) for name in scenario.symbols_of(client)]
    assert {watched.count(name) for name in scenario.symbol_names()} == {20}


def test_the_share_of_slow_clients_is_exact_and_spread():
    scenario = Scenario(kind="slow", clients=100, slow_share=0.05)
    slow = [client for client in range(100) if scenario.is_slow(client)]
    assert len(slow) == 5
    assert min(later - earlier for earlier, later in itertools.pairwise(slow)) >= 19
