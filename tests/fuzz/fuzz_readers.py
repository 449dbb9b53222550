"""Fuzz what reads tokens, upstream entries and messages on Redis: a value or the declared error, and nothing else.

    python -m tests.fuzz.fuzz_readers --seconds 60 --target token|upstream|bus|all [--seed N]

The first byte of an input chooses the form that the rest is in, where there are several.
"""

import hashlib
import hmac
import json
import sys
from base64 import urlsafe_b64encode
from collections.abc import Callable, Mapping
from typing import Final

import msgspec

from services.price_ingest.normalise import read_ticks
from shared import messages
from shared.bus.entries import StreamEntry
from shared.identity import MAX_SUBJECT_LENGTH, AuthError, AuthSettings, TokenVerifier, sign_development_token
from shared.messages import DecodeError
from shared.upstream import UpstreamError, parse_trade, unwrap
from tests.fuzz.fuzzer import SEPARATOR, Finding, Target, main

NOW_MS: Final = 1_763_800_000_000
SECRET: Final = "a secret of at least thirty-two bytes"
VERIFIER: Final = TokenVerifier(AuthSettings(jwt_secret=SECRET))
LONGEST_TEXT: Final = 128
LONGEST_DECIMAL: Final = 96

# --- tokens


def signed(header: bytes, claims: bytes) -> str:
    """A token with the right signature, whatever is in it: only so do claims come to be looked at."""
    body = b".".join(urlsafe_b64encode(part).rstrip(b"=") for part in (header, claims))
    signature = hmac.digest(SECRET.encode(), body, hashlib.sha256)
    return (body + b"." + urlsafe_b64encode(signature).rstrip(b"=")).decode()


def fuzz_token(data: bytes) -> None:
    """A token as it comes, or header and claims that are signed first."""
    header, is_signed, claims = data.partition(SEPARATOR)
    token = signed(header, claims) if is_signed else data.decode("utf-8", "surrogateescape")
    try:
        identity = VERIFIER.verify(token, NOW_MS)
    except AuthError:
        return
    if not is_signed:
        raise Finding("a token that we did not sign is accepted")
    if not 0 < len(identity.user_id) <= MAX_SUBJECT_LENGTH or identity.expires * 1000 < NOW_MS - 60_000:
        raise Finding(f"an identity that cannot be: {identity!r}")


HEADER: Final = b'{"alg":"HS256","typ":"JWT"}'
CLAIMS: Final = (
    {"sub": "u", "exp": 1_763_900_000},
    {"sub": "u", "exp": 1_763_900_000, "iat": 1_763_800_000, "nbf": 1_763_800_000, "jti": "j", "role": "admin"},
    {"sub": "u", "exp": 1_763_900_000, "iss": "i", "aud": ["a", "b"]},
    {
        "sub": "u",
        "exp": 1_763_900_000.5,
        "symbols": ["BTC-*", "ETH-USDT"],
        "max_hz": 2,
        "delay_s": 900,
        "connections": 3,
    },
)
TOKEN_CORPUS: Final = (
    sign_development_token(SECRET + "!", "u", role=None, lifetime_s=60, now_ms=NOW_MS).encode(),
    *(HEADER + SEPARATOR + json.dumps(claims).encode() for claims in CLAIMS),
    b'{"alg":"HS256","crit":["b64"],"b64":false}' + SEPARATOR + b"{}",
)
TOKEN_TOKENS: Final = (
    *(b'"alg":"none"', b'"HS512"', b'"RS256"', b'"crit":["exp"],', b'"kid":"../x",', b'"typ":1,', b'"jwk":{},'),
    *(b'"exp":', b'"iat":', b'"nbf":', b'"sub":', b'"role":', b'"iss":', b'"aud":', b'"jti":', b'"symbols":'),
    *(b"null", b"true", b"1e999", b"NaN", b"-1", b"[]", b"{}", b'""', b"[[[[[[[[", b"1" * 30, b"\\ud800", b"*", b"."),
    *(b'"max_hz":', b'"delay_s":', b'"connections":', b"\xff", SEPARATOR),
)

# --- upstream entries


