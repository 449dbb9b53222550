"""Tokens."""

import base64
import hmac
import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from shared.identity import (
    LEEWAY_S,
    MAX_SUBJECT_LENGTH,
    MAX_TOKEN_LENGTH,
    AuthError,
    AuthFailure,
    AuthSettings,
    Identity,
    TokenVerifier,
    sign_development_token,
)

SECRET = "a secret of at least thirty-two bytes"
NOW_S = 1_763_800_000
NOW_MS = NOW_S * 1000
CLAIMS: dict[str, Any] = {"sub": "ann", "exp": NOW_S + 60}
RSA = rsa.generate_private_key(65537, 2048)


def signed(key: Any = SECRET, algorithm: str = "HS256", **changes: Any) -> str:
    claims = {name: value for name, value in {**CLAIMS, **changes}.items() if value is not ...}
    return jwt.encode(claims, key, algorithm)


def by_hand(header: Any, claims: Any, secret: bytes = SECRET.encode()) -> str:
    """A token that no library would make."""
    parts = [header if isinstance(header, bytes) else json.dumps(header).encode()]
    parts.append(claims if isinstance(claims, bytes) else json.dumps(claims).encode())
    body = b".".join(base64.urlsafe_b64encode(part).rstrip(b"=") for part in parts)
    signature = base64.urlsafe_b64encode(hmac.digest(secret, body, sha256)).rstrip(b"=")
    return (body + b"." + signature).decode()


def verifier(**settings: Any) -> TokenVerifier:
    return TokenVerifier(AuthSettings(**({"jwt_secret": SECRET} | settings)))


def failure(token: str, made: TokenVerifier | None = None, now_ms: int = NOW_MS) -> AuthFailure:
    with pytest.raises(AuthError) as caught:
        (made or verifier()).verify(token, now_ms)
    return caught.value.reason


