"""From claims to an identity."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.identity import AuthError, AuthFailure, Identity
from shared.identity.claims import MAX_DELAY_S, identity_of
from shared.rights import MAX_PATTERN_LENGTH, MAX_PATTERNS, Rights, SymbolPatterns

NOW = 1_763_800_000
GOOD = {"sub": "ann", "exp": NOW + 60}


def read(**claims: Any) -> Identity:
    return identity_of({**GOOD, **claims}, NOW, 10)


def test_only_the_role_admin_is_an_admin():
    assert [read(role=role).is_admin for role in ("admin", "Admin", None)] == [True, False, False]
    assert not read().is_admin


def test_a_token_without_rights_grants_everything_live():
    assert read().rights == Rights()
    assert read().rights.whole_market
    assert read().rights.allows("ANY")


def test_rights_are_read_from_their_claims():
    rights = read(symbols=["BTC-*", "ETH-USDT"], max_hz=2, delay_s=900, connections=3).rights
    assert rights == Rights(SymbolPatterns(["ETH-USDT", "BTC-*"]), 2.0, 900, 3)


def test_no_patterns_grant_no_symbol():
    assert not read(symbols=[]).rights.allows("BTC-USDT")


@pytest.mark.parametrize(
    "claims",
    [
        {"symbols": "BTC-USDT"},
        {"symbols": None},
        {"symbols": {"BTC-USDT": True}},
        {"symbols": ["BTC-USDT", 7]},
        {"symbols": [""]},
        {"symbols": ["BTC USDT"]},
        {"symbols": ["[A-Z]+"]},
        {"symbols": ["ÄTH"]},
        {"symbols": ["A" * (MAX_PATTERN_LENGTH + 1)]},
        {"symbols": [f"S{number}" for number in range(MAX_PATTERNS + 1)]},
        {"max_hz": 0},
        {"max_hz": -1},
        {"max_hz": 5e-324},
        {"max_hz": float("inf")},
        {"max_hz": float("nan")},
        {"max_hz": "2"},
        {"max_hz": True},
        {"max_hz": None},
        {"delay_s": -1},
        {"delay_s": MAX_DELAY_S + 1},
        {"delay_s": 0.5},
        {"delay_s": "900"},
        {"delay_s": False},
        {"delay_s": None},
        {"connections": 0},
        {"connections": 1.0},
        {"connections": 10**4000},
        {"connections": [1]},
        {"jti": 7},
        {"jti": ""},
        {"jti": "j" * 257},
        {"role": 7},
        {"role": "r" * 65},
        {"sub": "\ud800"},
        {"iat": "now"},
        {"iat": None},
    ],
    ids=repr,
)
@pytest.mark.threat("T18")
def test_a_claim_of_the_wrong_kind_is_refused_and_not_passed_over(claims: dict[str, Any]):
    with pytest.raises(AuthError) as caught:
        read(**claims)
    assert caught.value.reason is AuthFailure.BAD_CLAIM
    assert [caught.value.claim] == list(claims), "it says which"


@given(st.dictionaries(st.sampled_from(["symbols", "max_hz", "delay_s", "connections", "jti"]), st.from_type(object)))
def test_whatever_rights_a_token_names_they_are_within_bounds_or_refused(claims: dict[str, Any]):
    try:
        rights = read(**claims).rights
    except AuthError:
        return
    assert rights.max_hz is None or 0 < rights.max_hz < float("inf")
    assert 0 <= rights.delay_s <= MAX_DELAY_S
    assert rights.connections is None or rights.connections >= 1
