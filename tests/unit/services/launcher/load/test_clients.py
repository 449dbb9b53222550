"""A light client: becomes served, counts what arrives however it is cut, and answers heartbeats."""

import asyncio
import json
from typing import Any

import pytest

from services.launcher.load.clients import Ending, LoadClient, Tally

SWITCHED = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n"
NOW = 1000.5


class Wire(asyncio.Transport):
    """What a client writes."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.aborted = self.paused = False

    def get_extra_info(self, _name: str, _default: Any = None) -> Any:
        return ("127.0.0.1", 80)

    def write(self, data: Any) -> None:
        self.written += data

    def abort(self) -> None:
        self.aborted = True

    def pause_reading(self) -> None:
        self.paused = True


def framed(payload: str, opcode: int = 0x81) -> bytes:
    data = payload.encode()
    head = bytes((opcode, len(data))) if len(data) < 126 else bytes((opcode, 126)) + len(data).to_bytes(2)
    return head + data


def update(price: float, seq: int, n: int = 1, **more: object) -> bytes:
    content = {"symbol": "LOAD-00001", "price": price, "ts": 1, "seq": seq, "n": n, **more}
    return framed("42" + json.dumps(["price:update", content]))


class Peer:
    """One client and its transport."""

    def __init__(self, *, sampled: bool = True, deliver: str = "update") -> None:
        self.tally = Tally()
        self.wire = Wire()
        symbols = ["LOAD-00001", "LOAD-00002"]
        self.client = LoadClient(symbols, {"deliver": deliver}, self.tally, lambda: NOW, packed=False, sampled=sampled)
        self.client.connection_made(self.wire)

    def get(self, data: bytes) -> None:
        self.client.data_received(data)

    def serve(self) -> None:
        self.get(SWITCHED + framed('0{"sid":"x"}') + framed('40{"sid":"y"}') + framed('42["hello",{}]'))
        self.get(framed('431[{"ok":true}]'))
        assert self.client.served


@pytest.fixture
async def peer() -> Peer:
    return Peer()


async def test_it_is_served_when_its_subscription_is_answered(peer):
    peer.get(SWITCHED + framed('0{"sid":"x"}') + framed('40{"sid":"y"}'))
    assert not peer.client.served
    assert b'421["subscribe:price",["LOAD-00001","LOAD-00002"],{"deliver":"update"}]' in peer.wire.written
    peer.get(framed('431[{"ok":true}]'))
    assert peer.client.served
    assert (peer.tally.served, len(peer.tally.connecting)) == (1, 1)


async def test_frames_may_be_cut_anywhere(peer):
    peer.serve()
    stream = update(NOW - 0.25, 1) + framed("2") + update(NOW - 0.25, 2, pad="x" * 200) + update(NOW - 0.25, 3)
    for size in (1, 7, 60):
        before = peer.tally.updates
        for start in range(0, len(stream), size):
            peer.get(stream[start : start + size])
        assert peer.tally.updates - before == 3
    assert peer.wire.written.count(b"\0\0\0\0" + b"3") == 3


async def test_a_sampled_client_knows_how_old_prices_are_and_whether_one_is_missing(peer):
    peer.serve()
    peer.get(update(NOW - 5, 10, snap=1) + update(NOW - 0.25, 11) + update(NOW - 0.25, 14, n=3))
    assert peer.tally.latency.quantile(0.5) == pytest.approx(0.25, rel=0.02)
    assert (peer.tally.sampled, peer.tally.represented, peer.tally.gaps) == (2, 4, 0)
    peer.get(update(NOW, 16))
    assert peer.tally.gaps == 1


async def test_what_was_not_asked_for_is_counted_but_not_looked_into(peer):
    peer.serve()
    pairs = [["LOAD-00001", NOW], ["LOAD-00002", NOW]]
    peer.get(framed("42" + json.dumps(["price:batch", pairs, {"ts": 1, "seqs": [1, 1], "ns": [1, 1]}])))
    assert (peer.tally.pairs, peer.tally.sampled) == (2, 0)


async def test_a_batch_counts_each_of_its_prices():
    peer = Peer(deliver="batch")
    peer.serve()
    pairs = [["LOAD-00001", NOW], ["LOAD-00002", NOW]]
    peer.get(framed("42" + json.dumps(["price:batch", pairs, {"ts": 1, "seqs": [1, 1], "ns": [1, 1]}])))
    assert (peer.tally.pairs, peer.tally.updates, peer.tally.sampled) == (2, 0, 2)


async def test_a_price_that_cannot_be_read_is_counted(peer):
    peer.serve()
    peer.get(framed('42["price:update",{"symbol":1}]'))
    assert peer.tally.unreadable == 1


async def test_an_error_for_an_answer_is_counted(peer):
    peer.get(SWITCHED + framed('0{"sid":"x"}') + framed('40{"sid":"y"}') + framed('431[{"ok":false,"error":{}}]'))
    assert peer.tally.rejected == 1


async def test_a_refusal_and_a_loss_are_told_apart():
    refused, failed, lost, dropped = Peer(), Peer(), Peer(), Peer()
    refused.get(b"HTTP/1.1 503 Service Unavailable\r\n\r\n")
    assert refused.wire.aborted
    lost.serve()
    dropped.serve()
    dropped.client.drop()
    for one in (refused, failed, lost, dropped):
        one.client.connection_lost(None)
    endings = [one.client.ended.result() for one in (refused, failed, lost, dropped)]
    assert endings == [Ending.REFUSED, Ending.FAILED, Ending.LOST, Ending.DROPPED]
    assert [one.tally.served for one in (lost, dropped)] == [0, 0]


async def test_changing_a_symbol_leaves_one_and_joins_one_and_measures_the_answers(peer):
    peer.serve()
    peer.client.swap("LOAD-00002", "LOAD-00009")
    assert peer.client.symbols == ["LOAD-00001", "LOAD-00009"]
    assert b'422["unsubscribe:price",["LOAD-00002"]]' in peer.wire.written
    assert b'423["subscribe:price",["LOAD-00009"],{"deliver":"update"}]' in peer.wire.written
    before = len(peer.tally.answers)
    peer.get(framed('432[{"ok":true}]') + framed('433[{"ok":true}]'))
    assert len(peer.tally.answers) - before == 2


async def test_a_stalled_client_stops_reading(peer):
    peer.serve()
    peer.client.stall()
    assert peer.wire.paused


async def test_taking_the_tally_begins_its_histograms_anew(peer):
    peer.serve()
    assert peer.tally.take()["served"] == 1
    again = peer.tally.take()
    assert (again["served"], again["connecting"]) == (1, {"largest": 0.0})
