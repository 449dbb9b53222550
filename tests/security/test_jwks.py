"""Keys that are fetched: the address is ours alone, the last good set stays, and nobody makes us ask too often."""

import asyncio
import gzip
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec

from shared.identity import AuthError, AuthFailure, AuthSettings, KeySource, TokenVerifier
from shared.identity import key_source as module
from shared.identity.key_source import MAX_DOCUMENT_BYTES, MAX_MISSED, KeyFetchError, Pace
from shared.tasks import TaskGroup
from tests.support.key_server import KeyServer, key_server
from tests.support.token_craft import NOW_MS, SECRET, by_hand, failure, jwk, signed
from tests.support.waiting import eventually

FIRST = ec.generate_private_key(ec.SECP256R1())
SECOND = ec.generate_private_key(ec.SECP256R1())
QUICK = Pace(refresh=60.0, gap=0.05, first=0.01)


@pytest.fixture
async def server() -> AsyncIterator[KeyServer]:
    async with key_server() as made:
        made.answer = made.keys(jwk(FIRST, kid="first"))
        yield made


def opened(server: KeyServer, pace: Pace = QUICK, **settings: Any) -> tuple[KeySource, TokenVerifier]:
    auth = AuthSettings(jwt_jwks_url=server.url, **settings)
    keys = KeySource(auth, pace)
    return keys, TokenVerifier(auth, keys)


def token(private: Any, kid: str | None) -> str:
    return signed(private, "ES256", {} if kid is None else {"kid": kid})


def accepts(verifier: TokenVerifier, text: str) -> bool:
    return verifier.verify(text, NOW_MS).user_id == "ann"


async def test_tokens_of_a_published_key_are_accepted_once_it_is_fetched(server: KeyServer):
    keys, verifier = opened(server)
    assert verifier.has_key
    assert keys.check() is not None
    assert failure(token(FIRST, "first"), verifier) is AuthFailure.KEYS_AWAITED
    await keys.start()
    assert keys.check() is None
    assert accepts(verifier, token(FIRST, "first"))
    assert accepts(verifier, token(FIRST, None))
    assert failure(token(SECOND, "first"), verifier) is AuthFailure.BAD_SIGNATURE


async def test_keys_that_are_not_fetched_need_neither_start_nor_network():
    keys = KeySource(AuthSettings(jwt_secret=SECRET))
    assert keys.check() is None
    async with asyncio.timeout(1):
        await keys.start()
        await keys.run()


async def test_a_gateway_waits_for_its_first_keys(server: KeyServer):
    server.answer = server.body(b"", 503)
    keys, verifier = opened(server)
    async with TaskGroup() as tasks:
        started = tasks.spawn("start", keys.start())
        await eventually(lambda: len(server.asked) > 2, "it asks again")
        assert not started.done()
        assert keys.check() is not None
        server.answer = server.keys(jwk(FIRST, kid="first"))
        await asyncio.wait_for(asyncio.shield(started), 10)
    assert accepts(verifier, token(FIRST, "first"))


@pytest.mark.threat("T19")
async def test_a_new_key_is_fetched_when_a_token_names_it_and_until_then_the_client_may_come_back(server: KeyServer):
    keys, verifier = opened(server)
    await keys.start()
    async with TaskGroup() as tasks:
        tasks.spawn("keys", keys.run())
        server.answer = server.keys(jwk(FIRST, kid="first"), jwk(SECOND, kid="second"))
        reason = failure(token(SECOND, "second"), verifier)
        assert reason is AuthFailure.KEYS_AWAITED
        assert reason.temporary
        await eventually(lambda: keys.check() is None and len(server.asked) > 1, "it asked")

        def is_known() -> bool:
            try:
                return accepts(verifier, token(SECOND, "second"))
            except AuthError:
                return False

        await eventually(is_known, "the new key")
        assert accepts(verifier, token(FIRST, "first"))


@pytest.mark.threat("T19")
async def test_a_key_that_is_still_unknown_after_a_fetch_is_refused_for_good(server: KeyServer):
    keys, verifier = opened(server)
    await keys.start()
    async with TaskGroup() as tasks:
        tasks.spawn("keys", keys.run())
        stranger = token(SECOND, "stranger")
        assert failure(stranger, verifier) is AuthFailure.KEYS_AWAITED
        await eventually(lambda: failure(stranger, verifier), "final", lambda why: why is AuthFailure.UNKNOWN_KEY)
        server.answer = server.keys(jwk(SECOND, kid="stranger"))
        failure(stranger, verifier)
        await eventually(lambda: keys._keys.named("stranger"), "it is published after all")
    assert accepts(verifier, stranger)


@pytest.mark.threat("T19")
async def test_ten_thousand_unknown_keys_make_one_request_at_a_time_and_the_old_keys_serve_on(server: KeyServer):
    keys, verifier = opened(server, Pace(refresh=60.0, gap=0.5, first=0.01))
    await keys.start()
    loop = asyncio.get_running_loop()
    began = loop.time()
    async with TaskGroup() as tasks:
        tasks.spawn("keys", keys.run())
        for number in range(10_000):
            reason = failure(by_hand({"alg": "ES256", "kid": f"k{number}/../?url=http://evil"}, {}), verifier)
            assert reason in {AuthFailure.KEYS_AWAITED, AuthFailure.UNKNOWN_KEY}
            if number % 500 == 0:
                assert accepts(verifier, token(FIRST, "first"))
                await asyncio.sleep(0.01)
        await eventually(lambda: len(server.asked) > 1, "one more request")
        asked, passed = len(server.asked), loop.time() - began
    assert asked <= 2 + passed / 0.5
    assert set(server.asked) == {"/jwks"}, "a claim became part of a request"
    assert len(keys._missed) <= MAX_MISSED
    assert len(keys._absent) <= 2 * MAX_MISSED


