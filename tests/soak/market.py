"""What is published in a soak: prices and trades of different symbols: a price is then always the time it left."""

from typing import Final

from services.launcher.load.scenario import SYMBOL_PREFIX

SYMBOLS: Final = 100
SYMBOLS_EACH: Final = 10
TICKS_PER_S: Final = 500.0
TRADES_PER_S: Final = 50.0
PRICED: Final = [f"{SYMBOL_PREFIX}{number:05}" for number in range(SYMBOLS)]
TRADED: Final = [f"SOAK-{number:05}" for number in range(SYMBOLS)]


def share(names: list[str], client: int) -> list[str]:
    """Those of one client; together they spread evenly."""
    first = client * SYMBOLS_EACH
    return [names[(first + offset) % len(names)] for offset in range(SYMBOLS_EACH)]
