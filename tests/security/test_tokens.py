"""Hostile tokens: each is refused for its reason, at little cost, and nothing but a refusal comes of any of them."""

import base64
import itertools
import json
import time
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from shared.identity import (
    LEEWAY_S,
    MAX_SUBJECT_LENGTH,
    MAX_TOKEN_LENGTH,
    AuthError,
    AuthFailure,
    AuthSettings,
    TokenVerifier,
)
from tests.support.token_craft import (
    CLAIMS,
    LONG_SECRET,
    NOW_MS,
    NOW_S,
    RSA,
    SECRET,
    by_hand,
    failure,
    jwk,
    public_key_file,
    public_pem,
    signed,
    verifier,
)

HS256 = {"alg": "HS256"}


@pytest.mark.threat("T15")
@pytest.mark.parametrize(
    "token",
    [
        signed(LONG_SECRET, "HS512"),
        signed(RSA, "RS256"),
        jwt.encode(CLAIMS, "", "none"),
        by_hand({"alg": "None"}, CLAIMS),
        by_hand({"alg": "hs256"}, CLAIMS),
        by_hand({"alg": ["HS256"]}, CLAIMS),
        by_hand({"alg": None}, CLAIMS),
        by_hand({"typ": "JWT"}, CLAIMS),
    ],
    ids=["HS512", "RS256", "none", "None", "hs256", "list", "null", "absent"],
)
def test_the_algorithm_is_the_keys_and_never_the_tokens(token: str):
    assert failure(token) is AuthFailure.WRONG_ALGORITHM


@pytest.mark.threat("T15")
def test_a_public_key_is_never_used_as_a_secret(tmp_path: Path):
    """RS256 to HS256: signed with what everybody has, as a PEM file, with its ends cut or changed, as a JWK, as DER."""
    made = TokenVerifier(AuthSettings(jwt_public_key_file=public_key_file(tmp_path, RSA)))
    pem = public_pem(RSA)
    for secret in (pem, pem.strip(), pem.replace(b"PUBLIC", b"public"), b"\n" + pem, json.dumps(jwk(RSA)).encode()):
        for algorithm in ("HS256", "HS384", "HS512", "hs256"):
            assert failure(by_hand({"alg": algorithm}, CLAIMS, secret), made) is AuthFailure.WRONG_ALGORITHM


@pytest.mark.threat("T15")
def test_a_key_that_the_token_brings_along_is_not_looked_at(tmp_path: Path):
    """`jwk`, `jku`, `x5u` and `x5c` (RFC 7515, section 4.1) are hints; ours come from the configuration."""
    theirs = ec.generate_private_key(ec.SECP256R1())
    ours = ec.generate_private_key(ec.SECP256R1())
    made = TokenVerifier(AuthSettings(jwt_public_key_file=public_key_file(tmp_path, ours)))
    headers = {"jwk": jwk(theirs), "jku": "http://127.0.0.1:1/jwks", "x5u": "http://127.0.0.1:1", "x5c": ["AAAA"]}
    assert failure(signed(theirs, "ES256", headers), made) is AuthFailure.BAD_SIGNATURE
    assert made.verify(signed(ours, "ES256", headers), NOW_MS).user_id == "ann"


@pytest.mark.threat("T17")
@pytest.mark.parametrize(
    "header",
    [
        {"crit": ["exp2"], "exp2": 1},
        {"crit": []},
        {"crit": ["b64"], "b64": True},
        {"crit": ["b64"], "b64": False},
        {"b64": False},
        {"b64": True},
        {"kid": 7},
    ],
    ids=str,
)
def test_a_header_that_changes_what_is_signed_is_refused(header: dict[str, Any]):
    assert failure(by_hand({**HS256, **header}, CLAIMS)) is AuthFailure.MALFORMED


@pytest.mark.threat("T17", "T18")
@pytest.mark.parametrize("kind", ["JWE", "logout+jwt", "dpop+jwt", "secevent+jwt", "", 7, ["JWT"], None])
def test_signed_json_of_another_kind_is_no_token(kind: object):
    assert failure(by_hand({**HS256, "typ": kind}, CLAIMS)) is AuthFailure.WRONG_TYPE


