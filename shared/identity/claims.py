"""The claims of a verified token become an `Identity`.

A claim of the wrong type is refused, never passed over: a right that a gateway cannot read would be a right without a
bound. Numbers are bounded, text is UTF-8 (RFC 7519, section 2), so that nothing later can fail on it.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from shared.identity.failures import AuthError, AuthFailure
from shared.rights import Rights, SymbolPatterns

MAX_SUBJECT_LENGTH: Final = 128
MAX_ROLE_LENGTH: Final = 64
MAX_TOKEN_ID_LENGTH: Final = 256
MAX_DELAY_S: Final = 86_400
MAX_CONNECTIONS: Final = 1_000_000
HZ: Final = (0.001, 1_000_000.0)
"""Least and most of `max_hz`: an interval must come to a number of milliseconds."""

_LAST_SECOND: Final = 10**11
"""A claim beyond is in milliseconds by mistake, or nonsense."""

_ALL: Final = Rights()

Claims = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a connection speaks for, until when.

    Attributes:
        user_id: the token's `sub`.
        role: the token's `role`, if any.
        expires: the token's `exp`, seconds since the epoch.
        issued: the token's `iat`, seconds since the epoch, if it says so.
        token_id: the token's `jti`, if any.
        rights: what it grants.
    """

    user_id: str
    role: str | None
    expires: int
    issued: int | None = None
    token_id: str | None = None
    rights: Rights = _ALL

    @property
    def is_admin(self) -> bool:
        """Whether the metrics room is open to it."""
        return self.role == "admin"


def identity_of(claims: Claims, now: float, leeway: float) -> Identity:
    """The identity that claims prove at a moment, in seconds since the epoch.

    Raises:
        AuthError: it is not the time, or a claim, which it names, is not of its type.
    """
    expires = _seconds(claims, "exp")
    if expires + leeway <= now:
        raise AuthError(AuthFailure.EXPIRED)
    for name in ("nbf", "iat"):
        if name in claims and _seconds(claims, name) - leeway > now:
            raise AuthError(AuthFailure.NOT_YET_VALID)
    user_id = _text(claims, "sub", MAX_SUBJECT_LENGTH)
    return Identity(
        user_id=user_id,
        role=None if claims.get("role") is None else _text(claims, "role", MAX_ROLE_LENGTH),
        expires=expires,
        issued=_seconds(claims, "iat") if "iat" in claims else None,
        token_id=_text(claims, "jti", MAX_TOKEN_ID_LENGTH) if "jti" in claims else None,
        rights=_rights(claims),
    )


def _rights(claims: Claims) -> Rights:
    return Rights(
        symbols=_patterns(claims, "symbols") if "symbols" in claims else None,
        max_hz=_rate(claims, "max_hz") if "max_hz" in claims else None,
        delay_s=_whole(claims, "delay_s", 0, MAX_DELAY_S) if "delay_s" in claims else 0,
        connections=_whole(claims, "connections", 1, MAX_CONNECTIONS) if "connections" in claims else None,
    )


def _patterns(claims: Claims, name: str) -> SymbolPatterns:
    value = claims[name]
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise AuthError(AuthFailure.BAD_CLAIM, name)
    try:
        return SymbolPatterns(value)
    except ValueError:
        raise AuthError(AuthFailure.BAD_CLAIM, name) from None


def _rate(claims: Claims, name: str) -> float:
    value = claims[name]
    least, most = HZ
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
        raise AuthError(AuthFailure.BAD_CLAIM, name)
    return float(value)


def _whole(claims: Claims, name: str, least: int, most: int) -> int:
    value = claims[name]
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise AuthError(AuthFailure.BAD_CLAIM, name)
    return value


def _seconds(claims: Claims, name: str) -> int:
    """A NumericDate (RFC 7519, section 2), which may have a fraction."""
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < _LAST_SECOND:
        raise AuthError(AuthFailure.BAD_CLAIM, name)
    return math.floor(value)


def _text(claims: Claims, name: str, longest: int) -> str:
    value = claims.get(name)
    if not isinstance(value, str) or not 0 < len(value) <= longest:
        raise AuthError(AuthFailure.BAD_CLAIM, name)
    try:
        value.encode()
    except UnicodeEncodeError:
        raise AuthError(AuthFailure.BAD_CLAIM, name) from None
    return value
