"""HMAC secrets."""

import secrets

import pytest

from shared.identity.secrets import secret_problems


@pytest.mark.parametrize(
    ("secret", "said"),
    [
        ("secret", "6 bytes, at least 32"),
        ("s" * 31, "31 bytes, at least 32"),
        ("s" * 32, "different characters"),
        ("secret" * 6, "different characters"),
        ("password" * 4, "different characters"),
        ("secret".ljust(32, "0"), "different characters"),
        ("changeme-0123456789-0123456789-0123456789", "well-known"),
        ("a-string-secret-at-least-256-bits-long", "well-known"),
        ("your-256-bit-secret-with-more-behind", "well-known"),
        ("-----BEGIN PUBLIC KEY-----\nMIIBIjANBgkqhkiG9w0BAQEFAAOC", "PEM"),
        ('{"kty": "oct", "k": "AAAAAAAAAAAAAAAAAAAAA"}', "JWK"),
    ],
)
@pytest.mark.threat("T15", "T16")
def test_a_weak_or_well_known_secret_is_refused_and_not_shown(secret: str, said: str):
    (problem,) = secret_problems("JWT_SECRET", secret, ["HS256"])
    assert problem.startswith("JWT_SECRET: ")
    assert said in problem
    assert secret not in problem


@pytest.mark.parametrize(("algorithm", "least"), [("HS256", 32), ("HS384", 48), ("HS512", 64)])
def test_a_secret_is_as_long_as_its_hash(algorithm: str, least: int):
    long_enough = ("0123456789abcdef" * 4)[:least]
    assert secret_problems("S", long_enough, [algorithm]) == []
    assert f"at least {least}" in secret_problems("S", long_enough[:-1], [algorithm])[0]


@pytest.mark.parametrize("make", [secrets.token_hex, secrets.token_urlsafe])
def test_a_random_secret_passes(make):
    assert secret_problems("S", make(32), ["HS256"]) == []


def test_random_digits_pass():
    assert secret_problems("S", "31415926535897932384626433832795", ["HS256"]) == []
