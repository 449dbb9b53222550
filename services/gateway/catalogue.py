"""Which symbols a client may name: those that there are, as far as `SYMBOLS` says so, and that its token grants.

Asked before anything is kept for a symbol, so names that do not exist cost nothing. Fed by price-ingest's hash of the
symbols that it numbers.
"""

import asyncio
from collections.abc import Sequence
from typing import Final

from services.gateway.requests import RequestError
from shared.bus.redis_bus import RedisBus
from shared.bus.retrying import keep_trying
from shared.log import get_logger
from shared.names import error_codes, redis_keys
from shared.rights import Rights, SymbolPatterns

log = get_logger(__name__)

KNOWN: Final = "known"
"""The value of `SYMBOLS` that asks price-ingest."""

LOOK_S: Final = 1.0


class Catalogue:
    """The symbols of a gateway.

    Args:
        bus: has the known symbols.
        symbols: patterns of what there is; `known` alone: what has ever had a price; nothing: any symbol.
    """

    def __init__(self, bus: RedisBus, symbols: Sequence[str]) -> None:
        self._bus = bus
        self._asks = tuple(symbols) == (KNOWN,)
        self._patterns = None if self._asks or not symbols else SymbolPatterns(tuple(symbols))
        self._known: frozenset[bytes] = frozenset()

    def check(self, symbol: str, rights: Rights) -> None:
        """A well-formed symbol is about to be subscribed.

        Raises:
            RequestError: it is not granted, or does not exist; in this order, so that nobody learns of what is not
                granted.
        """
        if not rights.allows(symbol):
            raise RequestError(error_codes.SYMBOL_NOT_GRANTED, symbol=symbol)
        if (self._asks and symbol.encode() not in self._known) or (
            self._patterns is not None and not self._patterns.match(symbol)
        ):
            raise RequestError(error_codes.UNKNOWN_SYMBOL, symbol=symbol)

    async def start(self) -> None:
        """Read what there is, so that nobody is refused for asking early."""
        if self._asks:
            await keep_trying("catalogue-start", self._read)

    async def run(self) -> None:
        """Follow what price-ingest comes to know, until cancelled."""
        if self._asks:
            await keep_trying("catalogue", self._follow)

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            if await self._bus.hash_length(redis_keys.PRICE_HOMES) != len(self._known):
                await self._read()

    async def _read(self) -> None:
        self._known = frozenset(await self._bus.hash_all(redis_keys.PRICE_HOMES))
        log.info("catalogue_read", symbols=len(self._known))
