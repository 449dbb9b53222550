"""A candle at work, and how Redis holds it."""

from services.price_ingest.aggregate import Aggregate
from services.price_ingest.drafts import Draft, decode_stored, draft_of
from services.price_ingest.normalise import Kind
from shared.messages import Candle, decode_candle, encode


def made() -> Draft:
    content = Aggregate(Kind.TRADE, (1_000_000, 7, 0, "1.0"))
    content.add_amount("0.00017")
    content.add_price((3_000_000, 2**61, -(2**61), "3"))
    content.add_amount("1.5")
    draft = Draft(0, content)
    draft.closed, draft.rev = True, 9
    return draft


def test_readers_get_the_digits_as_upstream_wrote_them():
    assert made().publish() == Candle(0, "1.0", "3", "1.0", "3", "1.50017", 2, closed=True, rev=9)


def test_what_redis_holds_is_a_candle_to_readers_and_the_draft_to_us():
    draft = made()
    encoded = encode(draft.store(draft.publish()))
    assert decode_candle(encoded) == draft.publish()
    again = draft_of(decode_stored(encoded))
    assert not again.changed
    assert again.publish() == draft.publish()
    for name in (*Aggregate.__slots__[1:], "start", "closed", "rev"):
        assert getattr(again, name) == getattr(draft, name), name
