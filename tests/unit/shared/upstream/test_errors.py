from shared.upstream.errors import Refusal, UpstreamError


def test_an_error_says_field_reason_and_limit() -> None:
    assert str(UpstreamError(Refusal.MISSING, "price")) == "price: missing_field"
    assert str(UpstreamError(Refusal.PAYLOAD_TOO_LARGE, "data", 65536)) == "data: payload_too_large, at most 65536"
