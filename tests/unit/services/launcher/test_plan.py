"""What `tickwire up` decides before anything starts."""

import socket
from collections.abc import Iterator

import pytest

from services.launcher.errors import LauncherError
from services.launcher.plan import Feed, Options, make_plan

URL = {"REDIS_URL": "redis://elsewhere:6379"}


@pytest.fixture
def taken() -> Iterator[int]:
    """A port on which somebody listens."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield int(server.getsockname()[1])


def test_services_are_numbered_where_there_are_several_and_gateways_take_neighbouring_ports(tmp_path):
    plan = make_plan(Options(Feed.NONE, gateways=2, notifiers=2, port=0), URL, tmp_path)
    names = [command.name for command in plan.services]
    assert names == ["gateway-1", "gateway-2", "price-ingest", "trade-notifier-1", "trade-notifier-2", "metrics"]
    ports = [command.environment["GATEWAY_PORT"] for command in plan.services[:2]]
    assert [f"http://localhost:{port}" for port in ports] == list(plan.gateways)
    assert len(set(ports)) == 2


def test_every_child_gets_the_environment_a_secret_and_an_ops_port_of_its_own(tmp_path):
    plan = make_plan(Options(port=0), {**URL, "MAX_CONNECTIONS": "5", "OPS_PORT": "9090"}, tmp_path)
    for command in plan.services:
        assert command.environment["MAX_CONNECTIONS"] == "5"
        assert command.environment["OPS_PORT"] == "0"
        assert len(command.environment["JWT_SECRET"]) == 128
        assert command.environment["REDIS_URL"] == URL["REDIS_URL"]


@pytest.mark.parametrize(("value", "drain_s"), [("", 0), ("30", 30), ("soon", 0)])
def test_a_cluster_that_stops_as_a_whole_lets_its_clients_go_at_once_unless_told_otherwise(tmp_path, value, drain_s):
    plan = make_plan(Options(port=0), {**URL, "DRAIN_SECONDS": value}, tmp_path)
    assert plan.services[0].environment["DRAIN_SECONDS"] == (value or "0")
    assert plan.drain_s == drain_s


def test_where_tokens_are_required_they_have_an_issuer_and_an_audience_unless_somebody_else_signs_them(tmp_path):
    def issuer(**environment: str) -> tuple[str, str]:
        directory = tmp_path / str(len(list(tmp_path.iterdir())))
        directory.mkdir()
        plan = make_plan(Options(port=0), {**URL, **environment}, directory)
        return plan.setting("JWT_ISSUER"), plan.setting("JWT_AUDIENCE")

    assert issuer() == ("", "")
    assert issuer(AUTH_MODE="required") == ("tickwire-up", "tickwire-up")
    assert issuer(AUTH_MODE="required", JWT_SECRET="mine", JWT_ISSUER="me") == ("me", "tickwire-up")
    assert issuer(AUTH_MODE="required", JWT_JWKS_URL="https://id") == ("", "")


@pytest.mark.parametrize("variable", ["JWT_SECRET", "JWT_PUBLIC_KEY_FILE"])
def test_a_key_of_the_users_own_is_kept(tmp_path, variable):
    plan = make_plan(Options(port=0), {**URL, variable: "mine"}, tmp_path)
    assert plan.setting(variable) == "mine"
    assert plan.setting("JWT_SECRET") == ("mine" if variable == "JWT_SECRET" else "")


def test_with_a_redis_url_no_valkey_is_started(tmp_path):
    plan = make_plan(Options(port=0), URL, tmp_path)
    assert (plan.valkey, plan.redis_url) == (None, URL["REDIS_URL"])


def test_without_one_a_valkey_listens_on_loopback(tmp_path):
    plan = make_plan(Options(port=0, redis_port=0), {}, tmp_path)
    assert plan.valkey is not None
    port = plan.valkey.arguments[plan.valkey.arguments.index("--port") + 1]
    assert plan.redis_url == f"redis://127.0.0.1:{port}"
    assert plan.redis_cli == f"redis-cli -p {port}"


def test_logs_go_to_files_under_the_board_and_to_our_own_without_it(tmp_path):
    with_board = make_plan(Options(port=0), URL, tmp_path)
    assert with_board.services[0].log == tmp_path / "gateway.log"
    assert make_plan(Options(port=0, plain=True), URL, tmp_path).services[0].log is None


def test_the_feed_is_a_command_of_ours(tmp_path):
    plan = make_plan(Options(Feed.REPLAY, ("/data/x.csv", "--speed", "50"), port=0), URL, tmp_path)
    assert plan.feed is not None
    assert plan.feed.arguments[-5:] == ("feed", "replay", "/data/x.csv", "--speed", "50")
    assert plan.feed.finite
    assert make_plan(Options(Feed.NONE, port=0), URL, tmp_path).feed is None


def test_a_taken_port_is_named_with_what_to_do(tmp_path, taken):
    with pytest.raises(LauncherError, match=f"port {taken} is taken") as caught:
        make_plan(Options(port=taken), URL, tmp_path)
    assert "--port" in caught.value.hint


def test_the_gateway_port_of_the_environment_is_the_default(tmp_path, taken):
    with pytest.raises(LauncherError, match=f"port {taken} is taken"):
        make_plan(Options(), {**URL, "GATEWAY_PORT": str(taken)}, tmp_path)


@pytest.mark.parametrize(
    ("options", "environment", "said"),
    [
        (Options(redis_port=1), URL, "REDIS_URL names another server"),
        (Options(), {**URL, "GATEWAY_PORT": "x"}, "GATEWAY_PORT='x' is no port"),
    ],
)
def test_what_cannot_be_is_refused(tmp_path, options, environment, said):
    with pytest.raises(LauncherError, match=said) as caught:
        make_plan(options, environment, tmp_path)
    assert caught.value.hint


def test_a_taken_redis_port_is_refused_with_how_to_use_what_is_there(tmp_path, taken):
    with pytest.raises(LauncherError, match=f"port {taken} is taken") as caught:
        make_plan(Options(redis_port=taken, port=0), {}, tmp_path)
    assert f"REDIS_URL=redis://127.0.0.1:{taken}" in caught.value.hint


@pytest.mark.parametrize(("host", "shown"), [("0.0.0.0", "localhost"), ("127.0.0.1", "127.0.0.1"), ("", "localhost")])
def test_the_address_shown_is_one_that_clients_can_use(tmp_path, host, shown):
    plan = make_plan(Options(port=0), {**URL, "GATEWAY_HOST": host}, tmp_path)
    assert plan.gateways[0].startswith(f"http://{shown}:")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("rediss://u:pw@h", 'redis-cli -u "$REDIS_URL"'),
        ("redis+sentinel://u:pw@h/m", "redis-cli -u <the master>"),
        ("rediss+cluster://u:pw@h", "redis-cli -c -u <a node>"),
    ],
)
def test_what_redis_cli_is_told_fits_the_kind_of_redis(tmp_path, url: str, shown: str):
    assert make_plan(Options(port=0), {"REDIS_URL": url}, tmp_path).redis_cli == shown
