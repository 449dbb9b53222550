"""Development tokens: durations, and where the secret comes from."""

import pytest

from services.launcher.errors import LauncherError
from services.launcher.run_state import RunState
from services.launcher.tokens import parse_duration, sign, token_claims
from shared.identity import AuthSettings, TokenVerifier
from shared.rights import Rights, SymbolPatterns

NOW_MS = 1_763_800_000_000
SECRET = "0123456789abcdef0123456789abcdef"
OTHER = "fedcba9876543210fedcba9876543210"


def running(secret: str = SECRET, issuer: str = "", audience: str = "") -> RunState:
    return RunState(1, 1, "redis://x", (), jwt_secret=secret, jwt_issuer=issuer, jwt_audience=audience)


def accepted_by(token: str, *, issuer: str = "", audience: str = "") -> str:
    settings = AuthSettings(jwt_secret=SECRET, jwt_issuer=issuer, jwt_audience=audience)
    return TokenVerifier(settings).verify(token, NOW_MS).user_id


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("15m", 900), ("1h", 3600), ("7d", 604_800)])
def test_durations_are_written_with_their_unit(text, seconds):
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "1", "h", "0s", "-1h", "1.5h", "1w", "1h30m"])
def test_anything_else_is_no_duration(text):
    with pytest.raises(ValueError, match="write 90s"):
        parse_duration(text)


def test_the_environments_secret_signs():
    token = sign("u1", "admin", 60, NOW_MS, {"JWT_SECRET": SECRET}, running(OTHER))
    identity = TokenVerifier(AuthSettings(jwt_secret=SECRET)).verify(token, NOW_MS)
    assert (identity.user_id, identity.role, identity.expires) == ("u1", "admin", NOW_MS // 1000 + 60)


def test_without_one_that_of_the_running_cluster_does():
    assert accepted_by(sign("u1", None, 60, NOW_MS, {}, running())) == "u1"


def test_a_secret_of_the_environment_that_is_the_clusters_takes_its_issuer_and_audience():
    cluster = running(issuer="them", audience="us")
    assert accepted_by(sign("u1", None, 60, NOW_MS, {"JWT_SECRET": SECRET}, cluster), issuer="them", audience="us")
    assert accepted_by(sign("u1", None, 60, NOW_MS, {"JWT_SECRET": SECRET}, running(OTHER, issuer="them")))


def test_the_first_of_the_algorithms_signs():
    environment = {"JWT_SECRET": SECRET * 2, "JWT_ALGORITHMS": "HS512, HS256"}
    settings = AuthSettings(jwt_secret=SECRET * 2, jwt_algorithms=("HS512",))
    token = sign("u1", None, 60, NOW_MS, environment, None)
    assert TokenVerifier(settings).verify(token, NOW_MS).user_id == "u1"


def test_rights_become_claims():
    claims = token_claims("BTC-*, ETH-USDT", 2.0, 900, 3, "t1")
    identity = TokenVerifier(AuthSettings(jwt_secret=SECRET)).verify(
        sign("u1", None, 60, NOW_MS, {"JWT_SECRET": SECRET}, None, claims), NOW_MS
    )
    assert identity.token_id == "t1"
    assert identity.rights == Rights(SymbolPatterns(["BTC-*", "ETH-USDT"]), 2.0, 900, 3)
    assert token_claims("", None, 0, None, "") == {}
    with pytest.raises(ValueError, match="no pattern"):
        token_claims("BTC USDT", None, 0, None, "")


def test_issuer_and_audience_follow_the_cluster():
    token = sign("u1", None, 60, NOW_MS, {}, running(issuer="them", audience="us"))
    assert accepted_by(token, issuer="them", audience="us") == "u1"


@pytest.mark.parametrize(
    ("environment", "cluster", "said"),
    [
        ({}, None, "no secret to sign with"),
        ({}, running(""), "public key"),
        ({"JWT_SECRET": "short"}, None, "no gateway accepts JWT_SECRET: 5 bytes"),
        ({"JWT_SECRET": SECRET, "JWT_ALGORITHMS": "HS512"}, None, "32 bytes, at least 64"),
        ({"JWT_SECRET": SECRET, "JWT_ALGORITHMS": "RS256"}, None, "JWT_ALGORITHMS=RS256"),
    ],
)
def test_without_a_usable_secret_it_says_what_to_do(environment, cluster, said):
    with pytest.raises(LauncherError, match=said) as caught:
        sign("u1", None, 60, NOW_MS, environment, cluster)
    assert caught.value.hint


@pytest.mark.parametrize(("user", "rights", "said"), [("", {}, "sub ''"), ("u1", {"delay_s": 90_000}, "delay_s 90000")])
def test_what_every_gateway_would_refuse_is_not_signed(user, rights, said):
    with pytest.raises(LauncherError, match=f"no gateway accepts a token with {said}"):
        sign(user, None, 60, NOW_MS, {"JWT_SECRET": SECRET}, None, rights)