def fields_of(data: bytes) -> dict[bytes, bytes]:
    """An entry: a payload in one of the fields that may hold one, or plain fields."""
    form, rest = data[:1], data[1:]
    if form == b"p":
        return {b"data": rest}
    if form == b"n":
        return {b"topic": b"data.trades", b"payload": rest, b"type": b"", b"encoding": b"json"}
    parts = rest.split(SEPARATOR)
    return dict(zip(parts[::2], parts[1::2], strict=False))


def fuzz_upstream(data: bytes) -> None:
    """One entry, as both of its readers read it."""
    entry = StreamEntry(f"{NOW_MS}-0", fields_of(data))
    ticks, _ = read_ticks([entry])
    for tick in ticks:
        texts = (tick.symbol, tick.id or "", tick.venue or "")
        decimals = (tick.price or "1", tick.bid or "1", tick.ask or "1", tick.amount or "1")
        if max(map(len, texts)) > LONGEST_TEXT or max(map(len, decimals)) > LONGEST_DECIMAL:
            raise Finding(f"longer than anything that is kept: {tick!r}")
        if not all(set(decimal) <= set("-0123456789.") for decimal in decimals):
            raise Finding(f"a decimal that is none: {tick!r}")
        messages.encode(tick)  # what cannot be written to Redis raises
    try:
        items = unwrap(entry.fields)
    except UpstreamError:
        return
    for item in items:
        try:
            trade = parse_trade(item, entry.id)
        except UpstreamError:
            continue
        messages.encode((trade.id, trade.symbol, trade.amount, trade.price, trade.venue, trade.users))


def plain(**fields: str) -> bytes:
    """Plain fields as an input."""
    return b"f" + SEPARATOR.join(part.encode() for item in fields.items() for part in item)


TRADE: Final = {
    "symbol": "BTC-USDT",
    "price": "64000.10",
    "amount": "0.5",
    "side": "buy",
    "ts": "1763800000000",
    "id": "4",
}
BINANCE: Final = (
    b'{"e":"trade","E":1763800000000,"s":"BTCUSDT","t":1,"p":"64000.1","q":"0.5","T":1763800000000,"m":true}'
)
NAUTILUS: Final = (
    b'{"type":"TradeTick","instrument_id":"BTCUSDT.BINANCE","price":"1.5","size":"2","aggressor_side":"BUYER",'
    b'"trade_id":"7","ts_event":1763800000000000000,"ts_init":1763800000000000000}'
)
UPSTREAM_CORPUS: Final = (
    plain(**TRADE),
    plain(symbol="A", bid="1", ask="2", bid_size="3", ask_size="4", ts="2025-11-22T08:26:40.123456789Z"),
    plain(s="A", p="6.38e-06", q="1e3", m="true", T="1763800000"),
    plain(**TRADE, user_id="u1, u2,u1", venue="X"),
    plain(
        exchange="BINANCE",
        symbol="BTC-USDT",
        side="buy",
        amount="1",
        price="2",
        timestamp="1763800000.5",
        receipt_timestamp="1",
    ),
    b"p" + json.dumps(TRADE).encode(),
    b"p" + json.dumps([TRADE, {"BTC-USDT": 1.5, "ETH-USDT": "2"}]).encode(),
    b'p{"stream":"btcusdt@trade","data":' + BINANCE + b"}",
    b'p{"arg":{"channel":"trades","instId":"A"},"data":[{"instId":"A","px":"1","sz":"2","ts":"1763800000000"}]}',
    b"p" + msgspec.msgpack.encode([TRADE]),
    b"n" + NAUTILUS,
    b"n" + msgspec.msgpack.encode(json.loads(NAUTILUS)),
)
UPSTREAM_TOKENS: Final = (
    *(SEPARATOR, b"symbol", b"price", b"amount", b"side", b"ts", b"data", b"payload", b"topic", b"user_id", b"venue"),
    *(b"NaN", b"Infinity", b"-0", b"1e400", b"1E-400", b"sNaN", b"0x1", b"1_000", b"\xd9\xa1", b"None", b"null", b"+1"),
    *(b"[[[[[[", b'{"data":', b'"bids":[["1","2"]]', b"9" * 40, b"1763800000000000000", b"2025-13-01", b"T25:00:00"),
    *(
        b"\xc1",
        b"\xdd\xff\xff\xff\xff",
        b"\xdf\xff\xff\xff\xff",
        b"\x81\x91\x01\x02",
        b"\\ud800",
        b"{}",
        b",,",
        b"\x00",
    ),
)

