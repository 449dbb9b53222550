"""Tokens that are accepted, and how the choice of keys shows; hostile ones are in `tests/security/test_tokens.py`."""

from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from shared.identity import LEEWAY_S, AuthFailure, AuthSettings, Identity, TokenVerifier, sign_development_token
from tests.support.token_craft import (
    LONG_SECRET,
    NOW_MS,
    NOW_S,
    RSA,
    SECRET,
    failure,
    public_key_file,
    signed,
    verifier,
)

OTHER = "another secret that is long enough too"


def test_a_good_token_proves_who_and_until_when():
    assert verifier().verify(signed(role="admin"), NOW_MS) == Identity("ann", "admin", NOW_S + 60)
    assert verifier().verify(signed(), NOW_MS) == Identity("ann", None, NOW_S + 60)


def test_when_it_was_issued_and_which_it_is_are_kept_for_revocation():
    identity = verifier().verify(signed(iat=NOW_S - 5.5, jti="t1"), NOW_MS)
    assert (identity.issued, identity.token_id) == (NOW_S - 6, "t1")


def test_a_development_token_is_one_that_is_accepted():
    token = sign_development_token(
        SECRET,
        "ann",
        role="admin",
        lifetime_s=60,
        now_ms=NOW_MS,
        issuer="https://id",
        audience="tickwire",
        rights={"delay_s": 900},
    )
    made = verifier(jwt_issuer="https://id", jwt_audience="tickwire")
    identity = made.verify(token, NOW_MS)
    assert (identity.user_id, identity.role, identity.expires) == ("ann", "admin", NOW_S + 60)
    assert (identity.issued, identity.rights.delay_s) == (NOW_S, 900)
    assert failure(token, made, NOW_MS + 71_000) is AuthFailure.EXPIRED


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
    assert failure(signed(iss="https://id"), made) is AuthFailure.MISSING_CLAIM
    assert verifier().verify(signed(iss="https://any", aud="any"), NOW_MS).user_id == "ann"


def test_without_a_key_no_token_is_accepted():
    made = TokenVerifier(AuthSettings())
    assert not made.has_key
    assert failure(signed(), made) is AuthFailure.NO_KEY


def test_after_a_change_of_secret_tokens_of_the_one_before_are_still_accepted():
    rotated = verifier(jwt_secret=OTHER, jwt_secret_previous=SECRET)
    assert rotated.verify(signed(SECRET), NOW_MS).user_id == rotated.verify(signed(OTHER), NOW_MS).user_id == "ann"
    assert failure(signed(LONG_SECRET), rotated) is AuthFailure.BAD_SIGNATURE
    assert failure(signed(SECRET), verifier(jwt_secret=OTHER)) is AuthFailure.BAD_SIGNATURE


@pytest.mark.parametrize("algorithm", ["HS256", "HS384", "HS512"])
def test_a_long_secret_serves_the_algorithm_that_is_chosen_and_no_other(algorithm: str):
    made = verifier(jwt_secret=LONG_SECRET, jwt_algorithms=(algorithm,))
    for name in ("HS256", "HS384", "HS512"):
        token = signed(LONG_SECRET, name)
        if name == algorithm:
            assert made.verify(token, NOW_MS).user_id == "ann"
        else:
            assert failure(token, made) is AuthFailure.WRONG_ALGORITHM


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


@pytest.mark.parametrize("algorithm", ["RS384", "RS512", "PS256", "PS384", "PS512"])
def test_other_algorithms_of_the_keys_family_can_be_chosen(algorithm: str, tmp_path: Path):
    path = public_key_file(tmp_path, RSA)
    made = TokenVerifier(AuthSettings(jwt_public_key_file=path, jwt_algorithms=(algorithm,)))
    assert made.verify(signed(RSA, algorithm), NOW_MS).user_id == "ann"
    assert failure(signed(RSA, "RS256"), made) is AuthFailure.WRONG_ALGORITHM


@pytest.mark.parametrize("kind", ["JWT", "jwt", "at+jwt", "AT+JWT", "application/at+jwt", None])
def test_a_token_may_say_what_kind_it_is(kind: str | None):
    assert verifier().verify(signed(headers={"typ": kind}), NOW_MS).user_id == "ann"


def test_the_name_of_a_key_means_nothing_where_keys_have_no_names():
    assert verifier().verify(signed(headers={"kid": "any"}), NOW_MS).user_id == "ann"
