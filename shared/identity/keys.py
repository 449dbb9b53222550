"""Keys, each with the algorithms that it may be used with: HMAC secrets, a PEM file, or a JSON Web Key Set.

Fed by `AuthSettings` and by what `key_source` fetched; feeds `tokens`. A key decides its algorithms (RFC 8725, sections
3.1 and 3.2): what a token says only chooses among keys that are there.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import load_pem_public_key

PublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey

RSA_ALGORITHMS: Final = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
PUBLIC_ALGORITHMS: Final = (*RSA_ALGORITHMS, "ES256", "ES384", "ES512", "EdDSA")
RSA_BITS: Final = range(2048, 8193)
"""Below, it can be broken (RFC 7518, section 3.3); above, each signature costs more than it protects."""

MAX_TRIED: Final = 4
"""Keys of a set that one token is tried with: each costs a public-key operation, for a token of unknown origin."""

_BY_CURVE: Final = {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512"}


@dataclass(frozen=True, slots=True)
class Key:
    """One key.

    Attributes:
        material: a secret, or a public key.
        algorithms: those that it may be used with; all of one family.
        key_id: its `kid`, in a set of keys.
    """

    material: bytes | PublicKey
    algorithms: tuple[str, ...]
    key_id: str | None = None


@dataclass(frozen=True, slots=True)
class KeySet:
    """The keys of one moment.

    Attributes:
        keys: in the order in which they are tried.
        by_id: whether a token's `kid` chooses among them.
    """

    keys: tuple[Key, ...] = ()
    by_id: bool = False

    def named(self, key_id: str | None) -> Sequence[Key]:
        """Those that a token can mean: all without names; else those of its `kid`, or all where it has none."""
        if not self.by_id or key_id is None:
            return self.keys
        return [key for key in self.keys if key.key_id == key_id]


def fitting(keys: Iterable[Key], algorithm: object) -> list[Key]:
    """Keys that may be used with what a token's header names, at most `MAX_TRIED`."""
    return [key for key in keys if algorithm in key.algorithms][:MAX_TRIED]


def read_public_key(path: str, wanted: Sequence[str]) -> Key:
    """The key of a PEM file.

    Raises:
        ValueError: it cannot be read, or is no key that a token can be signed with.
    """
    variable = f"JWT_PUBLIC_KEY_FILE={path!r}"
    try:
        material = load_pem_public_key(Path(path).read_bytes())
    except (OSError, ValueError, UnsupportedAlgorithm) as error:
        raise ValueError(f"{variable}: {_one_line(error)}") from error
    if not isinstance(material, PublicKey):
        raise ValueError(f"{variable}: not an RSA, Ed25519, P-256, P-384 or P-521 key")  # noqa: TRY004 - what is wrong with the file
    family = family_of(material)
    if not family:
        raise ValueError(f"{variable}: {weakness(material)}")
    return Key(material, chosen(family, wanted))


def chosen(family: Sequence[str], wanted: Sequence[str]) -> tuple[str, ...]:
    """The algorithms of a key: those of its family that are wanted, the usual one where nothing is said.

    Raises:
        ValueError: some that are wanted are of another family.
    """
    unfit = sorted(set(wanted) - set(family))
    if unfit:
        raise ValueError(f"JWT_ALGORITHMS: {', '.join(unfit)} cannot be used with this key")
    return tuple(wanted) or tuple(family[:1])


def family_of(key: PublicKey) -> tuple[str, ...]:
    """The algorithms that a public key can be used with, the usual one first; none for one that is too weak."""
    match key:
        case rsa.RSAPublicKey():
            return RSA_ALGORITHMS if key.key_size in RSA_BITS else ()
        case ec.EllipticCurvePublicKey():
            name = _BY_CURVE.get(key.curve.name)
            return (name,) if name else ()
        case ed25519.Ed25519PublicKey():
            return ("EdDSA",)


def weakness(key: PublicKey) -> str:
    """Why a key has no algorithms."""
    if isinstance(key, rsa.RSAPublicKey):
        return f"an RSA key of {key.key_size} bits; {RSA_BITS.start} to {RSA_BITS.stop - 1} are needed"
    return "not an RSA, Ed25519, P-256, P-384 or P-521 key"


def _one_line(error: Exception) -> str:
    said = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(said.split())[:200]
