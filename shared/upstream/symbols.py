"""What an upstream's symbol is called here: aliases first, then the template. Fed by `UpstreamSettings`. Pure."""

import string
from collections.abc import Mapping, Sequence
from typing import Final, Self

from shared.symbols import is_symbol

SYMBOL: Final = "symbol"
VENUE: Final = "venue"


class SymbolNames:
    """Renames symbols; the same in every service that reads upstreams, or prices and trades would not meet.

    Args:
        template: made of literal text, `{symbol}` and, if wanted, `{venue}`.
        aliases: upstream's symbol -> the name that `template` gets.
    """

    def __init__(self, template: str, aliases: Mapping[str, str]) -> None:
        self._template = template
        self._aliases = dict(aliases)
        self.needs_venue = f"{{{VENUE}}}" in template

    @classmethod
    def made_from(cls, template: str, pairs: Sequence[str]) -> Self | None:
        """From checked settings; None where every symbol keeps its name."""
        if template == f"{{{SYMBOL}}}" and not pairs:
            return None
        return cls(template, dict(split_alias(pair) for pair in pairs))

    def rename(self, symbol: str, venue: str | None) -> str:
        """The name here; the caller checks that it can be one, and that there is a venue where one is needed."""
        return self._template.format(symbol=self._aliases.get(symbol, symbol), venue=venue)


def split_alias(pair: str) -> tuple[str, str]:
    """`XBT-USD=BTC-USD` as upstream's and our name."""
    theirs, _, ours = pair.partition("=")
    return theirs.strip(), ours.strip()


def template_problem(template: str) -> str | None:
    """What is wrong with a template, if anything."""
    try:
        parts = [part for part in string.Formatter().parse(template) if part[1] is not None]
    except ValueError as error:
        return str(error)
    names = [name for _, name, _, _ in parts]
    if any(name not in (SYMBOL, VENUE) or spec or conversion for _, name, spec, conversion in parts):
        return "only {symbol} and {venue} may stand in braces"
    if SYMBOL not in names:
        return "{symbol} is missing"
    if not is_symbol(template.format(symbol="S", venue="V")):
        return "what it makes is no symbol: letters, digits and . _ : / - only"
    return None
