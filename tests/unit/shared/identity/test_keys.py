"""Keys and what they may be used with."""

from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import dsa, ec, rsa

from shared.identity.keys import MAX_TRIED, Key, KeySet, fitting, read_public_key
from tests.support.token_craft import RSA, public_key_file

FIRST, SECOND = Key(b"1", ("HS256",), "first"), Key(b"2", ("HS512",), "second")


def test_the_name_of_a_key_chooses_only_where_keys_have_names():
    assert list(KeySet((FIRST, SECOND), by_id=True).named("second")) == [SECOND]
    assert list(KeySet((FIRST, SECOND), by_id=True).named("third")) == []
    assert list(KeySet((FIRST, SECOND), by_id=True).named(None)) == [FIRST, SECOND]
    assert list(KeySet((FIRST, SECOND)).named("third")) == [FIRST, SECOND]


def test_a_key_is_used_with_its_own_algorithms_alone():
    assert fitting([FIRST, SECOND], "HS512") == [SECOND]
    assert fitting([FIRST, SECOND], "none") == fitting([FIRST, SECOND], None) == fitting([FIRST], ["HS256"]) == []


def test_one_token_is_tried_with_few_keys():
    assert len(fitting([FIRST] * 64, "HS256")) == MAX_TRIED


@pytest.mark.parametrize("private", [ec.generate_private_key(ec.SECP256K1()), dsa.generate_private_key(2048)])
def test_a_key_of_another_kind_is_refused(private: Any, tmp_path: Path):
    with pytest.raises(ValueError, match=r"JWT_PUBLIC_KEY_FILE=.*: not an RSA"):
        read_public_key(public_key_file(tmp_path, private), ())


@pytest.mark.threat("T16")
def test_a_short_rsa_key_is_refused(tmp_path: Path):
    with pytest.raises(ValueError, match="an RSA key of 1024 bits; 2048 to 8192"):
        read_public_key(public_key_file(tmp_path, rsa.generate_private_key(65537, 1024)), ())


def test_the_usual_algorithm_is_taken_where_nothing_is_said(tmp_path: Path):
    path = public_key_file(tmp_path, RSA)
    assert read_public_key(path, ()).algorithms == ("RS256",)
    assert read_public_key(path, ("PS256", "RS512")).algorithms == ("PS256", "RS512")
