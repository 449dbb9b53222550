"""The bounds at the port: defaults that work, and wrong ones named."""

import pytest

from services.gateway.port_settings import PortSettings
from shared.settings import SettingsError, load


@pytest.mark.parametrize(
    ("environment", "connections", "accepts"),
    [
        ({}, 0, 0),
        ({"TRUSTED_PROXIES": "10.0.0.0/8"}, 50, 20),
        ({"TRUSTED_PROXIES": "10.0.0.0/8", "MAX_CONNECTIONS_PER_IP": "0", "MAX_ACCEPTS_PER_IP": "7"}, 0, 7),
        ({"MAX_CONNECTIONS_PER_IP": "9"}, 9, 0),
    ],
)
def test_limits_by_address_begin_where_proxies_are_named(
    environment: dict[str, str], connections: int, accepts: int
) -> None:
    settings = load(PortSettings, environment)
    assert (settings.connections_per_address, settings.accepts_per_address) == (connections, accepts)


@pytest.mark.parametrize(
    ("environment", "problem"),
    [
        ({"TRUSTED_PROXIES": "10.0.0.0/8,nginx"}, "TRUSTED_PROXIES: 'nginx' is no network"),
        ({"TRUSTED_PROXIES": "10.0.0.1/8"}, "TRUSTED_PROXIES: '10.0.0.1/8' is no network"),
        ({"PROXY_PROTOCOL": "true"}, "PROXY_PROTOCOL: needs TRUSTED_PROXIES"),
        ({"MAX_ATTACHMENTS": "11"}, "MAX_ATTACHMENTS='11'"),
        ({"MAX_NESTING": "1000"}, "MAX_NESTING='1000'"),
        ({"MAX_CONNECTIONS_PER_IP": "many"}, "MAX_CONNECTIONS_PER_IP='many'"),
    ],
)
def test_what_cannot_work_is_named(environment: dict[str, str], problem: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load(PortSettings, environment)
    (said,) = caught.value.problems
    assert said.startswith(problem)
