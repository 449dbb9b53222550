"""Tokens: a JSON Web Token (RFC 7519) becomes an `Identity`, or an error that says why not. The only file with PyJWT.

The algorithm is pinned by configuration and never taken from the token's header; one key, one family of algorithms, so
a public key can never be used as an HMAC secret. Time is an argument.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from shared.rights import Rights
from shared.settings import setting

ALL_RIGHTS: Final = Rights()
MAX_TOKEN_LENGTH: Final = 4096
MIN_SECRET_LENGTH: Final = 32
LEEWAY_S: Final = 10
MAX_SUBJECT_LENGTH: Final = 128
_LAST_SECOND: Final = 10**11
"""A claim beyond is in milliseconds by mistake, or nonsense."""

_HMAC_BYTES: Final = {"HS256": MIN_SECRET_LENGTH, "HS384": 48, "HS512": 64}
"""Least length of a secret: that of the hash (RFC 7518, section 3.2)."""

_RSA: Final = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
_BY_CURVE: Final = {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512"}


@dataclass(frozen=True, slots=True)
class AuthSettings:
    """How tokens are checked."""

    jwt_secret: str = setting("", f"HMAC secret, at least {MIN_SECRET_LENGTH} bytes", shown_default="none")
    jwt_public_key_file: str = setting("", "PEM file with an RSA, EC or Ed25519 public key", shown_default="none")
    jwt_algorithms: tuple[str, ...] = setting(
        (),
        "algorithms accepted; all of the key's family",
        shown_default="HS256, RS256, EdDSA or the curve's own by the key",
    )
    jwt_issuer: str = setting("", "`iss` that a token must have", shown_default="not checked")
    jwt_audience: str = setting("", "`aud` that a token must have", shown_default="not checked")

    def problems(self) -> list[str]:
        """What cannot work, by variable."""
        try:
            _key_and_algorithms(self)
        except ValueError as error:
            return [str(error)]
        return []


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a connection speaks for, until when.

    Attributes:
        user_id: the token's `sub`.
        role: the token's `role`, if any.
        expires: the token's `exp`, seconds since the epoch.
    """

    user_id: str
    role: str | None
    expires: int
    rights: Rights = ALL_RIGHTS

    @property
    def is_admin(self) -> bool:
        """Whether the metrics room is open to it."""
        return self.role == "admin"


class AuthFailure(StrEnum):
    """Why a token is refused. What a client is told, and a metric label."""

    MALFORMED = "malformed"
    TOO_LONG = "too_long"
    WRONG_ALGORITHM = "wrong_algorithm"
    BAD_SIGNATURE = "bad_signature"
    EXPIRED = "expired"
    NOT_YET_VALID = "not_yet_valid"
    MISSING_CLAIM = "missing_claim"
    BAD_CLAIM = "bad_claim"
    WRONG_ISSUER = "wrong_issuer"
    WRONG_AUDIENCE = "wrong_audience"
    NO_KEY = "no_key"


class AuthError(Exception):
    """A token that is not accepted."""

    def __init__(self, reason: AuthFailure) -> None:
        super().__init__(reason.value)
        self.reason = reason


