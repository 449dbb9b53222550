"""What the trade-notifier reads from the environment, beside `shared.settings.CommonSettings`."""

import dataclasses
from typing import Annotated

import msgspec

from shared.settings import Positive, setting

_MINUTES_KEPT_AT_LEAST = 15
"""A client may come back after two minutes; the rest is a failover, a restart and a slow reader."""


@dataclasses.dataclass(frozen=True, slots=True)
class NotifierSettings:
    """How long the logs are, how long an id is remembered, and when an append counts."""

    dedupe_window_hours: Annotated[int, msgspec.Meta(ge=1, le=744)] = setting(
        24, "time in which a trade id that comes again is dropped; costs Redis memory per trade", "h"
    )
    trade_log_minutes: Annotated[int, msgspec.Meta(ge=_MINUTES_KEPT_AT_LEAST, le=44_640)] = setting(
        60, "how long trade and user logs are kept", "min"
    )
    trade_log_length: Positive = setting(
        1_000_000,
        "entries of one log that stay at most once they are read; at twice as many it is cut, read or not",
        "entries",
    )
    log_replicas: Annotated[int, msgspec.Meta(ge=0, le=10)] = setting(
        0, "replicas of Redis that must have a trade in its log before it is acknowledged; 0: none"
    )
    log_replicas_ms: Annotated[int, msgspec.Meta(ge=10, le=60_000)] = setting(
        1000, "how long they are waited for, until the same is appended again, which is harmless", "ms"
    )
