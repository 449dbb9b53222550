"""What `REDIS_URL` may say, and what is said about one that cannot be."""

import pytest

from shared.redis_url import parse_redis_url


def test_one_server_keeps_its_login_database_and_options() -> None:
    url = parse_redis_url("rediss://u:p%2Fw@h:7000/2?ssl_ca_certs=%2Fca.crt")
    assert (url.mode, url.addresses, url.where) == ("plain", (("h", 7000),), "h:7000")
    assert url.of_server(url.addresses[0]) == "rediss://u:p%2Fw@h:7000/2?ssl_ca_certs=%2Fca.crt"


def test_a_unix_socket_is_a_path() -> None:
    url = parse_redis_url("unix://u:pw@/run/redis.sock?db=1")
    assert (url.mode, url.addresses, url.where) == ("plain", (), "/run/redis.sock")
    assert url.of_socket() == "unix://u:pw@/run/redis.sock?db=1"


def test_sentinels_come_with_the_masters_name_and_a_login_of_their_own() -> None:
    url = parse_redis_url("redis+sentinel://u:pw@a:1,b,[::1]:3/my-master/4?sentinel_password=s%2Fp")
    assert (url.mode, url.addresses) == ("sentinel", (("a", 1), ("b", 26379), ("::1", 3)))
    assert (url.master, url.where) == ("my-master", "a:1, b:26379, [::1]:3")
    assert url.of_sentinel(("a", 1)) == "redis://:s%2Fp@a:1"
    assert url.of_server(("m", 5)) == "redis://u:pw@m:5/4"


def test_sentinels_without_a_password_are_asked_without_the_servers_login() -> None:
    assert parse_redis_url("redis+sentinel://u:pw@a/m").of_sentinel(("a", 1)) == "redis://a:1"


def test_nodes_of_a_cluster_share_login_and_tls() -> None:
    url = parse_redis_url("rediss+cluster://u:pw@a,b:7001/0?ssl_cert_reqs=none")
    assert (url.mode, url.addresses) == ("cluster", (("a", 6379), ("b", 7001)))
    assert url.of_server(("::1", 9)) == "rediss://u:pw@[::1]:9/0?ssl_cert_reqs=none"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("localhost:6379", "does not begin with redis://"),
        ("redis+cluster+tls://h", "does not begin with"),
        ("redis://hunter2:70000", "the port is no number"),
        ("redis://u:hunter2/x@h", "the port is no number"),
        ("redis+cluster://a:1,hunter2:x", "the port is no number"),
        ("redis://[hunter2", "no IPv6 address"),
        ("redis://a,hunter2", "several servers"),
        ("redis+sentinel://hunter2:1", "master's name"),
        ("redis+sentinel://hunter2:1/m/x", "database"),
        ("redis+cluster://hunter2/1", "only 0"),
        ("redis://h?socket_timeout=hunter2", "option"),
        ("redis://h?hunter2=1", "option"),
    ],
)
def test_what_cannot_be_is_named_without_repeating_the_url(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem) as caught:
        parse_redis_url(text)
    assert "hunter2" not in str(caught.value)
