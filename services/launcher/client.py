"""A stock Socket.IO client that stays connected: python-socketio over WebSocket. The only file that imports it.

Fed by a gateway, as any browser would be; feeds the board and `tickwire watch`. Its own reconnection is not used: it
neither says why a try failed nor goes to another gateway.
"""

import asyncio
import itertools
import json
import logging
import os
import random
from collections.abc import Awaitable, Callable, Sequence
from decimal import Decimal
from functools import partial
from types import SimpleNamespace
from typing import Any, Final, Protocol

import aiohttp

from services.launcher.errors import LauncherError
from shared.backoff import Backoff
from shared.names import error_codes

try:
    import socketio
except ImportError as missing:  # only `tickwire[local]` has it
    raise LauncherError(
        "the Socket.IO client is not installed", "pip install 'tickwire[local]'; or use --plain --feed none"
    ) from missing

CONNECT_S: Final = 5
ANSWER_S: Final = 5
_CLOSE_S: Final = 1.0
_STEADY_S: Final = 5.0
_FATAL: Final = frozenset({error_codes.AUTHENTICATION_FAILED.message, error_codes.AUTHENTICATION_REQUIRED.message})

_quiet = logging.getLogger("tickwire.client")
_quiet.addHandler(logging.NullHandler())
_quiet.propagate = False  # the library tells its log what it also raises

Ask = Callable[[str, object], Awaitable[dict[str, Any]]]
"""Sends an event with one argument and returns its ack; raises `LinkError`."""


class LinkError(Exception):
    """The connection could not be made, or ended. It is tried again."""


class RefusedError(Exception):
    """The gateway will not have us, and would not the next time either: what it said."""


class Listener(Protocol):
    """Whom the client tells."""

    async def opened(self, url: str, ask: Ask) -> None:
        """Connected: subscribe now. May raise `LinkError` as `ask` does."""

    def received(self, event: str, arguments: Sequence[Any]) -> None:
        """An event. Must not raise: the library would swallow it."""

    def lost(self, url: str, why: str) -> None:
        """Not connected any more, or still not. The next try follows within seconds."""


class GatewayClient:
    """One client.

    Args:
        urls: of the gateways, tried in turn.
        listener: is told what happens.
        token: sent with CONNECT; empty for none.
        msgpack: speak the msgpack parser's format; else JSON, with every decimal exactly as the server wrote it.
    """

    def __init__(self, urls: Sequence[str], listener: Listener, *, token: str = "", msgpack: bool = False) -> None:
        self._urls = urls
        self._listener = listener
        self._auth = {"token": token} if token else None
        self._serializer = "msgpack" if msgpack else _ExactPacket
        self._failure = ""

    async def run(self) -> None:
        """Work until cancelled.

        Raises:
            RefusedError: the token is wrong, or one is needed.
        """
        backoff = Backoff(base=0.2, cap=2.0, random=random.random)
        loop = asyncio.get_running_loop()
        async with aiohttp.ClientSession(trace_configs=[self._trace()]) as http:
            for url in itertools.cycle(self._urls):
                began = loop.time()
                try:
                    await self._connected(url, http)
                except LinkError as error:
                    self._listener.lost(url, str(error))
                if loop.time() - began > _STEADY_S:
                    backoff.reset()
                await asyncio.sleep(backoff.next_delay())

    async def _connected(self, url: str, http: aiohttp.ClientSession) -> None:
        """Connect, serve until the connection ends, and say why it did."""
        said: list[Any] = []
        client = socketio.AsyncClient(
            reconnection=False,
            serializer=self._serializer,
            handle_sigint=False,
            logger=_quiet,
            engineio_logger=_quiet,
            http_session=http,
        )
        client.on("*", lambda event, *arguments: self._listener.received(event, arguments))
        client.on("connect_error", lambda *reasons: said.extend(reasons))
        try:
            await self._connect(client, url, said)
            await self._listener.opened(url, partial(_ask, client))
            await client.eio.wait()
            raise LinkError("the gateway closed the connection")
        finally:
            await _close(client)

    async def _connect(self, client: Any, url: str, said: list[Any]) -> None:  # noqa: ANN401 - untyped library
        self._failure = ""
        try:
            await client.connect(url, auth=self._auth, transports=["websocket"], wait_timeout=CONNECT_S)
        except socketio.exceptions.ConnectionError as error:
            message = _message(said)
            if message in _FATAL:
                raise RefusedError(message) from error
            raise LinkError(self._failure or message or str(error)) from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise LinkError(str(error)) from error

    def _trace(self) -> aiohttp.TraceConfig:
        """Keep what the library drops: why a connection failed, or which HTTP status refused it."""
        trace = aiohttp.TraceConfig()

        async def failed(_session: object, _context: object, facts: aiohttp.TraceRequestExceptionParams) -> None:
            self._failure = _cause(facts.exception)

        async def ended(_session: object, _context: object, facts: aiohttp.TraceRequestEndParams) -> None:
            if facts.response.status != 101:  # noqa: PLR2004 - Switching Protocols
                self._failure = f"refused with HTTP {facts.response.status} {facts.response.reason or ''}".rstrip()

        trace.on_request_exception.append(failed)
        trace.on_request_end.append(ended)
        return trace


def price_text(value: object) -> str:
    """A price as it came, without an exponent: Decimal or int (JSON), float (msgpack), str (`DECIMALS=string`)."""
    if isinstance(value, float):
        value = Decimal(repr(value))
    return format(value, "f") if isinstance(value, Decimal) else str(value)


class _ExactPacket(socketio.packet.Packet):  # type: ignore[misc]  # untyped library
    """The JSON packet, with decimals that keep their digits: 64000.10 does not become 64000.1."""

    json = SimpleNamespace(dumps=json.dumps, loads=partial(json.loads, parse_float=Decimal))


async def _ask(client: Any, event: str, argument: object) -> dict[str, Any]:  # noqa: ANN401 - untyped library
    try:
        answer = await client.call(event, argument, timeout=ANSWER_S)
    except socketio.exceptions.TimeoutError:
        raise LinkError(f"no answer to {event} within {ANSWER_S} s") from None
    except socketio.exceptions.SocketIOError as error:
        raise LinkError(str(error)) from error
    if not isinstance(answer, dict):
        raise LinkError(f"an answer to {event} that is no object")
    return answer


async def _close(client: Any) -> None:  # noqa: ANN401 - untyped library
    try:
        async with asyncio.timeout(_CLOSE_S):
            await client.disconnect()
    except (TimeoutError, socketio.exceptions.SocketIOError, aiohttp.ClientError, OSError) as error:
        _quiet.debug("close failed: %s", error)


def _cause(error: BaseException) -> str:
    """The system's own words where it has some: `Connection refused`."""
    cause = getattr(error, "os_error", error)
    number = getattr(cause, "errno", None)
    if isinstance(number, int) and number > 0:
        return os.strerror(number)
    return getattr(cause, "strerror", None) or str(cause)


def _message(said: Sequence[Any]) -> str:
    """CONNECT_ERROR carries an object with a `message`; a failed transport, a text."""
    first = said[0] if said else ""
    return str(first.get("message", "")) if isinstance(first, dict) else str(first)
