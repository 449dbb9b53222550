"""How tokens are checked, as the environment says it. Feeds `key_source` and `tokens`."""

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final
from urllib.parse import SplitResult, urlsplit

from shared.identity.keys import PUBLIC_ALGORITHMS, Key, KeySet, chosen, read_public_key
from shared.identity.secrets import HMAC_BYTES, MIN_SECRET_LENGTH, secret_problems
from shared.settings import setting

_KINDS: Final = ("jwt_secret", "jwt_public_key_file", "jwt_jwks_url")
"""One of these holds the key, or says where it is."""


@dataclass(frozen=True, slots=True)
class AuthSettings:
    """How tokens are checked."""

    jwt_secret: str = setting("", f"HMAC secret, at least {MIN_SECRET_LENGTH} bytes", shown_default="none")
    jwt_secret_previous: str = setting(
        "", "the secret before it, while tokens signed with that one are still about", shown_default="none"
    )
    jwt_public_key_file: str = setting("", "PEM file with an RSA, EC or Ed25519 public key", shown_default="none")
    jwt_jwks_url: str = setting(
        "",
        "where the issuer publishes its keys (JWKS): `https://`, plain `http://` only on this machine; fetched every "
        "ten minutes, and when a token names a key that is not known",
        shown_default="none",
    )
    jwt_algorithms: tuple[str, ...] = setting(
        (),
        "algorithms accepted; all of the key's family",
        shown_default="HS256, RS256, EdDSA or the curve's own by the key",
    )
    jwt_issuer: str = setting(
        "", "`iss` that a token must have; needed by `AUTH_MODE=required`", shown_default="not checked"
    )
    jwt_audience: str = setting(
        "", "`aud` that a token must have; needed by `AUTH_MODE=required`", shown_default="not checked"
    )

    def problems(self) -> list[str]:
        """What cannot work, by variable."""
        return [*self._kind_problems(), *self._secret_problems(), *self._public_key_problems()]

    def demands(self) -> list[str]:
        """What is missing where every client needs a token."""
        reason = "needed by AUTH_MODE=required"
        missing = [] if self.has_key else [f"JWT_SECRET, JWT_PUBLIC_KEY_FILE or JWT_JWKS_URL: {reason}"]
        issuer = [] if self.jwt_issuer else [f"JWT_ISSUER: {reason}"]
        return missing + issuer + ([] if self.jwt_audience else [f"JWT_AUDIENCE: {reason}"])

    @property
    def has_key(self) -> bool:
        """Whether any token can be accepted at all."""
        return any(_get(self, name) for name in _KINDS)

    def fixed_keys(self) -> KeySet:
        """The keys that are here already: none where they are fetched.

        Raises:
            ValueError: the settings cannot work; `problems` says the same without raising.
        """
        if problems := self.problems():
            raise ValueError("\n".join(problems))
        if self.jwt_public_key_file:
            return KeySet((read_public_key(self.jwt_public_key_file, self.jwt_algorithms),))
        return KeySet(
            tuple(
                Key(secret.encode(errors="surrogateescape"), self._hmac_algorithms)
                for secret in (self.jwt_secret, self.jwt_secret_previous)
                if secret
            )
        )

    @property
    def _hmac_algorithms(self) -> tuple[str, ...]:
        return chosen(tuple(HMAC_BYTES), self.jwt_algorithms)

    def _kind_problems(self) -> Iterable[str]:
        given = [name.upper() for name in _KINDS if _get(self, name)]
        if len(given) > 1:
            yield f"{given[0]}: give either this or {' or '.join(given[1:])}, not both"
        if self.jwt_secret_previous and not self.jwt_secret:
            yield "JWT_SECRET_PREVIOUS: needs JWT_SECRET beside it"
        if self.jwt_secret and self.jwt_secret == self.jwt_secret_previous:
            yield "JWT_SECRET_PREVIOUS: the same as JWT_SECRET"

    def _secret_problems(self) -> Iterable[str]:
        if not self.jwt_secret:
            return
        try:
            algorithms = self._hmac_algorithms
        except ValueError as error:
            yield str(error)
            algorithms = ()
        for name in ("jwt_secret", "jwt_secret_previous"):
            if _get(self, name):
                yield from secret_problems(name.upper(), _get(self, name), algorithms)

    def _public_key_problems(self) -> Iterable[str]:
        if self.jwt_public_key_file:
            try:
                read_public_key(self.jwt_public_key_file, self.jwt_algorithms)
            except ValueError as error:
                yield str(error)
        if self.jwt_jwks_url:
            yield from _url_problems(self.jwt_jwks_url)
            unfit = sorted(set(self.jwt_algorithms) - set(PUBLIC_ALGORITHMS))
            if unfit:
                yield f"JWT_ALGORITHMS: {', '.join(unfit)} cannot be used with JWT_JWKS_URL"


def _get(settings: AuthSettings, name: str) -> str:
    value = getattr(settings, name)
    assert isinstance(value, str)
    return value


def _url_problems(url: str) -> Iterable[str]:
    """What is wrong with the address of a key set, which is not repeated: it may hold a password."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        yield "JWT_JWKS_URL: no URL"
        return
    if parts.scheme not in {"http", "https"} or not host:
        yield "JWT_JWKS_URL: not https://host/path"
    elif parts.scheme == "http" and not _is_local(parts):
        yield "JWT_JWKS_URL: http:// lets whoever is on the way choose the keys; use https://"
    elif parts.username is not None or parts.fragment:
        yield "JWT_JWKS_URL: a user, a password or a # have no place in it"


def _is_local(parts: SplitResult) -> bool:
    try:
        return ipaddress.ip_address(parts.hostname or "").is_loopback
    except ValueError:
        return parts.hostname == "localhost"
