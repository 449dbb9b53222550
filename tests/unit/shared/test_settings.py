"""Settings from the environment."""

from dataclasses import dataclass
from typing import Literal

import pytest

from shared.identity import AuthSettings
from shared.settings import (
    CommonSettings,
    Port,
    Positive,
    SettingInfo,
    SettingsError,
    describe,
    load,
    load_all,
    setting,
)


@dataclass(frozen=True, slots=True)
class Sample:
    port: Port = setting(80, "where")
    size: Positive = setting(1, "how much", "bytes")
    names: tuple[str, ...] = setting(("a", "b"), "who", shown_default="two")
    mode: Literal["fast", "safe"] = setting("safe", "how")
    loud: bool = setting(default=False, meaning="whether")
    api_secret: Positive = setting(1, "what nobody may see")

    def problems(self) -> list[str]:
        return ["PORT: 13 brings bad luck"] if self.port == 13 else []


def problems_of(**environment: str) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        load(Sample, environment)
    assert str(caught.value) == "\n".join(caught.value.problems)
    return caught.value.problems


def test_without_environment_the_defaults_hold():
    assert load(Sample, {}) == Sample()


def test_each_variable_is_read_as_its_type():
    environment = {"PORT": "0", "SIZE": " 7 ", "NAMES": "x, y,,", "MODE": "fast", "LOUD": "true", "OTHER": "ignored"}
    assert load(Sample, environment) == Sample(0, 7, ("x", "y"), "fast", loud=True)


def test_an_empty_variable_counts_as_absent():
    assert load(Sample, {"PORT": "", "NAMES": "  "}) == Sample()


def test_every_wrong_variable_is_named_with_its_value_and_what_would_be_right():
    problems = problems_of(PORT="70000", SIZE="0", MODE="reckless", LOUD="perhaps")
    assert [problem.split("=")[0] for problem in problems] == ["PORT", "SIZE", "MODE", "LOUD"]
    assert "'70000'" in problems[0]
    assert "<= 65535" in problems[0]
    assert ">= 1" in problems[1]


def test_a_wrong_secret_is_named_and_not_shown():
    (problem,) = problems_of(API_SECRET="hunter2")
    assert problem.startswith("API_SECRET=***")
    assert "hunter2" not in problem


def test_a_combination_that_cannot_work_is_refused_by_the_settings_themselves():
    assert problems_of(PORT="13") == ["PORT: 13 brings bad luck"]


def test_several_kinds_report_together_and_each_problem_once():
    environment = {"PORT": "x", "OPS_PORT": "y", "JWT_SECRET": "short"}
    with pytest.raises(SettingsError) as caught:
        load_all(environment, Sample, CommonSettings, AuthSettings, Sample)
    assert [problem.split("=")[0].split(":")[0] for problem in caught.value.problems] == [
        "PORT",
        "OPS_PORT",
        "JWT_SECRET",
    ]


def test_the_table_tells_name_default_unit_and_meaning_in_the_order_of_declaration():
    assert describe(Sample)[:5] == [
        SettingInfo("PORT", "80", "", "where"),
        SettingInfo("SIZE", "1", "bytes", "how much"),
        SettingInfo("NAMES", "two", "", "who"),
        SettingInfo("MODE", "safe", "", "how"),
        SettingInfo("LOUD", "false", "", "whether"),
    ]


@pytest.mark.parametrize("name", ["PRICE_SHARDS", "TRADE_SHARDS"])
@pytest.mark.parametrize("text", ["0", "1025", "-1", "4.5"])
def test_a_number_of_shards_that_cannot_work_is_refused(name: str, text: str):
    with pytest.raises(SettingsError, match=name):
        load(CommonSettings, {name: text})


@pytest.mark.parametrize(
    "url", ["redis://h", "redis://:pw@h:6379/2", "rediss://u:pw@[::1]:1", "unix:///run/redis.sock?db=1"]
)
def test_an_address_of_redis_passes(url: str):
    assert load(CommonSettings, {"REDIS_URL": url}).redis_url == url


@pytest.mark.parametrize("url", ["h:6379", "http://h", "/run/redis.sock", "redis://u:hunter2#x@h", "redis://h:70000"])
def test_an_address_that_is_none_is_refused_without_showing_a_password(url: str):
    with pytest.raises(SettingsError) as caught:
        load(CommonSettings, {"REDIS_URL": url})
    (problem,) = caught.value.problems
    assert problem.startswith("REDIS_URL: ")
    assert "hunter2" not in problem
