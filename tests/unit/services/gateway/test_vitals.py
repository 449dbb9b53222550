"""The gateway's figures as a scraper and the metrics service see them."""

from typing import cast

from protocol.engineio.session import Transport
from services.gateway.admission import Refusal
from services.gateway.chart_feed import ChartFeed, ChartRules
from services.gateway.client import Intake
from services.gateway.fanout import Fanout
from services.gateway.metrics_feed import MetricsFeed
from services.gateway.price_feed import PriceFeed
from services.gateway.recovery import Recovery
from services.gateway.sessions import Sessions
from services.gateway.vitals import KNOWN_REFUSALS, Feeds, Vitals
from shared.bus.redis_bus import RedisBus
from shared.names import close_reasons
from shared.telemetry import Telemetry
from tests.support.fakes_gateway import GatewayParts, Peer, make_trade
from tests.support.fakes_http import UPGRADE, WEBSOCKET, FakePort, PollingClient, text


def never(_name: str, _work: object) -> None:
    """Nobody comes back here."""


class Setup:
    def __init__(self) -> None:
        self.telemetry = Telemetry()
        self.vitals = Vitals(self.telemetry)
        self.parts = GatewayParts()
        self.port = FakePort()
        server = self.port.server
        bus = RedisBus("redis://127.0.0.1:1", "never-connected")
        prices = PriceFeed(
            bus,
            self.parts.clock,
            self.parts.market,
            self.parts.deliver,
            shards=4,
            everything=False,
            observe_age=self.vitals.observe_age,
        )
        self.charts = ChartFeed(
            bus,
            self.parts.clock,
            self.parts.chart_fanout,
            self.parts.charts.ready,
            shards=4,
            rules=ChartRules(most=10, fill=True, grace_ms=500),
        )
        fanout: Fanout = self.parts.fanout
        feeds = Feeds(prices, self.charts, MetricsFeed(bus, fanout))
        self.vitals.watch(server, self.parts.hub, self.parts.handlers, fanout, self.parts.flusher, feeds)
        parts = self.parts
        self.vitals.watch_tokens(parts.tokens)
        self.vitals.watch_users(parts.users)
        self.vitals.watch_log(
            parts.log_fanout,
            parts.log_feed,
            Sessions(bus, "gateway-1", 120, lambda _outbox: None, lambda _session: None),
            Recovery(bus, cast("Sessions", parts.sessions), parts.log_feed, parts.log_fanout, parts.flusher, never),
        )
        self.vitals.watch_delayed(parts.delayed_prices, parts.delayed_trades)
        self.intake = Intake()
        self.vitals.watch_intake(self.intake)
        prices.watch("BTC-USDT")

    def scraped(self) -> dict[str, float]:
        body, _ = self.telemetry.exposition("")
        lines = [line.rpartition(" ") for line in body.decode().splitlines() if not line.startswith("#")]
        return {name: float(value) for name, _, value in lines}


async def test_what_was_counted_is_scraped_and_counted_once() -> None:
    setup = Setup()
    peer = Peer(setup.parts)
    peer.join()
    peer.ask("subscribe:trades", "A")
    peer.ask("nonsense")
    peer.ask("authenticate", "nonsense")
    setup.parts.trade("A", make_trade(1, "A"))
    setup.parts.loop.turn()
    for _ in range(2):
        found = setup.scraped()
    assert found['websocket_connections{transport="websocket"}'] == 0
    assert found["websocket_rooms"] == 1
    assert found['websocket_events_total{event="subscribe:trades"}'] == 1
    assert found['websocket_events_total{event="other"}'] == 1
    assert found['tickwire_request_errors_total{code="102"}'] == 1
    assert found['tickwire_tokens_refused_total{reason="malformed"}'] == 1
    assert found['tickwire_messages_sent_total{event="trade:new"}'] == 1
    assert found["tickwire_sent_bytes_total"] == setup.parts.flusher.sent_bytes > 0
    assert found["tickwire_shards_watched"] == 1
    assert found["tickwire_paced_clients"] == 0


async def test_every_ending_is_there_before_it_happens() -> None:
    setup = Setup()
    found = setup.scraped()
    assert all(found[f'tickwire_disconnects_total{{reason="{reason.text}"}}'] == 0 for reason in close_reasons.ALL)
    setup.vitals.count_ending(close_reasons.SLOW_CONSUMER)
    assert setup.scraped()['tickwire_disconnects_total{reason="slow_consumer"}'] == 1


