"""A JSON Web Key Set."""

import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from hypothesis import given
from hypothesis import strategies as st

from shared.identity.key_documents import MAX_KEYS, parse_key_set
from tests.support.token_craft import RSA, jwk

P256 = ec.generate_private_key(ec.SECP256R1())
ED = ed25519.Ed25519PrivateKey.generate()
GOOD = jwk(RSA, kid="good")


def document(*keys: Any) -> bytes:
    return json.dumps({"keys": keys}).encode()


def algorithms(*keys: Any, wanted: tuple[str, ...] = ()) -> dict[str | None, tuple[str, ...]]:
    keyset, _ = parse_key_set(document(*keys), wanted)
    return {key.key_id: key.algorithms for key in keyset.keys}


def test_each_key_gets_the_algorithm_of_its_kind():
    keys = [jwk(RSA, kid="r"), jwk(P256, kid="e"), jwk(ED, kid="d")]
    for curve, name in ((ec.SECP384R1(), "384"), (ec.SECP521R1(), "521")):
        keys.append(jwk(ec.generate_private_key(curve), kid=name))
    assert algorithms(*keys) == {
        "r": ("RS256",),
        "e": ("ES256",),
        "d": ("EdDSA",),
        "384": ("ES384",),
        "521": ("ES512",),
    }


def test_a_keys_own_algorithm_is_its_only_one():
    assert algorithms(jwk(RSA, kid="r", alg="PS512")) == {"r": ("PS512",)}


def test_only_algorithms_that_are_wanted_are_accepted():
    keys = [jwk(RSA, kid="r"), jwk(RSA, kid="p", alg="PS256"), jwk(P256, kid="e")]
    assert algorithms(*keys, wanted=("RS512", "RS256")) == {"r": ("RS256", "RS512")}
    assert algorithms(*keys, wanted=("ES256", "PS256")) == {"r": ("PS256",), "p": ("PS256",), "e": ("ES256",)}


@pytest.mark.parametrize(
    "unusable",
    [
        {"kty": "oct", "kid": "x", "k": "A" * 64},
        {"kty": "oct", "kid": "x", "k": "A" * 64, "alg": "HS256"},
        jwk(RSA, kid="x", use="enc"),
        jwk(RSA, kid="x", key_ops=["encrypt"]),
        jwk(RSA, kid="x", key_ops="verify"),
        jwk(RSA, kid="x", alg="HS256"),
        jwk(RSA, kid="x", alg="ES256"),
        jwk(RSA, kid="x", alg="none"),
        jwk(RSA, kid="x", alg=["RS256"]),
        jwk(RSA, kid=7),
        jwk(RSA, kid="x" * 257),
        jwk(RSA, kid="x", n="!"),
        jwk(RSA, kid="x", n=None),
        jwk(RSA, kid="x", e=7),
        jwk(rsa.generate_private_key(65537, 1024), kid="x"),
        jwk(P256, kid="x", crv="P-384"),
        jwk(P256, kid="x", crv="secp256k1"),
        jwk(P256, kid="x", crv=["P-256"]),
        jwk(P256, kid="x", y="AAAA"),
        jwk(ED, kid="x", crv="X25519"),
        jwk(ED, kid="x", x="AAAA"),
        {"kty": "RSA"},
        {"kty": ["RSA"]},
        {},
        None,
        "key",
        [],
    ],
)
@pytest.mark.threat("T15", "T16", "T19")
def test_a_key_that_cannot_be_used_is_passed_over(unusable: Any):
    keyset, passed_over = parse_key_set(document(unusable, GOOD), ())
    assert [key.key_id for key in keyset.keys] == ["good"]
    assert passed_over == 1


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "not JSON"),
        (b"\xff", "not JSON"),
        (b"[" * 60_000, "not JSON"),
        (b'{"keys": ' + b"[" * 60_000, "not JSON"),
        (b"[]", "no list"),
        (b"{}", "no list"),
        (b'{"keys": {}}', "no list"),
        (b'{"keys": []}', "none of its 0 keys"),
        (document({"kty": "oct", "k": "A" * 64}), "none of its 1 keys"),
        (document(*[GOOD] * (MAX_KEYS + 1)), f"{MAX_KEYS + 1} keys, at most {MAX_KEYS}"),
    ],
    ids=["empty", "bytes", "deep", "deep inside", "array", "object", "keys object", "no keys", "oct", "many"],
)
@pytest.mark.threat("T19")
def test_a_document_that_is_no_key_set_is_refused(body: bytes, said: str):
    with pytest.raises(ValueError, match=said):
        parse_key_set(body, ())


@given(st.dictionaries(st.sampled_from(["kty", "crv", "n", "e", "x", "y", "alg", "use", "kid"]), st.text(max_size=9)))
def test_no_key_does_anything_but_be_used_or_passed_over(members: dict[str, str]):
    keyset, _ = parse_key_set(document({**GOOD, **members}, GOOD), ())
    assert keyset.keys[-1].key_id == "good"
