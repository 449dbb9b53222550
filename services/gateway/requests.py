"""One event of a client while it is answered: arguments read with suspicion, exactly one ack or error event."""

from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from protocol.socketio.happenings import EventReceived
from protocol.socketio.packets import Value
from services.gateway.client import Client
from services.gateway.payloads import Payload, error_payload
from shared.names import error_codes
from shared.names.error_codes import ErrorCode
from shared.names.events import NAMESPACE, ServerEvent
from shared.symbols import is_symbol

SHOWN_NAME_LENGTH: Final = 64


class RequestError(Exception):
    """A request, or one item of it, that fails: what the client is told."""

    def __init__(self, error: ErrorCode, **facts: Value) -> None:
        super().__init__(error.message)
        self.error = error
        self.payload = error_payload(error, **facts)


class Lost(NamedTuple):
    """A subscription that ended because its client's token changed: the event that had asked for it, and why.

    `symbol` is None for the one that has none, `subscribe:metrics`.
    """

    event: str
    symbol: str | None
    error: ErrorCode = error_codes.SYMBOL_NOT_GRANTED

    @property
    def name(self) -> dict[str, Value]:
        """What of it clients are told, beside the error."""
        return {"event": self.event} if self.symbol is None else {"event": self.event, "symbol": self.symbol}


class Request:
    """One event and its answer.

    Args:
        client: who sent it.
        received: what it sent.
        count_error: gets the code of every error that is told.
    """

    __slots__ = ("_count_error", "_received", "client", "event")

    def __init__(self, client: Client, received: EventReceived, count_error: Callable[[ErrorCode], None]) -> None:
        self.client = client
        self._received = received
        self._count_error = count_error
        self.event = str(received.name)[:SHOWN_NAME_LENGTH]

    @property
    def wants_ack(self) -> bool:
        """Whether the client asked for an answer."""
        return self._received.ack_id is not None

    def succeed(self, fields: Payload) -> None:
        """Answer `{ok: true, ...}`."""
        self.client.acknowledge(self._received, {"ok": True, **fields})

    def succeed_spliced(self, body: bytes) -> None:
        """Answer with an object that the client's parser has already written: `{ok: true, ...}`."""
        self.client.acknowledge_spliced(self._received, body)

    def fail(self, failure: RequestError) -> None:
        """Answer `{ok: false, error}`, or send an `error` event where no answer was asked for."""
        self._count_error(failure.error)
        if self.wants_ack:
            self.client.acknowledge(self._received, {"ok": False, "error": failure.payload})
        else:
            self.client.emit(NAMESPACE, ServerEvent.ERROR, {**failure.payload, "event": self.event})

    def answer_items(self, results: list[Payload]) -> None:
        """Answer a request with a verdict for each item; without an ack, failed items become `error` events."""
        if self.wants_ack:
            self.client.acknowledge(self._received, {"ok": True, "results": results})
            return
        for result in results:
            failure = result.get("error")
            if isinstance(failure, dict):
                self.client.emit(
                    NAMESPACE, ServerEvent.ERROR, {**failure, "event": self.event, "symbol": result["symbol"]}
                )

    def count_item_error(self, error: ErrorCode) -> None:
        """One item failed."""
        self._count_error(error)

    def argument(self, index: int) -> Value:
        """An argument, None where there is none."""
        args = self._received.args
        return args[index] if index < len(args) else None

    def text(self, index: int, field: str) -> str:
        """A text argument.

        Raises:
            RequestError: it is missing or no text.
        """
        value = self.argument(index)
        if not isinstance(value, str):
            raise RequestError(error_codes.BAD_ARGUMENT, field=field, expected="a string")
        return value

    def options(self, index: int, known: frozenset[str]) -> Mapping[str, Value]:
        """An options object, empty where there is none.

        Raises:
            RequestError: it is no object, or has an unknown key.
        """
        value = self.argument(index)
        if value is None:
            return {}
        if not isinstance(value, Mapping):
            raise RequestError(error_codes.BAD_ARGUMENT, field="opts", expected="an object")
        unknown = sorted(key for key in value if key not in known)
        if unknown:
            names = ", ".join(sorted(known))
            field = unknown[0][:SHOWN_NAME_LENGTH]
            raise RequestError(error_codes.BAD_ARGUMENT, field=field, expected=f"one of {names}")
        return value

    def symbols(self, limit: int) -> tuple[list[Value], bool]:
        """The first argument as items to check one by one, and whether it was an array.

        Raises:
            RequestError: it is neither a text nor an array of 1 to `limit` items.
        """
        value = self.argument(0)
        if isinstance(value, str):
            return [value], False
        if not isinstance(value, list) or not value:
            raise RequestError(error_codes.BAD_ARGUMENT, field="symbol", expected="a string or an array of strings")
        if len(value) > limit:
            raise RequestError(error_codes.TOO_MANY_ITEMS, limit=limit, actual=len(value))
        return value, True


def check_room_for_one(subscriptions: int, limit: int) -> None:
    """One more subscription of a client that has so many.

    Raises:
        RequestError: it may not have more.
    """
    if subscriptions >= limit:
        raise RequestError(error_codes.SUBSCRIPTION_LIMIT, limit=limit)


def check_symbol(value: Value) -> str:
    """A symbol out of an item.

    Raises:
        RequestError: it is none.
    """
    if not isinstance(value, str) or not is_symbol(value):
        raise RequestError(error_codes.INVALID_SYMBOL)
    return value


def shown_symbol(value: Value) -> Value:
    """What of a refused item is echoed."""
    return value[:SHOWN_NAME_LENGTH] if isinstance(value, str) else None