async def test_refusals_are_counted_by_reason_and_their_number_is_bounded() -> None:
    setup = Setup()
    for number in range(KNOWN_REFUSALS + 50):
        setup.vitals.count_refusal(f"reason {number}")
    setup.vitals.count_refusal("reason 0")
    found = setup.scraped()
    assert found['tickwire_handshakes_refused_total{reason="reason 0"}'] == 2
    assert sum(name.startswith("tickwire_handshakes_refused_total") for name in found) == KNOWN_REFUSALS


async def test_the_age_of_prices_is_a_histogram_in_seconds() -> None:
    setup = Setup()
    setup.vitals.observe_age(0.02)
    found = setup.scraped()
    assert found['tickwire_publish_to_send_seconds_bucket{le="0.025"}'] == 1
    assert found['tickwire_publish_to_send_seconds_bucket{le="0.01"}'] == 0


async def test_every_hop_of_a_gateway_has_a_histogram_of_its_own() -> None:
    setup = Setup()
    setup.vitals.observe_log_age(0.02)
    setup.vitals.observe_flush(0.002)
    setup.vitals.observe_delivery(Transport.POLLING, 3.0)
    found = setup.scraped()
    assert found['tickwire_log_to_send_seconds_bucket{le="0.025"}'] == 1
    assert found['tickwire_flush_seconds_bucket{le="0.0025"}'] == 1
    assert found['tickwire_delivered_latency_seconds_bucket{le="5.0",transport="polling"}'] == 1
    assert found['tickwire_delivered_latency_seconds_bucket{le="2.5",transport="polling"}'] == 0
    assert found['tickwire_delivered_latency_seconds_count{transport="websocket"}'] == 0


async def test_a_feed_that_wants_what_is_not_confirmed_is_not_subscribed() -> None:
    found = Setup().scraped()
    assert found['tickwire_redis_subscribed{feed="prices"}'] == 0
    assert found['tickwire_redis_subscribed{feed="charts"}'] == 1, "it wants nothing"
    assert found['tickwire_pubsub_lost_total{feed="prices"}'] == 0


async def test_admission_s_refusals_are_there_before_the_first() -> None:
    found = Setup().scraped()
    assert all(found[f'tickwire_handshakes_refused_total{{reason="{refusal}"}}'] == 0 for refusal in Refusal)


async def test_the_report_has_the_figures_that_the_cluster_adds_up() -> None:
    setup = Setup()
    peer = Peer(setup.parts)
    peer.join()
    peer.ask("subscribe:trades", "A")
    setup.parts.trade("A", make_trade(1, "A"))
    report: dict[str, dict[str, float]] = {}
    setup.vitals.fill_report(report)
    assert report["events"] == {"subscribe:trades": 1}
    assert report["figures"]["websocket_rooms"] == 1
    assert report["figures"]["tickwire_messages_sent_total"] == 1
    assert report["figures"]["tickwire_messages_sent_total:trade:new"] == 1


async def test_connections_are_told_apart_by_what_carries_them_now() -> None:
    setup = Setup()
    first, _ = PollingClient(setup.port), PollingClient(setup.port)
    socket = setup.port.ask(WEBSOCKET, *UPGRADE)

    def connections() -> dict[str, float]:
        found = setup.scraped()
        return {way: found[f'websocket_connections{{transport="{way}"}}'] for way in ("polling", "websocket")}

    assert connections() == {"polling": 2, "websocket": 1}
    first.probe().feed(text(b"2probe") + text(b"5"))
    assert connections() == {"polling": 1, "websocket": 2}
    socket.leave()
    assert connections() == {"polling": 1, "websocket": 1}


async def test_the_charts_that_are_kept_are_counted() -> None:
    setup = Setup()
    setup.charts.watch("A", "1m")
    setup.charts.watch("A", "1m")
    setup.charts.watch("A", "5m")
    assert setup.scraped()["tickwire_charts_kept"] == 2


async def test_clients_let_go_for_others_a_drain_and_the_limit_are_told() -> None:
    setup = Setup()
    setup.vitals.note_limit(500)
    setup.vitals.note_draining()
    for reason in (close_reasons.REBALANCED, close_reasons.DRAINED):
        setup.vitals.count_ending(reason)
    scraped = setup.scraped()
    assert scraped["tickwire_connection_limit"] == 500
    assert (scraped["tickwire_draining"], scraped["tickwire_shed_total"]) == (1, 1)
