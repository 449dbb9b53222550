"""Why tokens are refused."""

from shared.identity.failures import AuthError, AuthFailure


def test_only_a_key_that_is_being_fetched_is_worth_coming_back_for():
    assert [reason for reason in AuthFailure if reason.temporary] == [AuthFailure.KEYS_AWAITED]


def test_an_error_tells_its_reason_and_the_claim_that_it_is_about():
    assert str(AuthError(AuthFailure.EXPIRED)) == "expired"
    assert str(AuthError(AuthFailure.BAD_CLAIM, "exp")) == "bad_claim: exp"
