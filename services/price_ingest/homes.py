"""Which unit a symbol is at home in: the one that first met it, for ever. So each `seq` has one writer.

One `Homes` serves all pipelines of a replica. What it knows stays true as long as the epoch stands, and every commit
compares that; where Redis lost its data, `load` begins anew.
"""

from shared.bus.entries import is_text
from shared.bus.redis_bus import RedisBus
from shared.lease import Lease
from shared.names import redis_keys


class Homes:
    """Symbol -> unit, as far as this replica has met them.

    Args:
        bus: where `redis_keys.PRICE_HOMES` lives.
        max_symbols: `PRICE_MAX_SYMBOLS`, over all units.
    """

    def __init__(self, bus: RedisBus, max_symbols: int) -> None:
        self._bus = bus
        self._max_symbols = max_symbols
        self.known: dict[str, int] = {}

    async def load(self) -> None:
        """Read all homes anew."""
        found = await self._bus.hash_all(redis_keys.PRICE_HOMES)
        sound = ((symbol, unit) for symbol, unit in found.items() if is_text(symbol) and unit.isdigit())
        self.known = {symbol.decode(): int(unit) for symbol, unit in sound}

    def of_unit(self, unit: int) -> set[str]:
        """The symbols that are at home in a unit."""
        return {symbol for symbol, home in self.known.items() if home == unit}

    async def claim(self, unit: int, lease: Lease, epoch: str, symbols: set[str]) -> None:
        """Learn the homes of symbols, and make them this unit's where they have none and there is room.

        Raises:
            FencedError: the lease or the epoch is another's; nothing was claimed.
        """
        wanted = sorted(symbols)
        keys = [lease.key, redis_keys.PRICE_EPOCH, redis_keys.PRICE_HOMES, redis_keys.PRICE_POSITIONS]
        args: list[str | int] = [lease.stamp, epoch, unit, redis_keys.price_forward(unit), self._max_symbols, *wanted]
        homes = await self._bus.run_script("claim_homes", keys, args)
        self.known.update((symbol, int(home)) for symbol, home in zip(wanted, homes, strict=True) if home)