class TokenVerifier:
    """Checks tokens against one key.

    Raises:
        ValueError: the settings cannot work; `AuthSettings.problems` says the same without raising.
    """

    def __init__(self, settings: AuthSettings) -> None:
        self._key, self._algorithms = _key_and_algorithms(settings)
        self._issuer = settings.jwt_issuer or None
        self._audience = settings.jwt_audience or None

    @property
    def has_key(self) -> bool:
        """Whether any token can be accepted at all."""
        return self._key is not None

    def verify(self, token: str, now_ms: int) -> Identity:
        """The identity that a token proves at this moment.

        Raises:
            AuthError: with the reason.
        """
        if self._key is None:
            raise AuthError(AuthFailure.NO_KEY)
        if len(token) > MAX_TOKEN_LENGTH:
            raise AuthError(AuthFailure.TOO_LONG)
        claims = self._decode(token)
        now = now_ms / 1000
        expires = _seconds(claims, "exp")
        if expires + LEEWAY_S <= now:
            raise AuthError(AuthFailure.EXPIRED)
        for name in ("nbf", "iat"):
            if name in claims and _seconds(claims, name) - LEEWAY_S > now:
                raise AuthError(AuthFailure.NOT_YET_VALID)
        user_id, role = claims["sub"], claims.get("role")
        if not isinstance(user_id, str) or not 0 < len(user_id) <= MAX_SUBJECT_LENGTH:
            raise AuthError(AuthFailure.BAD_CLAIM)
        if not isinstance(role, str | None):
            raise AuthError(AuthFailure.BAD_CLAIM)
        delay_s = claims.get("delay_s", 0)
        if not isinstance(delay_s, int):
            raise AuthError(AuthFailure.BAD_CLAIM)
        return Identity(user_id, role, expires, Rights(delay_s))

    def _decode(self, token: str) -> dict[str, Any]:
        try:
            return jwt.decode(
                token,
                key=self._key,
                algorithms=sorted(self._algorithms),
                issuer=self._issuer,
                audience=self._audience,
                options={
                    "require": ["exp", "sub"],
                    "verify_exp": False,
                    "verify_nbf": False,
                    "verify_iat": False,
                    "verify_sub": False,
                    "verify_aud": self._audience is not None,
                },
            )
        except jwt.InvalidAlgorithmError as error:
            raise AuthError(AuthFailure.WRONG_ALGORITHM) from error
        except jwt.InvalidSignatureError as error:
            raise AuthError(AuthFailure.BAD_SIGNATURE) from error
        except jwt.InvalidIssuerError as error:
            raise AuthError(AuthFailure.WRONG_ISSUER) from error
        except jwt.InvalidAudienceError as error:
            raise AuthError(AuthFailure.WRONG_AUDIENCE) from error
        except jwt.MissingRequiredClaimError as error:
            raise AuthError(AuthFailure.MISSING_CLAIM) from error
        except (jwt.PyJWTError, ValueError, RecursionError) as error:
            raise AuthError(AuthFailure.MALFORMED) from error


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
) -> str:
    """A token signed with a shared secret (HS256), for development and tests; `rights` are further claims."""
    issued = now_ms // 1000
    claims: dict[str, Any] = {"sub": user_id, "iat": issued, "exp": issued + lifetime_s, **(rights or {})}
    optional = {"role": role, "iss": issuer, "aud": audience}
    claims.update({name: value for name, value in optional.items() if value})
    return jwt.encode(claims, secret, algorithm="HS256")


def _seconds(claims: dict[str, Any], name: str) -> int:
    value = claims[name]
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < _LAST_SECOND:
        raise AuthError(AuthFailure.BAD_CLAIM)
    return int(value)


def _key_and_algorithms(settings: AuthSettings) -> tuple[Any, frozenset[str]]:
    secret, path, wanted = settings.jwt_secret, settings.jwt_public_key_file, settings.jwt_algorithms
    if secret and path:
        raise ValueError("JWT_SECRET: give either this or JWT_PUBLIC_KEY_FILE, not both")
    if not secret and not path:
        return None, frozenset()
    key: Any = secret or _read_public_key(path)
    family = tuple(_HMAC_BYTES) if secret else _family(key)
    if not family:
        raise ValueError(f"JWT_PUBLIC_KEY_FILE={path!r}: not an RSA, Ed25519, P-256, P-384 or P-521 key")
    unfit = sorted(set(wanted) - set(family))
    if unfit:
        raise ValueError(f"JWT_ALGORITHMS: {', '.join(unfit)} cannot be used with this key")
    algorithms = frozenset(wanted or family[:1])
    if secret:
        _check_secret(secret, max(_HMAC_BYTES[name] for name in algorithms))
    return key, algorithms


def _check_secret(secret: str, least: int) -> None:
    if len(secret.encode()) < least:
        raise ValueError(f"JWT_SECRET: {len(secret.encode())} bytes, at least {least} are needed")
    if "-----BEGIN" in secret or secret.lstrip().startswith("{"):
        raise ValueError("JWT_SECRET: looks like a PEM or JWK key; a public key belongs into JWT_PUBLIC_KEY_FILE")


def _read_public_key(path: str) -> object:
    try:
        return load_pem_public_key(Path(path).read_bytes())
    except (OSError, ValueError, UnsupportedAlgorithm) as error:
        raise ValueError(f"JWT_PUBLIC_KEY_FILE={path!r}: {error}") from error


def _family(key: object) -> tuple[str, ...]:
    """The algorithms that a public key can be used with, the usual one first; none for a key of another kind."""
    match key:
        case rsa.RSAPublicKey():
            return _RSA
        case ec.EllipticCurvePublicKey():
            name = _BY_CURVE.get(key.curve.name)
            return (name,) if name else ()
        case ed25519.Ed25519PublicKey():
            return ("EdDSA",)
        case _:
            return ()
