"""A JSON Web Key Set (RFC 7517) becomes keys. What cannot be used is passed over, and how much of it is told.

Each key gets its algorithms from its own type and curve (RFC 7518, section 6), and from its `alg` where it has one.
Symmetric keys are refused: whoever could read the set could sign.
"""

import base64
import binascii
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from shared.identity.keys import Key, KeySet, PublicKey, family_of

MAX_KEYS: Final = 64
MAX_KEY_ID_LENGTH: Final = 256

_CURVES: Final[Mapping[str, ec.EllipticCurve]] = {
    "P-256": ec.SECP256R1(),
    "P-384": ec.SECP384R1(),
    "P-521": ec.SECP521R1(),
}

Jwk = Mapping[str, object]


def parse_key_set(body: bytes, wanted: Sequence[str]) -> tuple[KeySet, int]:
    """The usable keys of a document, and how many others it has.

    Args:
        body: JSON.
        wanted: algorithms to be accepted; none: what each key's type, or its `alg`, says.

    Raises:
        ValueError: it is no key set, has too many keys, or none that can be used.
    """
    try:
        document = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise ValueError("not JSON") from None
    entries = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(entries, list):
        raise ValueError("no list of keys")  # noqa: TRY004 - what is wrong with the document
    if len(entries) > MAX_KEYS:
        raise ValueError(f"{len(entries)} keys, at most {MAX_KEYS}")
    keys = tuple(key for entry in entries if (key := _key(entry, wanted)) is not None)
    if not keys:
        raise ValueError(f"none of its {len(entries)} keys can be used")
    return KeySet(keys, by_id=True), len(entries) - len(keys)


def _key(entry: object, wanted: Sequence[str]) -> Key | None:
    """A key that verifies signatures; None for any other."""
    if not isinstance(entry, dict) or entry.get("use", "sig") != "sig":
        return None
    operations, key_id = entry.get("key_ops", ["verify"]), entry.get("kid")
    if not isinstance(operations, list) or "verify" not in operations:
        return None
    if not isinstance(key_id, str | None) or (key_id is not None and len(key_id) > MAX_KEY_ID_LENGTH):
        return None
    try:
        material = _material(entry)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return None
    algorithms = () if material is None else _algorithms(family_of(material), entry.get("alg"), wanted)
    return Key(material, algorithms, key_id) if material is not None and algorithms else None


def _algorithms(family: Sequence[str], own: object, wanted: Sequence[str]) -> tuple[str, ...]:
    """What a key may be used with: its own `alg` if it has one, of those that are wanted, of its family."""
    if own is not None:
        return (own,) if isinstance(own, str) and own in family and (not wanted or own in wanted) else ()
    return tuple(name for name in family if name in wanted) if wanted else tuple(family[:1])


def _material(entry: Jwk) -> PublicKey | None:
    match entry.get("kty"), entry.get("crv"):
        case "RSA", _:
            return rsa.RSAPublicNumbers(_number(entry, "e"), _number(entry, "n")).public_key()
        case "EC", str(curve) if curve in _CURVES:
            return ec.EllipticCurvePublicNumbers(_number(entry, "x"), _number(entry, "y"), _CURVES[curve]).public_key()
        case "OKP", "Ed25519":
            return ed25519.Ed25519PublicKey.from_public_bytes(_bytes(entry, "x"))
        case _:
            return None


def _number(entry: Jwk, name: str) -> int:
    return int.from_bytes(_bytes(entry, name), "big")


def _bytes(entry: Jwk, name: str) -> bytes:
    """A member in base64url without padding.

    Raises:
        ValueError: it is none.
    """
    text = entry.get(name)
    if not isinstance(text, str) or not text.isascii():
        raise ValueError(name)
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except binascii.Error as error:
        raise ValueError(name) from error
