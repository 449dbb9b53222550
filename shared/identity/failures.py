"""Why a token is refused."""

from enum import StrEnum


class AuthFailure(StrEnum):
    """What a client is told, and a metric label."""

    MALFORMED = "malformed"
    TOO_LONG = "too_long"
    WRONG_ALGORITHM = "wrong_algorithm"
    WRONG_TYPE = "wrong_type"
    BAD_SIGNATURE = "bad_signature"
    EXPIRED = "expired"
    NOT_YET_VALID = "not_yet_valid"
    MISSING_CLAIM = "missing_claim"
    BAD_CLAIM = "bad_claim"
    WRONG_ISSUER = "wrong_issuer"
    WRONG_AUDIENCE = "wrong_audience"
    NO_KEY = "no_key"
    UNKNOWN_KEY = "unknown_key"
    KEYS_AWAITED = "keys_awaited"
    REVOKED = "revoked"

    @property
    def temporary(self) -> bool:
        """Whether the same token may be accepted in a while: its key is being fetched."""
        return self is AuthFailure.KEYS_AWAITED


class AuthError(Exception):
    """A token that is not accepted.

    Attributes:
        reason: why not.
        claim: the name of the claim that it is about, where it is about one.
    """

    def __init__(self, reason: AuthFailure, claim: str | None = None) -> None:
        super().__init__(reason.value if claim is None else f"{reason.value}: {claim}")
        self.reason = reason
        self.claim = claim