@pytest.mark.threat("T17")
def test_a_huge_token_costs_nothing():
    """The length is looked at first: a megabyte that would be decoded takes a hundred times as long."""
    huge = signed(padding="x" * 1_000_000)
    began = time.perf_counter()
    for _ in range(1_000):
        assert failure(huge) is AuthFailure.TOO_LONG
    assert time.perf_counter() - began < 1
    assert failure("x" * (MAX_TOKEN_LENGTH + 1)) is AuthFailure.TOO_LONG
    assert failure("x" * MAX_TOKEN_LENGTH) is AuthFailure.MALFORMED


@pytest.mark.threat("T17", "T20")
def test_a_signature_written_otherwise_changes_nothing_that_revocation_goes_by():
    """What is left over in the last character of base64 may be anything; a token is known by `sub` and `jti`."""
    token = signed(jti="t1")
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    at = alphabet.index(token[-1])
    for other in (token[:-1] + alphabet[at ^ 1], token + "=", token + "==", token + "\n", token + "%"):
        try:
            identity = verifier().verify(other, NOW_MS)
        except AuthError:
            continue
        assert (identity.user_id, identity.token_id) == ("ann", "t1")


@pytest.mark.threat("T14", "T18")
@pytest.mark.parametrize(
    ("token", "reason"),
    [
        ("", AuthFailure.MALFORMED),
        ("a.b.c", AuthFailure.MALFORMED),
        ("a.b", AuthFailure.MALFORMED),
        ("....", AuthFailure.MALFORMED),
        ("\ud800.\udfff.x", AuthFailure.MALFORMED),
        (by_hand(b"[" * 1500, CLAIMS), AuthFailure.MALFORMED),
        (by_hand(b'{"alg":"HS256","x":' + b"[" * 1400, CLAIMS), AuthFailure.MALFORMED),
        (by_hand(HS256, b"[" * 1500), AuthFailure.MALFORMED),
        (by_hand(HS256, b'{"sub":' + b"[" * 1500), AuthFailure.MALFORMED),
        (by_hand(HS256, b"[1]"), AuthFailure.MALFORMED),
        (by_hand(HS256, b"\xff"), AuthFailure.MALFORMED),
        (by_hand(HS256, b""), AuthFailure.MALFORMED),
        (signed() + "x", AuthFailure.BAD_SIGNATURE),
        (signed(SECRET + "x"), AuthFailure.BAD_SIGNATURE),
        (signed().rsplit(".", 1)[0] + ".", AuthFailure.BAD_SIGNATURE),
        (signed(exp=...), AuthFailure.MISSING_CLAIM),
        (signed(exp=None), AuthFailure.MISSING_CLAIM),
        (signed(sub=...), AuthFailure.MISSING_CLAIM),
        (signed(exp=NOW_S - LEEWAY_S), AuthFailure.EXPIRED),
        (signed(exp=0), AuthFailure.EXPIRED),
        (signed(nbf=NOW_S + LEEWAY_S + 1), AuthFailure.NOT_YET_VALID),
        (signed(iat=NOW_S + LEEWAY_S + 1), AuthFailure.NOT_YET_VALID),
        (signed(exp=(NOW_S + 60) * 1000), AuthFailure.BAD_CLAIM),
        (by_hand(HS256, CLAIMS | {"exp": str(NOW_S + 60)}), AuthFailure.BAD_CLAIM),
        (by_hand(HS256, CLAIMS | {"exp": True}), AuthFailure.BAD_CLAIM),
        (by_hand(HS256, CLAIMS | {"exp": 1e308}), AuthFailure.BAD_CLAIM),
        (by_hand(HS256, CLAIMS | {"exp": -1}), AuthFailure.BAD_CLAIM),
        (by_hand(HS256, CLAIMS | {"exp": [NOW_S + 60]}), AuthFailure.BAD_CLAIM),
        (by_hand(HS256, b'{"sub": "ann", "exp": NaN}'), AuthFailure.BAD_CLAIM),
        (by_hand(HS256, b'{"sub": "ann", "exp": Infinity}'), AuthFailure.BAD_CLAIM),
        (by_hand(HS256, b'{"sub": "ann", "exp": 1' + b"0" * 2000 + b"}"), AuthFailure.BAD_CLAIM),
        (by_hand(HS256, CLAIMS | {"nbf": "soon"}), AuthFailure.BAD_CLAIM),
        (by_hand(HS256, CLAIMS | {"iat": "now"}), AuthFailure.BAD_CLAIM),
        (by_hand(HS256, CLAIMS | {"jti": 7}), AuthFailure.BAD_CLAIM),
        (by_hand(HS256, CLAIMS | {"sub": 7}), AuthFailure.BAD_CLAIM),
        (by_hand(HS256, b'{"sub": "\\ud800", "exp": %d}' % (NOW_S + 60)), AuthFailure.BAD_CLAIM),
        (signed(sub=""), AuthFailure.BAD_CLAIM),
        (signed(sub="a" * (MAX_SUBJECT_LENGTH + 1)), AuthFailure.BAD_CLAIM),
        (signed(role=["admin"]), AuthFailure.BAD_CLAIM),
        (signed(symbols="*"), AuthFailure.BAD_CLAIM),
    ],
    ids=itertools.count(),
)
def test_a_token_that_is_not_accepted_says_why(token: str, reason: AuthFailure):
    assert failure(token) is reason


