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
    unknown_settings,
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


@pytest.mark.parametrize("name", ["tickwire-gateway-7f9c-x2x", "a", "Host_7.example"])
def test_an_instance_may_be_called_as_a_pod_or_a_host_is(name: str):
    assert load(CommonSettings, {"INSTANCE_ID": name}).instance_id == name


@pytest.mark.parametrize("name", ["a b", "-a", "a:b", "a\nb", "x" * 101])
def test_an_instance_is_called_by_nothing_that_keys_and_logs_could_misread(name: str):
    with pytest.raises(SettingsError, match="INSTANCE_ID"):
        load(CommonSettings, {"INSTANCE_ID": name})


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


def unknown(**environment: str) -> list[str]:
    return unknown_settings(environment)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("JWT_SECERT", "JWT_SECRET"),
        ("JWT_ISS", "JWT_ISSUER"),
        ("RATE_LIMIT", "RATE_LIMITS"),
        ("AUTH_MODES", "AUTH_MODE"),
        ("MAX_CONNECTION", "MAX_CONNECTIONS"),
        ("PRICE_BATCH_MSS", "PRICE_BATCH_MS"),
        ("REDIS_ULR", "REDIS_URL"),
        ("ALLOWED_ORIGIN", "ALLOWED_ORIGINS"),
        ("OPS_PROT", "OPS_PORT"),
        ("PING_INTERVAL", "PING_INTERVAL_MS"),
    ],
)
def test_a_misspelt_setting_is_named_with_what_was_meant_and_without_its_value(name: str, meant: str):
    assert unknown(**{name: "hunter2"}) == [f"{name}: unknown setting, did you mean {meant}?"]


def test_what_begins_as_ours_alone_do_is_refused_even_if_nothing_is_like_it():
    assert unknown(JWT_WHATEVER_THIS_MAY_BE="x") == ["JWT_WHATEVER_THIS_MAY_BE: unknown setting"]


def test_an_empty_variable_is_no_unknown_setting():
    assert unknown(JWT_SECERT=" ") == []


def test_what_only_looks_like_a_setting_that_is_there_is_somebody_elses():
    assert unknown(REDIS_URI="x") != []
    assert unknown(REDIS_URI="x", REDIS_URL="redis://h") == []


@pytest.mark.parametrize(
    "service", ["GATEWAY", "METRICS", "REDIS", "AUTH", "JWT_ISSUER", "RATE_LIMITS", "PRICE_INGEST"]
)
def test_what_kubernetes_says_of_each_service_is_none_of_ours(service: str):
    said = {
        f"{service}_SERVICE_HOST": "10.0.0.1",
        f"{service}_SERVICE_PORT": "8080",
        f"{service}_SERVICE_PORT_HTTP": "8080",
        f"{service}_PORT_8080_TCP": "tcp://10.0.0.1:8080",
        f"{service}_PORT_8080_TCP_PROTO": "tcp",
        f"{service}_PORT_8080_TCP_PORT": "8080",
        f"{service}_PORT_8080_TCP_ADDR": "10.0.0.1",
    }
    assert unknown(**said) == []
    if service != "GATEWAY":
        assert unknown(**{f"{service}_PORT": "tcp://10.0.0.1:8080"}) == []


def test_a_port_that_kubernetes_made_an_address_says_where_that_comes_from():
    (problem,) = problems_of(PORT="tcp://10.0.0.1:8080")
    assert "enableServiceLinks" in problem


USUAL = """
    PATH HOME HOSTNAME LANG LANGUAGE LC_ALL LC_CTYPE TERM TZ USER LOGNAME SHELL PWD OLDPWD SHLVL TMPDIR EDITOR MAIL
    PYTHONPATH PYTHON_VERSION PYTHON_SHA256 PYTHONUNBUFFERED PYTHONDONTWRITEBYTECODE VIRTUAL_ENV GPG_KEY
    PIP_NO_CACHE_DIR
    POD_NAME POD_NAMESPACE POD_IP NODE_NAME HOST_IP CONTAINER_NAME PORT HOST DEBUG LOG LOG_FILE LOG_DIR LOG_PATH
    REDIS_HOST REDIS_PORT REDIS_PASSWORD REDIS_USER REDIS_USERNAME REDIS_DB REDIS_TLS DATABASE_URL SENTRY_DSN
    HTTP_PROXY HTTPS_PROXY NO_PROXY ALL_PROXY SSL_CERT_FILE SSL_CERT_DIR REQUESTS_CA_BUNDLE MALLOC_ARENA_MAX
    AWS_REGION AWS_ACCESS_KEY_ID GOOGLE_APPLICATION_CREDENTIALS OTEL_SERVICE_NAME OTEL_EXPORTER_OTLP_ENDPOINT DD_ENV
    CI GITHUB_TOKEN XDG_RUNTIME_DIR SSH_AUTH_SOCK DISPLAY COLORTERM COLUMNS LINES INVOCATION_ID JOURNAL_STREAM
    NOTIFY_SOCKET MAINPID PROMETHEUS_MULTIPROC_DIR UVLOOP_DEBUG SECRET_KEY API_KEY TOKEN APP_ENV ENVIRONMENT VERSION
    KUBERNETES_PORT KUBERNETES_SERVICE_HOST MARKET FEED EXCHANGE GATEWAY GATEWAY_URL PRICE TRADE TRADES_TABLE
"""
"""Variables of containers, build servers and trading desks."""


def test_what_machines_and_containers_have_anyway_is_left_alone():
    assert [said for name in USUAL.split() for said in unknown(**{name: "x"})] == []


def test_what_is_wrong_with_all_of_it_together_is_told_with_the_rest():
    def check(auth: AuthSettings) -> list[str]:
        return ["JWT_ISSUER: missing"] if not auth.jwt_issuer else []

    environment = {"OPS_PORT": "y", "JWT_SECRET": "short", "JWT_SECERT": "x"}
    with pytest.raises(SettingsError) as caught:
        load_all(environment, CommonSettings, AuthSettings, check=check)
    assert [problem.split("=")[0].split(":")[0] for problem in caught.value.problems] == [
        "OPS_PORT",
        "JWT_SECRET",
        "JWT_ISSUER",
        "JWT_SECERT",
    ]


def test_a_wrong_variable_does_not_hide_what_else_is_wrong_in_its_settings():
    problems = problems_of(PORT="13", SIZE="0")
    assert [problem.split("=")[0].split(":")[0] for problem in problems] == ["SIZE", "PORT"]


def test_what_a_service_declares_is_known_to_it():
    assert load_all({"TINY_SIZE": "1"}, CommonSettings)
    assert unknown_settings({"JWT_OWN": "1"}, ["JWT_OWN"]) == []
