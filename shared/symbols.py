"""What a symbol may look like, for clients and upstreams alike."""

import re
from typing import Final

MAX_SYMBOL_LENGTH: Final = 32

_SYMBOL = re.compile(r"[A-Za-z0-9._:/-]{1,32}")


def is_symbol(text: str) -> bool:
    """Whether `text` is 1 to 32 of `A-Z a-z 0-9 . _ : / -`."""
    return _SYMBOL.fullmatch(text) is not None
