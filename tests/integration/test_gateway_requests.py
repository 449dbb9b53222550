"""Wrong requests and wrong tokens at a real gateway: the documented answer, the client stays, nobody else notices."""

import asyncio
import base64
import hmac
import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import jwt
import pytest
import pytest_asyncio
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from services.launcher.embedded_valkey import EmbeddedValkey
from shared.clock import SystemClock
from shared.names import error_codes
from shared.names.error_codes import ErrorCode
from tests.support.bystander import beside
from tests.support.cluster import ISSUED, SECRET, Cluster, Service, token
from tests.support.wire_client import connect
from tests.support.wire_socket import WireSocket, joined

NOW_S = SystemClock().now_ms() // 1000
CLAIMS = {"sub": "ann", "exp": NOW_S + 3600}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cluster(module_cluster: Cluster) -> Cluster:
    await module_cluster.start("gateway", "price-ingest", MAX_SUBSCRIPTIONS="60")
    return module_cluster


class Wrong(NamedTuple):
    """An event and the error that it gets; `facts` are further fields of it."""

    name: str
    event: list[Any]
    error: ErrorCode
    facts: Mapping[str, Any] = MappingProxyType({})


BAD = error_codes.BAD_ARGUMENT
INVALID = error_codes.INVALID_SYMBOL
SYMBOL = {"field": "symbol"}

WRONG = [
    Wrong("an unknown event", ["no:such:event", 1, {"a": [None]}], error_codes.UNKNOWN_EVENT),
    Wrong("an event of ours that only the server emits", ["price:update", {}], error_codes.UNKNOWN_EVENT),
    Wrong("a number as the event", [5], error_codes.UNKNOWN_EVENT),
    Wrong("a long event name", ["x" * 10_000], error_codes.UNKNOWN_EVENT, {"event": "x" * 64}),
    Wrong("an event name in another alphabet", ["abonnieren:über"], error_codes.UNKNOWN_EVENT),
    Wrong("no symbol", ["subscribe:price"], BAD, SYMBOL),
    Wrong("null", ["subscribe:price", None], BAD, SYMBOL),
    Wrong("a number", ["subscribe:trades", 64000.1], BAD, SYMBOL),
    Wrong("a boolean", ["unsubscribe:price", True], BAD, SYMBOL),
    Wrong("an object", ["unsubscribe:trades", {"symbol": "BTC-USDT"}], BAD, SYMBOL),
    Wrong("an empty array", ["subscribe:price", []], BAD, SYMBOL),
    Wrong("an array too long", ["subscribe:price", ["A"] * 51], error_codes.TOO_MANY_ITEMS,
          {"limit": 50, "actual": 51}),
    Wrong("a huge symbol", ["subscribe:price", "x" * 10_000], INVALID),
    Wrong("a symbol of 33", ["subscribe:trades", "x" * 33], INVALID),
    Wrong("no characters", ["subscribe:price", ""], INVALID),
    Wrong("a pattern", ["subscribe:price", "*"], INVALID),
    Wrong("a symbol with a line end", ["subscribe:price", "BTC-USDT\n"], INVALID),
    Wrong("a symbol with a NUL", ["subscribe:trades", "BTC\0USDT"], INVALID),
    Wrong("a symbol in another alphabet", ["subscribe:trades", "\u0412\u0422\u0421"], INVALID),
    Wrong("options that are none", ["subscribe:price", "BTC-USDT", "batch"], BAD, {"field": "opts"}),
    Wrong("an unknown option", ["subscribe:price", "BTC-USDT", {"speed": 1}], BAD, {"field": "speed"}),
    Wrong("another delivery", ["subscribe:price", "BTC-USDT", {"deliver": "pigeon"}], BAD, {"field": "deliver"}),
    Wrong("a delivery that is a list", ["subscribe:price", "BTC-USDT", {"deliver": ["batch"]}], BAD,
          {"field": "deliver"}),
    Wrong("no rate at all", ["subscribe:price", "BTC-USDT", {"max_hz": 0}], BAD, {"field": "max_hz"}),
    Wrong("a rate below none", ["subscribe:price", "BTC-USDT", {"max_hz": -1}], BAD, {"field": "max_hz"}),
    Wrong("a rate in words", ["subscribe:price", "BTC-USDT", {"max_hz": "fast"}], BAD, {"field": "max_hz"}),
    Wrong("a yes as rate", ["subscribe:price", "BTC-USDT", {"max_hz": True}], BAD, {"field": "max_hz"}),
    Wrong("a resync of what is not subscribed", ["resync:price", "BTC-USDT"], error_codes.NOT_SUBSCRIBED),
    Wrong("a resync of many", ["resync:price", ["BTC-USDT"]], INVALID),
    Wrong("the admins' room", ["subscribe:metrics"], error_codes.NOT_ALLOWED),
    Wrong("a token that is a number", ["authenticate", 7], BAD, {"field": "token"}),
    Wrong("no token", ["authenticate"], BAD, {"field": "token"}),
    Wrong("a token too long", ["authenticate", "x" * 5000], error_codes.AUTHENTICATION_FAILED, {"reason": "too_long"}),
]  # fmt: skip


