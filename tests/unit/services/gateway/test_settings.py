"""The gateway's settings: defaults that work, and wrong ones named."""

import pytest

from services.gateway.settings import GatewaySettings
from shared.settings import SettingsError, load


def test_the_defaults_work() -> None:
    settings = load(GatewaySettings, {})
    assert settings.event_rates() == {"authenticate": 1.0, "auth:refresh": 1.0}
    assert (settings.gateway_port, settings.auth_mode, settings.price_batch_ms) == (8080, "optional", 100)


def test_rates_are_read_by_event() -> None:
    settings = load(GatewaySettings, {"RATE_LIMITS": "authenticate=1, subscribe:price=0.5"})
    assert settings.event_rates() == {"authenticate": 1.0, "auth:refresh": 1.0, "subscribe:price": 0.5}


@pytest.mark.parametrize(
    "item",
    ["authenticate", "authenticate=", "=5", *(f"authenticate={rate}" for rate in ("b", "0", "-1", "inf", "nan"))],
)
def test_a_rate_that_cannot_be_read_is_named(item: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load(GatewaySettings, {"RATE_LIMITS": f"authenticate=1,{item}"})
    (problem,) = caught.value.problems
    assert problem.startswith("RATE_LIMITS: ")
    assert repr(item) in problem


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("GATEWAY_PORT", "70000"),
        ("AUTH_MODE", "sometimes"),
        ("PRICE_BATCH_AUDIENCE", "nobody"),
        ("DECIMALS", "float"),
        ("MAX_CONNECTIONS", "-1"),
        ("PING_INTERVAL_MS", "0"),
        ("MAX_PAYLOAD_BYTES", "big"),
    ],
)
def test_a_value_out_of_range_is_named(name: str, value: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load(GatewaySettings, {name: value})
    assert caught.value.problems[0].startswith(f"{name}=")


def test_a_rate_of_what_nobody_can_send_is_named() -> None:
    with pytest.raises(SettingsError) as caught:
        load(GatewaySettings, {"RATE_LIMITS": "subscribe:prices=20", "ALLOWED_ORIGINS": "app.example.com,https://a.b"})
    rates, origins = caught.value.problems
    assert "'subscribe:prices'" in rates
    assert "'app.example.com'" in origins


def test_a_word_that_is_none_of_those_there_are_is_answered_with_them() -> None:
    with pytest.raises(SettingsError) as caught:
        load(GatewaySettings, {"AUTH_MODE": "requried"})
    assert caught.value.problems == ["AUTH_MODE='requried': one of optional, required"]


def test_a_catalogue_that_names_no_symbols_is_named() -> None:
    with pytest.raises(SettingsError) as caught:
        load(GatewaySettings, {"SYMBOLS": "BTC-*,ETH USDT"})
    assert caught.value.problems[0].startswith("SYMBOLS")


def test_compression_and_the_sticky_cookie_are_off_until_asked_for() -> None:
    settings = load(GatewaySettings, {})
    assert (settings.permessage_deflate, settings.sticky_cookie) == (False, "")
    settings = load(GatewaySettings, {"PERMESSAGE_DEFLATE": "true", "STICKY_COOKIE": "io"})
    assert (settings.permessage_deflate, settings.sticky_cookie) == (True, "io")


@pytest.mark.parametrize("name", ["a b", "a=b", "a;b", "ä", "a\r\nX: y", '"a"'])
def test_a_cookie_that_could_not_be_set_is_named(name: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load(GatewaySettings, {"STICKY_COOKIE": name, "RATE_LIMITS": "x"})
    assert [problem.split(":")[0].split("=")[0] for problem in caught.value.problems] == [
        "RATE_LIMITS",
        "STICKY_COOKIE",
    ]
