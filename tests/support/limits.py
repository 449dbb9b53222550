"""Settings that a test opens wide where it is about something else."""

from typing import Final

RATE_SETTINGS: Final = (
    "RATE_LIMIT_DEFAULT",
    "RATE_LIMIT_BURST",
    "MAX_FRAMES_PER_SECOND",
    "MAX_MESSAGES_PER_SECOND",
    "MAX_MESSAGES_BURST",
)