async def broken_off(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Length": "1000"})
    await response.prepare(request)
    await response.write(b'{"keys": [')
    assert request.transport is not None
    request.transport.abort()
    return response


async def redirected(request: web.Request) -> web.StreamResponse:
    if request.path == "/jwks":
        raise web.HTTPFound("/other")
    return web.json_response({"keys": [jwk(SECOND, kid="second")]})


FAULTS = {
    "500": KeyServer.body(b"", 500),
    "404": KeyServer.body(b"gone", 404),
    "redirect": redirected,
    "no JSON": KeyServer.body(b"<html>"),
    "empty": KeyServer.body(b""),
    "no keys": KeyServer.keys(),
    "only symmetric": KeyServer.keys({"kty": "oct", "kid": "first", "k": "A" * 64}),
    "deep": KeyServer.body(b"[" * 60_000),
    "huge": KeyServer.body(b" " * MAX_DOCUMENT_BYTES + json.dumps({"keys": [jwk(SECOND, kid="second")]}).encode()),
    "bomb": KeyServer.body(gzip.compress(b" " * 10_000_000), encoding="gzip"),
    "broken off": broken_off,
}


@pytest.mark.threat("T19")
@pytest.mark.parametrize("fault", FAULTS)
async def test_whatever_a_fetch_brings_the_last_good_keys_stay(server: KeyServer, fault: str):
    keys, verifier = opened(server)
    await keys.start()
    server.answer = FAULTS[fault]
    assert not await keys._refresh()
    assert keys.failures == 1
    assert keys.check() is None
    assert accepts(verifier, token(FIRST, "first"))
    assert failure(token(SECOND, "second"), verifier) is AuthFailure.KEYS_AWAITED, "a later fetch may bring it"
    assert set(server.asked) == {"/jwks"}, "it went where it was sent"
    server.answer = server.keys(jwk(SECOND, kid="second"))
    assert await keys._refresh()
    assert keys.failures == 0
    assert accepts(verifier, token(SECOND, "second"))


@pytest.mark.threat("T19")
@pytest.mark.parametrize(
    ("fault", "said"),
    [("redirect", "answered 302"), ("huge", "more than 65536 bytes"), ("bomb", "Content-Encoding"), ("500", "500")],
)
async def test_a_fetch_that_fails_says_why(server: KeyServer, fault: str, said: str):
    server.answer = FAULTS[fault]
    with pytest.raises(KeyFetchError, match=said):
        await module._fetch(server.url)


@pytest.mark.threat("T19")
async def test_a_server_that_does_not_answer_is_given_up(server: KeyServer, monkeypatch: pytest.MonkeyPatch):
    async def hang(_request: web.Request) -> web.StreamResponse:
        await asyncio.Event().wait()
        raise AssertionError

    keys, verifier = opened(server)
    await keys.start()
    server.answer = hang
    monkeypatch.setattr(module, "_TIMEOUT", aiohttp.ClientTimeout(total=0.2))
    async with asyncio.timeout(10):
        assert not await keys._refresh()
    assert accepts(verifier, token(FIRST, "first"))


@pytest.mark.threat("T19")
async def test_a_proxy_of_the_environment_is_not_asked(server: KeyServer, monkeypatch: pytest.MonkeyPatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    keys, _ = opened(server)
    async with asyncio.timeout(10):
        await keys.start()
    assert "Cookie" not in server.headers[0]
    assert "Authorization" not in server.headers[0]


@pytest.mark.threat("T19")
async def test_failures_are_told_seldom_and_without_the_query_of_the_address(
    server: KeyServer, capsys: pytest.CaptureFixture[str]
):
    server.url += "?key=hunter2"
    keys, _ = opened(server)
    server.answer = server.body(b"", 500)
    for _ in range(5):
        assert not await keys._refresh()
    said = capsys.readouterr()
    said_all = said.out + said.err
    assert said_all.count("keys_not_fetched") == 1
    assert "hunter2" not in said_all
    assert server.asked[0] == "/jwks?key=hunter2"


@pytest.mark.threat("T15", "T19")
async def test_a_symmetric_key_that_is_published_signs_nothing(server: KeyServer):
    published = {"kty": "oct", "kid": "sym", "k": "A" * 64, "alg": "HS256"}
    server.answer = server.keys(published, jwk(FIRST, kid="first"))
    keys, verifier = opened(server)
    await keys.start()
    forged = by_hand({"alg": "HS256", "kid": "sym"}, {"sub": "ann", "exp": NOW_MS // 1000 + 60}, b"\0" * 48)
    assert failure(forged, verifier) is AuthFailure.KEYS_AWAITED
    assert failure(by_hand({"alg": "HS256", "kid": "first"}, {}), verifier) is AuthFailure.WRONG_ALGORITHM
    assert failure(by_hand({"alg": "HS256"}, {}), verifier) is AuthFailure.WRONG_ALGORITHM


async def test_keys_are_fetched_again_after_a_while_without_being_asked_for(server: KeyServer):
    keys, verifier = opened(server, Pace(refresh=0.1, gap=0.05, first=0.01))
    await keys.start()
    async with TaskGroup() as tasks:
        tasks.spawn("keys", keys.run())
        server.answer = server.keys(jwk(SECOND, kid="second"))
        await eventually(lambda: keys._keys.named("second"), "the new set")
    assert accepts(verifier, token(SECOND, "second"))
    assert failure(token(FIRST, "first"), verifier) is AuthFailure.KEYS_AWAITED
