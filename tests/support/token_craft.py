"""Tokens for the tests of tokens: good ones, and such as no library would make."""

import base64
import hmac
import json
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from shared.identity import AuthError, AuthFailure, AuthSettings, TokenVerifier

SECRET: Final = "a secret of at least thirty-two bytes"
LONG_SECRET: Final = f"{SECRET}, and of more than sixty-four of them"
NOW_S: Final = 1_763_800_000
NOW_MS: Final = NOW_S * 1000
CLAIMS: Final[dict[str, Any]] = {"sub": "ann", "exp": NOW_S + 60}
RSA: Final = rsa.generate_private_key(65537, 2048)


def signed(key: Any = SECRET, algorithm: str = "HS256", headers: dict[str, Any] | None = None, **changes: Any) -> str:
    """A token with changed claims; `...` leaves one out."""
    claims = {name: value for name, value in {**CLAIMS, **changes}.items() if value is not ...}
    return jwt.encode(claims, key, algorithm, headers)


def by_hand(header: Any, claims: Any, secret: bytes = SECRET.encode()) -> str:
    """A token that no library would make."""
    parts = [header if isinstance(header, bytes) else json.dumps(header).encode()]
    parts.append(claims if isinstance(claims, bytes) else json.dumps(claims).encode())
    body = b".".join(base64.urlsafe_b64encode(part).rstrip(b"=") for part in parts)
    signature = base64.urlsafe_b64encode(hmac.digest(secret, body, sha256)).rstrip(b"=")
    return (body + b"." + signature).decode()


def verifier(**settings: Any) -> TokenVerifier:
    """One that knows `SECRET`, unless the settings say otherwise."""
    return TokenVerifier(AuthSettings(**({"jwt_secret": SECRET} | settings)))


def failure(token: str, made: TokenVerifier | None = None, now_ms: int = NOW_MS) -> AuthFailure:
    """Why a token is refused."""
    with pytest.raises(AuthError) as caught:
        (made or verifier()).verify(token, now_ms)
    return caught.value.reason


def public_pem(private: Any) -> bytes:
    """The public half of a key, as a PEM file has it."""
    pem: bytes = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return pem


def public_key_file(directory: Path, private: Any) -> str:
    """A PEM file."""
    path = directory / "key.pem"
    path.write_bytes(public_pem(private))
    return str(path)


def jwk(private: Any, **members: Any) -> dict[str, Any]:
    """The public half of a key, as a JWKS has it."""
    algorithms: dict[str, Any] = {
        "RSAPrivateKey": jwt.algorithms.RSAAlgorithm,
        "ECPrivateKey": jwt.algorithms.ECAlgorithm,
        "Ed25519PrivateKey": jwt.algorithms.OKPAlgorithm,
    }
    plain: dict[str, Any] = json.loads(algorithms[type(private).__name__].to_jwk(private.public_key()))
    plain.pop("key_ops", None)
    return plain | members