@pytest.mark.threat("T18")
@pytest.mark.parametrize(
    ("claims", "reason"),
    [
        ({"iss": ...}, AuthFailure.MISSING_CLAIM),
        ({"iss": "https://evil"}, AuthFailure.WRONG_ISSUER),
        ({"iss": ["https://id"]}, AuthFailure.WRONG_ISSUER),
        ({"iss": 7}, AuthFailure.WRONG_ISSUER),
        ({"aud": ...}, AuthFailure.MISSING_CLAIM),
        ({"aud": []}, AuthFailure.MISSING_CLAIM),
        ({"aud": "other"}, AuthFailure.WRONG_AUDIENCE),
        ({"aud": "tickwire-2"}, AuthFailure.WRONG_AUDIENCE),
        ({"aud": {"tickwire": 1}}, AuthFailure.WRONG_AUDIENCE),
        ({"aud": ["tickwire", 7]}, AuthFailure.WRONG_AUDIENCE),
    ],
    ids=str,
)
def test_a_token_of_another_issuer_or_for_another_audience_is_refused(claims: dict[str, Any], reason: AuthFailure):
    made = verifier(jwt_issuer="https://id", jwt_audience="tickwire")
    named = {**CLAIMS, "iss": "https://id", "aud": "tickwire", **claims}
    assert failure(by_hand(HS256, {name: value for name, value in named.items() if value is not ...}), made) is reason


@pytest.mark.threat("T16")
def test_a_key_that_is_too_short_does_not_get_as_far_as_a_token():
    for secret in ("", "secret", "s3cr3t-0123456789-ABCDEFGHIJKLM"):
        settings = AuthSettings(jwt_secret=secret)
        if secret:
            assert settings.problems()
            with pytest.raises(ValueError, match="JWT_SECRET"):
                TokenVerifier(settings)
        else:
            assert failure(by_hand(HS256, CLAIMS, b""), TokenVerifier(settings)) is AuthFailure.NO_KEY


@given(st.text(max_size=200))
@pytest.mark.threat("T14")
def test_no_text_does_anything_but_be_refused(token: str):
    with pytest.raises(AuthError):
        verifier().verify(token, NOW_MS)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
NAMES = ["sub", "exp", "nbf", "iat", "iss", "aud", "jti", "role", "symbols", "max_hz", "delay_s", "connections"]


@given(st.dictionaries(st.sampled_from(NAMES), JSON), st.dictionaries(st.sampled_from(["typ", "kid", "cty"]), JSON))
@pytest.mark.threat("T14", "T18")
def test_whatever_is_well_signed_the_answer_is_an_identity_or_a_refusal(
    changes: dict[str, Any], header: dict[str, Any]
):
    token = by_hand({**HS256, **header}, CLAIMS | changes)
    try:
        identity = verifier().verify(token, NOW_MS)
    except AuthError:
        return
    assert 0 < len(identity.user_id) <= MAX_SUBJECT_LENGTH
    assert identity.user_id.encode()


@given(st.binary(max_size=300), st.integers(0, 2))
@pytest.mark.threat("T14", "T15")
def test_a_part_of_a_token_in_the_place_of_which_stands_anything_is_refused(part: bytes, which: int):
    parts = signed().split(".")
    parts[which] = base64.urlsafe_b64encode(part).rstrip(b"=").decode()
    with pytest.raises(AuthError):
        verifier().verify(".".join(parts), NOW_MS)