@pytest.mark.parametrize("parser", ["json", "msgpack"])
@pytest.mark.parametrize("wrong", WRONG, ids=lambda wrong: wrong.name)
async def test_a_wrong_request_is_answered_and_the_client_stays(
    gateway: Service, valkey: EmbeddedValkey, wrong: Wrong, parser: str
) -> None:
    async with beside(gateway.port, valkey.url), joined(gateway.port, is_binary=parser == "msgpack") as socket:
        answer = await socket.call(*wrong.event)
        assert answer["ok"] is False
        expected = {"code": wrong.error.code, "message": wrong.error.message, **wrong.facts}
        assert expected.items() <= answer["error"].items()
        socket.emit(*wrong.event)
        (error,) = await socket.next("error")
        assert (error["code"], error["event"]) == (wrong.error.code, str(wrong.event[0])[:64])
        assert (await socket.call("subscribe:trades", "BTC-USDT"))["ok"] is True


async def test_a_client_has_a_limit_of_subscriptions_of_both_kinds_together(gateway: Service) -> None:
    async with joined(gateway.port) as socket:
        first = await socket.call("subscribe:price", [f"P{number}" for number in range(50)])
        assert all(item["ok"] for item in first["results"])
        second = await socket.call("subscribe:trades", [f"T{number}" for number in range(12)])
        assert [item["ok"] for item in second["results"]] == [True] * 10 + [False] * 2
        assert second["results"][-1]["error"]["code"] == error_codes.SUBSCRIPTION_LIMIT.code
        assert (await socket.call("subscribe:price", "P7"))["ok"] is True, "what it has counts once"
        await socket.call("unsubscribe:price", "P0")
        assert (await socket.call("subscribe:trades", "T11"))["ok"] is True


def signed(claims: dict[str, Any], header: dict[str, Any] | None = None, secret: bytes = SECRET.encode()) -> str:
    """A token made by hand: HMAC-SHA256 whatever its header says."""
    parts = [json.dumps(part).encode() for part in (header or {"alg": "HS256", "typ": "JWT"}, claims)]
    body = b".".join(base64.urlsafe_b64encode(part).rstrip(b"=") for part in parts)
    signature = base64.urlsafe_b64encode(hmac.digest(secret, body, "sha256")).rstrip(b"=")
    return (body + b"." + signature).decode()


def unsigned(claims: dict[str, Any]) -> str:
    return signed(claims, {"alg": "none", "typ": "JWT"}).rpartition(".")[0] + "."


TOKENS = {
    "no token at all": ("not a token", "malformed"),
    "an empty one": ("", "malformed"),
    "three dots": ("a.b.c", "malformed"),
    "another secret": (signed(CLAIMS, secret=b"another secret that is long enough"), "bad_signature"),
    "claims of another token": (f"{signed(CLAIMS)[:-43]}{signed({**CLAIMS, 'sub': 'bob'})[-43:]}", "bad_signature"),
    "an expired one": (signed({**CLAIMS, "exp": NOW_S - 60}), "expired"),
    "one of tomorrow": (signed({**CLAIMS, "nbf": NOW_S + 3600}), "not_yet_valid"),
    "no expiry": (signed({"sub": "ann"}), "missing_claim"),
    "no subject": (signed({"exp": NOW_S + 60}), "missing_claim"),
    "a subject that is a number": (signed({**CLAIMS, "sub": 7}), "bad_claim"),
    "an expiry in words": (signed({**CLAIMS, "exp": "tomorrow"}), "bad_claim"),
    "alg none": (unsigned(CLAIMS), "wrong_algorithm"),
    "alg None in capitals": (signed(CLAIMS, {"alg": "NONE"}), "wrong_algorithm"),
    "HS512": (jwt.encode(CLAIMS, SECRET.ljust(64, "!"), algorithm="HS512"), "wrong_algorithm"),
    "RS256": (signed(CLAIMS, {"alg": "RS256", "typ": "JWT"}), "wrong_algorithm"),
    "an algorithm that is a list": (signed(CLAIMS, {"alg": ["HS256"]}), None),
    "too long": (signed({**CLAIMS, "more": "x" * 4000}), "too_long"),
    "a number": (7, "malformed"),
    "an object": ({"token": signed(CLAIMS)}, "malformed"),
}


