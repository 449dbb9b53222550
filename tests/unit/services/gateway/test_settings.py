"""The gateway's settings: defaults that work, and wrong ones named."""

import pytest

from services.gateway.settings import GatewaySettings
from shared.settings import SettingsError, load


def test_the_defaults_work() -> None:
    settings = load(GatewaySettings, {})
    assert settings.event_rates() == {"authenticate": 1.0}
    assert (settings.gateway_port, settings.auth_mode, settings.price_batch_ms) == (8080, "optional", 100)


def test_rates_are_read_by_event() -> None:
    settings = load(GatewaySettings, {"RATE_LIMITS": "authenticate=1, subscribe:price=0.5"})
    assert settings.event_rates() == {"authenticate": 1.0, "subscribe:price": 0.5}


@pytest.mark.parametrize("item", ["authenticate", "authenticate=", "=5", "a=b", "a=0", "a=-1", "a=inf", "a=nan"])
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
