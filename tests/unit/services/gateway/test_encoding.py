"""Each event is encoded once for each parser in use, and a spliced batch is what encoding it whole would give."""

from decimal import Decimal

import pytest

from protocol.socketio.packets import Event, Packet, Value
from protocol.socketio.parser import MessageData, Parsers
from services.gateway.encoding import Encoder
from services.gateway.frames import frame_messages
from shared.names.events import ServerEvent
from tests.support.fakes_gateway import PARSERS, read_packets

PAIRS: list[list[Value]] = [["BTC-USDT", Decimal("64000.10")], ["ETH-USDT", Decimal(3000)]]
EXTRAS: dict[str, Value] = {"ts": 1, "seqs": [1, 2], "ns": [1, 1]}


def test_parsers_have_the_indexes_that_rooms_use() -> None:
    encoder = Encoder(PARSERS)
    assert [encoder.index_of(PARSERS.json), encoder.index_of(PARSERS.msgpack)] == [0, 1]


def test_an_event_is_encoded_at_its_first_use_and_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    for parser in PARSERS:
        real = parser.encode

        def counting(
            _self: object, packet: Packet, *, real: object = real, name: str = parser.name
        ) -> tuple[MessageData, ...]:
            calls.append(name)
            assert callable(real)
            made: tuple[MessageData, ...] = real(packet)
            return made

        monkeypatch.setattr(type(parser), "encode", counting)
    event = Encoder(PARSERS).event(ServerEvent.METRICS, {"a": 1})
    assert calls == []
    assert event.frame(0) is event.frame(0)
    assert calls == ["json"]
    assert event.frame(1) is event.frame(1)
    assert calls == ["json", "msgpack"]


@pytest.mark.parametrize("parser", [0, 1])
def test_a_spliced_batch_is_the_batch_encoded_whole(parser: int) -> None:
    encoder = Encoder(PARSERS)
    spliced = encoder.batch(parser, [encoder.pair(parser, pair) for pair in PAIRS], EXTRAS)
    whole = Event(ServerEvent.PRICE_BATCH.value, (PAIRS, EXTRAS))
    assert spliced == frame_messages(encoder.parsers[parser].encode(whole))
    (packet,) = read_packets(spliced, parser)
    assert isinstance(packet, Event)
    assert packet.args == ([["BTC-USDT", 64000.1], ["ETH-USDT", 3000]], EXTRAS)


@pytest.mark.parametrize("parser", [0, 1])
@pytest.mark.parametrize("long", ["", "x" * 200])
def test_a_price_update_is_the_event_encoded_whole(parser: int, long: str) -> None:
    encoder = Encoder(PARSERS)
    payload: dict[str, Value] = {"symbol": "A/B", "price": Decimal("0.10"), "seq": 2**40, "n": 1, "venue": long}
    whole = Event(ServerEvent.PRICE_UPDATE.value, (payload,))
    assert encoder.price_update(payload).frame(parser) == frame_messages(encoder.parsers[parser].encode(whole))


def test_a_parser_of_another_process_has_no_index() -> None:
    strangers = Parsers(PARSERS.json, PARSERS.json)
    with pytest.raises(ValueError, match="not in"):
        Encoder(strangers).index_of(PARSERS.msgpack)
