"""One entry in, canonical mappings out, whatever comes."""

import json

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from shared.upstream import UpstreamError, unwrap
from shared.upstream.aliases import ALIASES, CANONICAL, FOREIGN
from shared.upstream.payload import MAX_ITEMS

WHOLE = dict.fromkeys(CANONICAL, b"1")


def test_a_canonical_entry_is_handed_on_as_it_is() -> None:
    for fields in (WHOLE, {**WHOLE, b"mood": b"fine"}, {b"symbol": b"X"}, {b"symbol": b"X", b"state": b"halted"}):
        (found,) = unwrap(fields)
        assert found is fields


def test_a_canonical_entry_may_use_another_name_for_one_field() -> None:
    (found,) = unwrap({b"symbol": b"X", b"price": b"1", b"qty": b"2"})
    assert found == {b"symbol": b"X", b"price": b"1", b"amount": b"2"}


names = st.sampled_from(sorted({*FOREIGN, *CANONICAL, b"exchange", b"receipt_timestamp", b"e", b"b", b"BTC-USDT"}))
texts = names.map(bytes.decode)
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=9)
    | st.sampled_from(["TradeTick", "1.5"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=6),
    max_leaves=20,
)


def _fits(value: object) -> bool:
    try:
        msgspec.msgpack.encode(value)
    except (OverflowError, ValueError):
        return False
    return True


payloads = (
    values.map(lambda value: json.dumps(value).encode())
    | values.filter(_fits).map(msgspec.msgpack.encode)
    | st.binary(max_size=40)
)


@given(st.dictionaries(names, payloads, max_size=8))
def test_whatever_comes_is_some_mappings_or_the_one_error(fields: dict[bytes, bytes]) -> None:
    try:
        items = unwrap(fields)
    except UpstreamError:
        return
    assert len(items) <= MAX_ITEMS
    for item in items:
        assert item is fields or set(item) <= set(CANONICAL)
        assert all(type(part) is bytes for pair in item.items() for part in pair)


def test_all_canonical_names_that_have_aliases_are_canonical() -> None:
    assert set(ALIASES) <= set(CANONICAL)
