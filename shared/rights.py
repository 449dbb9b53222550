"""What a token grants beside a name."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rights:
    """What a client may have.

    Attributes:
        delay_s: prices and trades come so much later; 0 for live.
    """

    delay_s: int = 0
