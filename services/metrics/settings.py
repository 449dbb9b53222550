"""What metrics reads from the environment, beside `shared.settings.CommonSettings`."""

import dataclasses
from typing import Annotated

import msgspec

from shared.settings import setting


@dataclasses.dataclass(frozen=True, slots=True)
class MetricsSettings:
    """How often the admin room hears of the cluster."""

    metrics_interval_ms: Annotated[int, msgspec.Meta(ge=100, le=60_000)] = setting(
        5000, "time between two `metrics` events to the admin room", "ms"
    )