# --- messages between services

Decode = Callable[[bytes], object]
DECODERS: Final[Mapping[bytes, tuple[Decode, Callable[[object], bytes]]]] = {
    b"p": (messages.decode_price, messages.encode),
    b"b": (messages.decode_price_batch, messages.encode),
    b"c": (messages.decode_candle, messages.encode),
    b"h": (messages.decode_chart, messages.encode),
    b"H": (messages.decode_chart_batch, messages.encode),
    b"t": (messages.decode_trade, messages.encode),
    b"s": (messages.decode_session, messages.encode),
    b"r": (messages.decode_report, messages.encode_json),
    b"m": (messages.decode_cluster_metrics, messages.encode_json),
}

KINDS: Final = tuple(DECODERS.values())


def fuzz_bus(data: bytes) -> None:
    """One message of one kind; what is accepted can be written, and comes back as what it was."""
    if not data:
        return
    decode, encode = DECODERS.get(data[:1]) or KINDS[data[0] % len(KINDS)]
    try:
        message = decode(data[1:])
    except DecodeError:
        return
    written = encode(message)
    if encode(decode(written)) != written:
        raise Finding(f"does not come back: {message!r}")


PRICE: Final = messages.Price("64000.10", NOW_MS, 7, bid="64000.0", ask="64000.2", amount="1", side="buy", venue="X")
CANDLE: Final = messages.Candle(NOW_MS, "1", "2", "0.5", "1.5", "10", 3, closed=True, rev=9)
CHART: Final = messages.Chart(0, {"1m": [CANDLE, CANDLE], "1h": []})
REPORT: Final = messages.ServiceReport(
    "gateway", "g-1", "1", NOW_MS, NOW_MS, ready=True, ops_port=9090, memory=1, cpu=0.5, figures={"a": 1.0}
)
METRICS: Final = messages.ClusterMetrics(1, 2, 3.0, 0.5, 4, {"x": 1}, [{"gateway": "g", "ready": True}], [{"cpu": 0.1}])


def raw(message: object) -> msgspec.Raw:
    """A message inside a batch."""
    return msgspec.Raw(messages.encode(message))


BUS_CORPUS: Final = (
    b"p" + messages.encode(PRICE),
    b"b" + messages.encode(messages.PriceBatch(1, "e", NOW_MS, {"A": raw(PRICE), "B": raw(PRICE)})),
    b"c" + messages.encode(CANDLE),
    b"h" + messages.encode(CHART),
    b"H" + messages.encode(messages.ChartBatch(1, "e", NOW_MS, {"A": raw(CHART)})),
    b"t" + messages.encode(messages.Trade("1", "A", "0.5", "2", "sell", NOW_MS, "X")),
    b"s"
    + messages.encode(messages.SavedSession(1, "sid", "u", "1-0", {"A": (True, 100)}, {"A": "1-0"}, [("A", "1m")])),
    b"r" + messages.encode_json(REPORT),
    b"m" + messages.encode_json(METRICS),
)
BUS_TOKENS: Final = (
    *(
        b"\xc0",
        b"\xc1",
        b"\xca\x7f\x80\x00\x00",
        b"\xcb\x7f\xf8" + bytes(6),
        b"\xcf" + b"\xff" * 8,
        b"\xd3\x80" + bytes(7),
    ),
    *(
        b"\xdd\xff\xff\xff\xff",
        b"\xdf\xff\xff\xff\xff",
        b"\xdb\xff\xff\xff\xff",
        b"\x91" * 40,
        b"\x81\xa1a" * 20,
        b"\xa1\xff",
    ),
    *(b"[[[[[[[[", b"1e999", b"NaN", b"null", b'"\\ud800"', b"-1", b"9" * 30, b"\xc7\x00\x01", b"\xd4\xff\x00"),
)

TARGETS: Final = {
    "token": Target(fuzz_token, TOKEN_CORPUS, TOKEN_TOKENS),
    "upstream": Target(fuzz_upstream, UPSTREAM_CORPUS, UPSTREAM_TOKENS),
    "bus": Target(fuzz_bus, BUS_CORPUS, BUS_TOKENS),
}


if __name__ == "__main__":
    sys.exit(main(TARGETS, "Fuzz the readers of tokens, upstream entries and messages."))
