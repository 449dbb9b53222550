"""A `shared.clock.Clock` that stands still until told."""


class ManualClock:
    """Both readings from one number; a test adds to it.

    Attributes:
        seconds: what it shows, as seconds since the epoch.
    """

    def __init__(self, seconds: float = 1000.0) -> None:
        self.seconds = seconds

    def now_ms(self) -> int:
        return int(self.seconds * 1000)

    def monotonic(self) -> float:
        return self.seconds
