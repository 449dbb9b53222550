"""Why an upstream entry, or one of several in it, cannot be used."""

from enum import StrEnum


class Refusal(StrEnum):
    """Why an upstream entry is refused: metric label and reason in the dead-letter stream."""

    MISSING = "missing_field"
    BAD_SYMBOL = "bad_symbol"
    BAD_DECIMAL = "bad_decimal"
    NOT_POSITIVE = "not_positive"
    BAD_TIME = "bad_time"
    FUTURE = "time_in_the_future"
    BAD_SIDE = "bad_side"
    BAD_STATE = "bad_state"
    TOO_LONG = "too_long"
    NOT_TEXT = "not_text"
    TOO_MANY_USERS = "too_many_users"
    BAD_PAYLOAD = "bad_payload"
    PAYLOAD_TOO_LARGE = "payload_too_large"
    TOO_DEEP = "too_deep"
    TOO_MANY_ITEMS = "too_many_items"


class UpstreamError(Exception):
    """An entry that cannot be used: which field, why, and the limit that it is beyond, if it is one."""

    def __init__(self, refusal: Refusal, field: str, limit: int | None = None) -> None:
        super().__init__(f"{field}: {refusal}" if limit is None else f"{field}: {refusal}, at most {limit}")
        self.refusal = refusal
        self.field = field
        self.limit = limit
