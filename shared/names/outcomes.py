"""The catalogue: every error that a client can be told and every way in which its connection can end, in one list.

Each has a number, a text, whether trying again helps, and a meaning. Metric labels are the texts of endings and the
numbers of errors; the README's table is printed from here.
"""

from dataclasses import dataclass
from typing import Final

from shared.names import close_reasons, error_codes
from shared.names.close_reasons import CloseReason
from shared.names.error_codes import ErrorCode
from shared.names.retry import Retry


@dataclass(frozen=True, slots=True)
class Outcome:
    """One row.

    Attributes:
        number: the error's code, or the close code of a WebSocket: empty, as Engine.IO has it, or none where TCP ends.
        text: what a client is told, or an ending's metric label.
        retry: whether trying again helps.
        meaning: in words.
    """

    number: str
    text: str
    retry: Retry
    meaning: str


def _of_error(error: ErrorCode) -> Outcome:
    return Outcome(str(error.code), error.message, error.retry, error.meaning)


def _of_ending(reason: CloseReason) -> Outcome:
    number = "dropped" if reason.abrupt else str(reason.code or "empty")
    return Outcome(number, f"`{reason.text}`", reason.retry, reason.meaning)


ALL: Final = (*map(_of_error, error_codes.ALL), *map(_of_ending, close_reasons.ALL))