@pytest.mark.parametrize(("sent", "reason"), TOKENS.values(), ids=TOKENS.keys())
async def test_a_bad_token_is_refused_at_connect_and_later(
    gateway: Service, valkey: EmbeddedValkey, sent: object, reason: str | None
) -> None:
    async with beside(gateway.port, valkey.url):
        async with await connect(gateway.port) as client:
            socket = WireSocket(client)
            socket.join({"token": sent})
            refusal = json.loads((await socket.next_text("44"))[2:])
            assert refusal["message"] == "Authentication failed"
            assert reason in (None, refusal["data"]["reason"])
            socket.join({"token": signed(CLAIMS)})  # the transport stays: it may try again
            await socket.next("authenticated")
        if isinstance(sent, str):
            async with joined(gateway.port) as socket:
                answer = await socket.call("authenticate", sent)
                assert (answer["ok"], answer["error"]["message"]) == (False, "Authentication failed")


async def test_a_public_key_is_no_shared_secret(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> None:
    """The RS256 to HS256 trick: sign with the public key's text, which everybody has."""
    private = rsa.generate_private_key(public_exponent=65_537, key_size=2048)
    public = private.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    path = tmp_path_factory.mktemp("key") / "public.pem"
    path.write_bytes(public)
    gateway = await cluster.start("gateway", JWT_SECRET="", JWT_PUBLIC_KEY_FILE=str(path))
    async with joined(gateway.port) as socket:
        answer = await socket.call("authenticate", signed(CLAIMS, secret=public))
        assert answer["error"]["reason"] == "wrong_algorithm"
        answer = await socket.call("authenticate", jwt.encode(CLAIMS, private, algorithm="RS256"))
        assert (answer["ok"], answer["sub"]) == (True, "ann")


async def test_where_a_token_is_required_nobody_gets_in_without(cluster: Cluster) -> None:
    gateway = await cluster.start("gateway", AUTH_MODE="required", **ISSUED)
    async with await connect(gateway.port) as client:
        socket = WireSocket(client)
        socket.join()
        assert json.loads((await socket.next_text("44"))[2:])["message"] == "Authentication required"
        socket.join({"token": token(now_ms=SystemClock().now_ms(), issued=True)})
        await socket.next("authenticated")


@pytest.mark.parametrize("parser", ["json", "msgpack"])
async def test_a_flood_of_one_event_is_refused_with_few_errors(
    gateway: Service, valkey: EmbeddedValkey, parser: str
) -> None:
    async with beside(gateway.port, valkey.url), joined(gateway.port, is_binary=parser == "msgpack") as socket:
        for _ in range(180):
            socket.emit("unsubscribe:price", "BTC-USDT")
        assert (await socket.call("subscribe:trades", "BTC-USDT"))["ok"] is True, "another event has its own limit"
        errors = [event[1] for event in socket.events if event[0] == "error"]
        assert {error["message"] for error in errors} == {"Rate limit exceeded"}
        assert all(error["retry_after_ms"] > 0 for error in errors)
        assert len(errors) <= 60, "as many as the error events' own limit lets through"


async def test_a_flood_with_acks_gets_an_answer_to_each(gateway: Service) -> None:
    async with joined(gateway.port) as socket:
        answers = await socket.call_at_once(*[("unsubscribe:price", "BTC-USDT")] * 70)
        refused = [answer for answer in answers if not answer["ok"]]
        assert answers[0]["ok"] is True
        assert {answer["error"]["code"] for answer in refused} == {error_codes.RATE_LIMITED.code}
        await asyncio.sleep(refused[-1]["error"]["retry_after_ms"] / 1000)  # what the answer says to wait
        assert (await socket.call("unsubscribe:price", "BTC-USDT"))["ok"] is True


async def test_authenticating_again_and_again_is_limited_first(gateway: Service) -> None:
    async with joined(gateway.port) as socket:
        answers = await socket.call_at_once(*[("authenticate", "guess")] * 15)
        messages = [answer["error"]["message"] for answer in answers]
        assert messages[0] == "Authentication failed"
        assert messages[-1] == "Rate limit exceeded"
