"""The catalogue says each thing once, and its verdicts are those that clients act on."""

from shared.names import close_reasons, error_codes, outcomes
from shared.names.retry import Retry


def test_every_error_and_every_ending_is_in_it_once() -> None:
    texts = [row.text.strip("`") for row in outcomes.ALL]
    assert len(texts) == len(set(texts)) == len(error_codes.ALL) + len(close_reasons.ALL)
    assert all(row.meaning and row.number for row in outcomes.ALL)


def test_the_number_of_an_error_carries_its_verdict() -> None:
    verdicts = {row.text: row.retry for row in outcomes.ALL}
    assert verdicts[error_codes.AUTHENTICATION_FAILED.message] is Retry.NEVER
    assert verdicts[error_codes.INVALID_SYMBOL.message] is Retry.CHANGED
    assert verdicts[error_codes.CHART_UNAVAILABLE.message] is Retry.LATER
    assert verdicts[error_codes.RATE_LIMITED.message] is Retry.LATER
    assert verdicts["`token_revoked`"] is Retry.NEVER
    assert verdicts["`token_expired`"] is Retry.BY_ITSELF
