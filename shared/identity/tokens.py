"""Checks tokens, and signs those of developers. The only file that imports jwt."""

import functools
from collections.abc import Mapping
from typing import Any, Final

import jwt

from shared.identity.claims import Identity, identity_of
from shared.identity.failures import AuthError, AuthFailure
from shared.identity.key_source import KeySource
from shared.identity.keys import Key, fitting
from shared.identity.settings import AuthSettings

MAX_TOKEN_LENGTH: Final = 4096
LEEWAY_S: Final = 10

_TYPES: Final = frozenset({"jwt", "at+jwt", "application/jwt", "application/at+jwt"})
"""`typ`, where a token has one (RFC 7519 section 5.1, RFC 9068 section 2.1): no other kind of signed JSON passes."""

_UNWANTED: Final = ("crit", "b64")
"""Headers that change what a signature means (RFC 7515 section 4.1.11, RFC 7797): no extension is understood here."""


class TokenVerifier:
    """Checks tokens against the keys of this moment.

    Args:
        settings: which issuer and audience.
        keys: where the keys come from; by themselves, settings with fixed keys are enough.

    Raises:
        ValueError: the settings cannot work; `AuthSettings.problems` says the same without raising.
    """

    def __init__(self, settings: AuthSettings, keys: KeySource | None = None) -> None:
        self._keys = keys or KeySource(settings)
        self._decode = functools.partial(
            jwt.decode,
            issuer=settings.jwt_issuer or None,
            audience=settings.jwt_audience or None,
            options={
                "require": ["exp", "sub"],
                "verify_aud": bool(settings.jwt_audience),
                "enforce_minimum_key_length": True,
                "verify_exp": False,
                "verify_nbf": False,
                "verify_iat": False,
                "verify_sub": False,
                "verify_jti": False,
            },
        )

    @property
    def has_key(self) -> bool:
        """Whether any token can be accepted at all."""
        return self._keys.is_configured

    def verify(self, token: str, now_ms: int) -> Identity:
        """The identity that a token proves at this moment.

        Raises:
            AuthError: with the reason.
        """
        if not self.has_key:
            raise AuthError(AuthFailure.NO_KEY)
        if len(token) > MAX_TOKEN_LENGTH:
            raise AuthError(AuthFailure.TOO_LONG)
        header = _header(token)
        keys = fitting(self._keys.named(header.get("kid")), header.get("alg"))
        if not keys:
            raise AuthError(AuthFailure.WRONG_ALGORITHM)
        return identity_of(self._claims(token, keys), now_ms / 1000, LEEWAY_S)

    def _claims(self, token: str, keys: list[Key]) -> dict[str, Any]:
        for key in keys:
            try:
                return self._decode(token, key=key.material, algorithms=key.algorithms)
            except jwt.InvalidSignatureError:
                continue
            except jwt.InvalidAlgorithmError as error:
                raise AuthError(AuthFailure.WRONG_ALGORITHM) from error
            except jwt.InvalidIssuerError as error:
                raise AuthError(AuthFailure.WRONG_ISSUER) from error
            except jwt.InvalidAudienceError as error:
                raise AuthError(AuthFailure.WRONG_AUDIENCE) from error
            except jwt.MissingRequiredClaimError as error:
                raise AuthError(AuthFailure.MISSING_CLAIM, error.claim) from error
            except (jwt.PyJWTError, ValueError, RecursionError) as error:
                raise AuthError(AuthFailure.MALFORMED) from error
        raise AuthError(AuthFailure.BAD_SIGNATURE)


def sign_development_token(  # noqa: PLR0913 - what a token says
    secret: str,
    user_id: str,
    *,
    role: str | None,
    lifetime_s: int,
    now_ms: int,
    issuer: str = "",
    audience: str = "",
    rights: Mapping[str, object] | None = None,
    algorithm: str = "HS256",
) -> str:
    """A token signed with a shared secret, for development and tests; `rights` are further claims.

    Raises:
        AuthError: nobody would accept these claims.
    """
    issued = now_ms // 1000
    claims: dict[str, Any] = {"sub": user_id, "iat": issued, "exp": issued + lifetime_s, **(rights or {})}
    optional = {"role": role, "iss": issuer, "aud": audience}
    claims.update({name: value for name, value in optional.items() if value})
    identity_of(claims, issued, 0)
    return jwt.encode(claims, secret, algorithm=algorithm)


def _header(token: str) -> dict[str, Any]:
    """What a token says of itself, before anything of it is believed."""
    try:
        header = jwt.get_unverified_header(token)
    except (jwt.PyJWTError, ValueError, RecursionError) as error:
        raise AuthError(AuthFailure.MALFORMED) from error
    if any(name in header for name in _UNWANTED):
        raise AuthError(AuthFailure.MALFORMED)
    kind = header.get("typ", "JWT")
    if not isinstance(kind, str) or kind.lower() not in _TYPES:
        raise AuthError(AuthFailure.WRONG_TYPE)
    return header
