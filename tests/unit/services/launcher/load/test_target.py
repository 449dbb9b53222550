"""Which servers may be loaded."""

import pytest

from services.launcher.errors import LauncherError
from services.launcher.load.target import resolve


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("http://127.0.0.1:8080", ("127.0.0.1", 8080)),
        ("127.0.0.1:3000", ("127.0.0.1", 3000)),
        ("http://10.1.2.3", ("10.1.2.3", 80)),
        ("http://192.168.0.9:1", ("192.168.0.9", 1)),
        ("ws://[::1]:9", ("::1", 9)),
    ],
)
def test_loopback_and_private_addresses_may_be_loaded(url, address):
    assert resolve(url) == address


def test_any_other_address_is_refused_unless_it_is_ones_own():
    with pytest.raises(LauncherError, match=r"8\.8\.8\.8 is neither") as caught:
        resolve("http://8.8.8.8:80")
    assert "--i-own-this-server" in caught.value.hint
    assert resolve("http://8.8.8.8:80", anywhere=True) == ("8.8.8.8", 80)


@pytest.mark.parametrize("url", ["https://127.0.0.1", "redis://127.0.0.1:6379", "http://:80", "http://127.0.0.1:99999"])
def test_what_is_no_plain_http_address_is_said_to_be_none(url):
    with pytest.raises(LauncherError) as caught:
        resolve(url)
    assert "http://host:port" in caught.value.hint


def test_a_host_that_does_not_exist_is_named():
    with pytest.raises(LauncherError, match="no-such-host"):
        resolve("http://no-such-host.invalid:80")
