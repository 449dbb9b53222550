"""What an HMAC secret must be: for gateways, and for `tickwire token`, which signs nothing that they would not take."""

from collections.abc import Iterable
from typing import Final

MIN_SECRET_LENGTH: Final = 32

HMAC_BYTES: Final = {"HS256": MIN_SECRET_LENGTH, "HS384": 48, "HS512": 64}
"""Least length of a secret: that of the hash (RFC 7518, section 3.2)."""

MIN_VARIETY: Final = 8
"""Different bytes in a secret. Random ones have more, also as hexadecimal or decimal digits."""

_KNOWN: Final = frozenset(
    {
        "a-string-secret-at-least-256-bits-long",
        "a-valid-string-secret-that-is-at-least-384-bits-long",
        "a-valid-string-secret-that-is-at-least-512-bits-long-which-is-very-long",
        "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow",
    }
)
"""Examples of jwt.io and of RFC 7515, appendix A.1: whoever guesses begins with these."""

_BEGINNINGS: Final = (
    "changeme",
    "change-me",
    "change_me",
    "your-256-bit",
    "your-384-bit",
    "your-512-bit",
    "your_secret",
)
"""Nothing that begins so was made by chance: a default that somebody padded until it was long enough."""


def secret_problems(variable: str, secret: str, algorithms: Iterable[str]) -> list[str]:
    """What is wrong with a secret, beginning with the variable's name; never the secret."""
    size = len(secret.encode(errors="surrogateescape"))
    least = max((HMAC_BYTES.get(name, 0) for name in algorithms), default=MIN_SECRET_LENGTH)
    if "-----BEGIN" in secret or secret.lstrip().startswith("{"):
        return [f"{variable}: looks like a PEM or JWK key; a public key belongs into JWT_PUBLIC_KEY_FILE"]
    if size < least:
        return [f"{variable}: {size} bytes, at least {least} are needed; make one: openssl rand -hex {least}"]
    if secret in _KNOWN or secret.lower().startswith(_BEGINNINGS):
        return [f"{variable}: a well-known example; make your own: openssl rand -hex {least}"]
    if len(set(secret)) < MIN_VARIETY:
        return [f"{variable}: fewer than {MIN_VARIETY} different characters; make one: openssl rand -hex {least}"]
    return []