def public_key_file(directory: Path, private: Any) -> str:
    path = directory / "key.pem"
    path.write_bytes(private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return str(path)


def problem(**settings: Any) -> str:
    (said,) = AuthSettings(**settings).problems()
    with pytest.raises(ValueError, match=r"JWT_") as caught:
        TokenVerifier(AuthSettings(**settings))
    assert str(caught.value) == said
    return said


def test_a_good_token_proves_who_and_until_when():
    assert verifier().verify(signed(role="admin"), NOW_MS) == Identity("ann", "admin", NOW_S + 60)
    assert verifier().verify(signed(), NOW_MS) == Identity("ann", None, NOW_S + 60)


def test_only_the_role_admin_is_an_admin():
    assert verifier().verify(signed(role="admin"), NOW_MS).is_admin
    assert not verifier().verify(signed(role="Admin"), NOW_MS).is_admin
    assert not verifier().verify(signed(), NOW_MS).is_admin


def test_a_development_token_is_one_that_is_accepted():
    token = sign_development_token(
        SECRET, "ann", role="admin", lifetime_s=60, now_ms=NOW_MS, issuer="https://id", audience="tickwire"
    )
    made = verifier(jwt_issuer="https://id", jwt_audience="tickwire")
    assert made.verify(token, NOW_MS) == Identity("ann", "admin", NOW_S + 60)
    assert failure(token, made, NOW_MS + 71_000) is AuthFailure.EXPIRED


@pytest.mark.parametrize(
    ("token", "reason"),
    [
        ("", AuthFailure.MALFORMED),
        ("a.b.c", AuthFailure.MALFORMED),
        ("a.b", AuthFailure.MALFORMED),
        ("\ud800.\udfff.x", AuthFailure.MALFORMED),
        (signed() + "x", AuthFailure.BAD_SIGNATURE),
        (signed(SECRET + "x"), AuthFailure.BAD_SIGNATURE),
        (signed().rsplit(".", 1)[0] + ".", AuthFailure.BAD_SIGNATURE),
        ("x" * (MAX_TOKEN_LENGTH + 1), AuthFailure.TOO_LONG),
        (signed(SECRET * 2, "HS512"), AuthFailure.WRONG_ALGORITHM),
        (signed(RSA, "RS256"), AuthFailure.WRONG_ALGORITHM),
        (jwt.encode(CLAIMS, "", "none"), AuthFailure.WRONG_ALGORITHM),
        (by_hand({"alg": "None", "typ": "JWT"}, CLAIMS), AuthFailure.WRONG_ALGORITHM),
        (by_hand({"alg": "hs256"}, CLAIMS), AuthFailure.WRONG_ALGORITHM),
        (by_hand({"typ": "JWT"}, CLAIMS), AuthFailure.WRONG_ALGORITHM),
        (by_hand({"alg": "HS256", "crit": ["exp2"], "exp2": 1}, CLAIMS), AuthFailure.MALFORMED),
        (by_hand({"alg": "HS256"}, b"[1]"), AuthFailure.MALFORMED),
        (by_hand({"alg": "HS256"}, b"\xff"), AuthFailure.MALFORMED),
        (by_hand({"alg": "HS256"}, b"[" * 1500), AuthFailure.MALFORMED),
        (signed(exp=...), AuthFailure.MISSING_CLAIM),
        (signed(exp=None), AuthFailure.MISSING_CLAIM),
        (signed(sub=...), AuthFailure.MISSING_CLAIM),
        (signed(exp=NOW_S - LEEWAY_S), AuthFailure.EXPIRED),
        (signed(nbf=NOW_S + LEEWAY_S + 1), AuthFailure.NOT_YET_VALID),
        (signed(iat=NOW_S + LEEWAY_S + 1), AuthFailure.NOT_YET_VALID),
        (signed(exp=(NOW_S + 60) * 1000), AuthFailure.BAD_CLAIM),
        (by_hand({"alg": "HS256"}, CLAIMS | {"exp": str(NOW_S + 60)}), AuthFailure.BAD_CLAIM),
        (by_hand({"alg": "HS256"}, CLAIMS | {"exp": True}), AuthFailure.BAD_CLAIM),
        (by_hand({"alg": "HS256"}, CLAIMS | {"exp": 1e308}), AuthFailure.BAD_CLAIM),
        (by_hand({"alg": "HS256"}, b'{"sub": "ann", "exp": NaN}'), AuthFailure.BAD_CLAIM),
        (by_hand({"alg": "HS256"}, CLAIMS | {"nbf": "soon"}), AuthFailure.BAD_CLAIM),
        (by_hand({"alg": "HS256"}, CLAIMS | {"sub": 7}), AuthFailure.BAD_CLAIM),
        (signed(sub=""), AuthFailure.BAD_CLAIM),
        (signed(sub="a" * (MAX_SUBJECT_LENGTH + 1)), AuthFailure.BAD_CLAIM),
        (signed(role=["admin"]), AuthFailure.BAD_CLAIM),
    ],
)
def test_a_token_that_is_not_accepted_says_why(token: str, reason: AuthFailure):
    assert failure(token) is reason


def test_clocks_may_differ_by_the_leeway():
    token = signed(exp=NOW_S, nbf=NOW_S + LEEWAY_S, iat=NOW_S + LEEWAY_S)
    assert verifier().verify(token, NOW_MS).user_id == "ann"
    assert verifier().verify(signed(exp=NOW_S), NOW_MS + LEEWAY_S * 1000 - 1).user_id == "ann"


def test_issuer_and_audience_are_checked_where_they_are_set():
    made = verifier(jwt_issuer="https://id", jwt_audience="tickwire")
    assert made.verify(signed(iss="https://id", aud=["other", "tickwire"]), NOW_MS).user_id == "ann"
    assert failure(signed(iss="https://evil", aud="tickwire"), made) is AuthFailure.WRONG_ISSUER
    assert failure(signed(iss="https://id", aud="other"), made) is AuthFailure.WRONG_AUDIENCE
    assert failure(signed(aud="tickwire"), made) is AuthFailure.MISSING_CLAIM
    assert verifier().verify(signed(iss="https://any", aud="any"), NOW_MS).user_id == "ann"


def test_without_a_key_no_token_is_accepted():
    made = TokenVerifier(AuthSettings())
    assert not made.has_key
    assert failure(signed(), made) is AuthFailure.NO_KEY


@pytest.mark.parametrize(
    ("private", "algorithm"),
    [
        (RSA, "RS256"),
        (ec.generate_private_key(ec.SECP256R1()), "ES256"),
        (ec.generate_private_key(ec.SECP384R1()), "ES384"),
        (ec.generate_private_key(ec.SECP521R1()), "ES512"),
        (ed25519.Ed25519PrivateKey.generate(), "EdDSA"),
    ],
)
def test_each_kind_of_public_key_has_its_usual_algorithm(private: Any, algorithm: str, tmp_path: Path):
    made = TokenVerifier(AuthSettings(jwt_public_key_file=public_key_file(tmp_path, private)))
    assert made.verify(signed(private, algorithm), NOW_MS).user_id == "ann"
    assert failure(signed(), made) is AuthFailure.WRONG_ALGORITHM


def test_a_public_key_is_never_used_as_a_secret(tmp_path: Path):
    path = public_key_file(tmp_path, RSA)
    made = TokenVerifier(AuthSettings(jwt_public_key_file=path))
    forged = by_hand({"alg": "HS256"}, CLAIMS, Path(path).read_bytes())
    assert failure(forged, made) is AuthFailure.WRONG_ALGORITHM


def test_other_algorithms_of_the_keys_family_can_be_chosen(tmp_path: Path):
    path = public_key_file(tmp_path, RSA)
    made = TokenVerifier(AuthSettings(jwt_public_key_file=path, jwt_algorithms=("PS256", "RS512")))
    assert made.verify(signed(RSA, "RS512"), NOW_MS).user_id == "ann"
    assert failure(signed(RSA, "RS256"), made) is AuthFailure.WRONG_ALGORITHM


def test_settings_that_cannot_work_are_refused_by_name(tmp_path: Path):
    rsa_file = public_key_file(tmp_path, RSA)
    pem = Path(rsa_file).read_text()
    missing, garbage = str(tmp_path / "missing.pem"), tmp_path / "garbage.pem"
    garbage.write_text("not a key")
    assert "at least 32" in problem(jwt_secret="short")
    assert "at least 64" in problem(jwt_secret=SECRET, jwt_algorithms=("HS256", "HS512"))
    assert "PEM" in problem(jwt_secret=pem)
    assert "JWK" in problem(jwt_secret='{"kty": "oct", "k": "AAAAAAAAAAAAAAAAAAAAA"}')
    assert "not both" in problem(jwt_secret=SECRET, jwt_public_key_file=rsa_file)
    assert missing in problem(jwt_public_key_file=missing)
    assert str(garbage) in problem(jwt_public_key_file=str(garbage))
    assert "none cannot" in problem(jwt_secret=SECRET, jwt_algorithms=("none",))
    assert "RS256 cannot" in problem(jwt_secret=SECRET, jwt_algorithms=("HS256", "RS256"))
    assert "HS256 cannot" in problem(jwt_public_key_file=rsa_file, jwt_algorithms=("HS256",))
    assert AuthSettings().problems() == AuthSettings(jwt_secret=SECRET).problems() == []


def test_a_secret_is_not_told_by_what_is_wrong_with_it():
    assert "hunter2" not in problem(jwt_secret="hunter2")


@pytest.mark.parametrize("private", [ec.generate_private_key(ec.SECP256K1()), dsa.generate_private_key(2048)])
def test_a_key_of_another_kind_is_refused(private: Any, tmp_path: Path):
    assert "not an RSA" in problem(jwt_public_key_file=public_key_file(tmp_path, private))


def test_a_private_key_given_by_mistake_is_refused(tmp_path: Path):
    path = tmp_path / "private.pem"
    path.write_bytes(RSA.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    assert str(path) in problem(jwt_public_key_file=str(path))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(st.text(max_size=200))
def test_no_text_does_anything_but_be_refused(token: str):
    with pytest.raises(AuthError):
        verifier().verify(token, NOW_MS)


@given(st.dictionaries(st.sampled_from(["sub", "exp", "nbf", "iat", "iss", "aud", "jti", "role"]), JSON))
def test_whatever_well_signed_claims_hold_the_answer_is_an_identity_or_a_refusal(changes: dict[str, Any]):
    token = by_hand({"alg": "HS256"}, CLAIMS | changes)
    try:
        identity = verifier().verify(token, NOW_MS)
    except AuthError:
        return
    assert 0 < len(identity.user_id) <= MAX_SUBJECT_LENGTH
