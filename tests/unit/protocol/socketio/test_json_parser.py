"""What is particular to the default parser: its text, its digits and its attachments."""

from decimal import Decimal

import pytest

from protocol.errors import PeerError, ViolationCode
from protocol.socketio.json_parser import JsonParser
from protocol.socketio.packets import Ack, Connect, ConnectError, Disconnect, Event, Packet
from protocol.socketio.parser import Limits, MessageData, Pending

PARSER = JsonParser(Limits())


def refusal(*messages: MessageData, parser: JsonParser = PARSER) -> PeerError:
    """Return the error that the last message is refused with; those before it must leave the packet pending."""
    pending: Pending | None = None
    for message in messages[:-1]:
        decoded = parser.decode(message, pending)
        assert isinstance(decoded, Pending)
        pending = decoded
    with pytest.raises(PeerError) as caught:
        parser.decode(messages[-1], pending)
    return caught.value


@pytest.mark.parametrize(
    ("packet", "text"),
    [
        (Connect("/", {"sid": "s"}), '0{"sid":"s"}'),
        (Connect("/custom", {"sid": "s"}), '0/custom,{"sid":"s"}'),
        (Disconnect(), "1"),
        (Disconnect("/custom"), "1/custom,"),
        (Event("x", (1, "€")), '2["x",1,"€"]'),
        (Event("x", (), "/custom", 12), '2/custom,12["x"]'),
        (Ack(0, ()), "30[]"),
        (Ack(7, ({"ok": True},), "/custom"), '3/custom,7[{"ok":true}]'),
        (ConnectError({"message": "no"}, "/x"), '4/x,{"message":"no"}'),
        (ConnectError("no"), '4"no"'),
    ],
)
def test_a_packet_is_this_text(packet: Packet, text: str) -> None:
    assert PARSER.encode(packet) == (text,)
    assert PARSER.decode(text) == packet


@pytest.mark.parametrize(
    "digits", ["64000.10", "1E-8", "0.000001", "1", "-0.0", "123456789012345678901234567890.5", "1E+3"]
)
def test_a_decimal_keeps_exactly_its_digits(digits: str) -> None:
    assert PARSER.encode(Event("x", (Decimal(digits),))) == (f'2["x",{digits}]',)
    assert PARSER.encode_value({"p": [Decimal(digits)]}) == f'{{"p":[{digits}]}}'.encode()


@pytest.mark.parametrize(
    ("text", "packet"),
    [
        ("0/random", Connect("/random")),
        ("0/a?b=c,", Connect("/a?b=c")),
        ('0/a,{"b":","}', Connect("/a", {"b": ","})),
        ('2/a,b,["x"]', None),
        ('2["x","/a,b"]', Event("x", ("/a,b",))),
        ('2/1,2["x"]', Event("x", (), "/1", 2)),
        ("1/random", Disconnect("/random")),
        ("0/\n,{}", Connect("/\n", {})),
    ],
)
def test_a_namespace_ends_at_the_first_comma_or_with_the_text(text: str, packet: Packet | None) -> None:
    if packet is None:
        refusal(text)
    else:
        assert PARSER.decode(text) == packet


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", ViolationCode.UNKNOWN_PACKET),
        ("7", ViolationCode.UNKNOWN_PACKET),
        ("٢", ViolationCode.UNKNOWN_PACKET),
        ("\ud800", ViolationCode.UNKNOWN_PACKET),
        ("2", ViolationCode.BAD_DATA),
        ("31", ViolationCode.BAD_DATA),
        ('2["x"', ViolationCode.MALFORMED),
        ('2["x"]]', ViolationCode.MALFORMED),
        ('2["x",NaN]', ViolationCode.MALFORMED),
        ('2["x",Infinity]', ViolationCode.MALFORMED),
        ('2["x",1e999]', ViolationCode.MALFORMED),
        ('2["x","\\ud800"]', ViolationCode.MALFORMED),
        ('2["x","\ud800"]', ViolationCode.MALFORMED),
        ('2["x",' + "1" * 5_000 + "]", ViolationCode.MALFORMED),
        ('2["x",18446744073709551616]', ViolationCode.NUMBER_OUT_OF_RANGE),
        ('2["x",-9223372036854775809]', ViolationCode.NUMBER_OUT_OF_RANGE),
        ('2custom,["x"]', ViolationCode.MALFORMED),
        ('2-1["x"]', ViolationCode.MALFORMED),
        ('2٣["x"]', ViolationCode.MALFORMED),
        ('29007199254740992["x"]', ViolationCode.BAD_ACK_ID),
        ('212345678901234567["x"]', ViolationCode.MALFORMED),
        ("0/\ud800,", ViolationCode.BAD_NAMESPACE),
    ],
    ids=ascii,
)
def test_text_that_is_no_packet_is_refused(text: str, code: ViolationCode) -> None:
    assert refusal(text).code is code


def test_the_last_of_two_equal_keys_counts() -> None:
    assert PARSER.decode('0{"a":1,"a":2}') == Connect("/", {"a": 2})


# --- attachments


def test_binary_travels_behind_the_text_depth_first() -> None:
    packet = Event("x", ({"a": [b"0", {"b": b"1"}], "c": 1}, b"2"), "/custom", 3)
    text = (
        '53-/custom,3["x",{"a":[{"_placeholder":true,"num":0},{"b":{"_placeholder":true,"num":1}}],"c":1},'
        '{"_placeholder":true,"num":2}]'
    )
    assert PARSER.encode(packet) == (text, b"0", b"1", b"2")
    assert PARSER.encode(Ack(1, (b"",))) == ('61-1[{"_placeholder":true,"num":0}]', b"")


def test_a_packet_is_pending_until_its_last_attachment() -> None:
    pending = PARSER.decode('52-/custom,["x",{"_placeholder":true,"num":1},{"a":{"_placeholder":true,"num":0}}]')
    assert isinstance(pending, Pending)
    assert pending.namespace == "/custom"
    assert PARSER.decode(b"first", pending) is pending
    assert PARSER.decode(b"second", pending) == Event("x", (b"second", {"a": b"first"}), "/custom")


def test_two_pending_packets_do_not_meet() -> None:
    one = PARSER.decode('51-["x",{"_placeholder":true,"num":0}]')
    other = PARSER.decode('61-4[{"_placeholder":true,"num":0}]')
    assert isinstance(one, Pending)
    assert isinstance(other, Pending)
    assert PARSER.decode(b"2", other) == Ack(4, (b"2",))
    assert PARSER.decode(b"1", one) == Event("x", (b"1",))


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("5", ViolationCode.BAD_ATTACHMENT_COUNT),
        ("5-", ViolationCode.BAD_ATTACHMENT_COUNT),
        ('5["x"]', ViolationCode.BAD_ATTACHMENT_COUNT),
        ("51", ViolationCode.BAD_ATTACHMENT_COUNT),
        ("50-", ViolationCode.BAD_ATTACHMENT_COUNT),
        ('50-["x"]', ViolationCode.BAD_ATTACHMENT_COUNT),
        ("5-1-", ViolationCode.BAD_ATTACHMENT_COUNT),
        ("51.5-", ViolationCode.BAD_ATTACHMENT_COUNT),
        ("5999999-", ViolationCode.BAD_ATTACHMENT_COUNT),
        ('511-["x"]', ViolationCode.TOO_MANY_ATTACHMENTS),
        ("5999-", ViolationCode.TOO_MANY_ATTACHMENTS),
        ("51-", ViolationCode.BAD_DATA),
        ("51-{}", ViolationCode.BAD_DATA),
        ('51-["x"]', ViolationCode.BAD_PLACEHOLDER),
        ('51-["connect",{"_placeholder":true,"num":0}]', ViolationCode.RESERVED_EVENT),
        ('51-[{"_placeholder":true,"num":0}]', ViolationCode.BAD_EVENT_NAME),
        ('61-[{"_placeholder":true,"num":0}]', ViolationCode.BAD_ACK_ID),
    ],
)
def test_a_binary_packet_with_a_bad_count_or_shape_is_refused_at_its_text(text: str, code: ViolationCode) -> None:
    assert refusal(text).code is code


@pytest.mark.parametrize(
    "num", ["-1", "1", "true", "false", "null", '"0"', '"splice"', "0.0", "[]", "18446744073709551616"]
)
def test_a_placeholder_number_is_an_integer_in_range(num: str) -> None:
    assert refusal(f'51-["x",{{"_placeholder":true,"num":{num}}}]').code is ViolationCode.BAD_PLACEHOLDER


@pytest.mark.parametrize(
    "data",
    [
        '51-["x",{"_placeholder":true,"num":0},{"_placeholder":true,"num":0}]',
        '52-["x",{"_placeholder":true,"num":0},{"_placeholder":true,"num":0}]',
        '52-["x",{"_placeholder":true,"num":0}]',
        '51-["x",{"_placeholder":true}]',
        '51-["x",{"_placeholder":true,"num":0,"more":1}]',
    ],
)
def test_every_attachment_has_exactly_one_placeholder(data: str) -> None:
    assert refusal(data).code is ViolationCode.BAD_PLACEHOLDER


def test_text_while_attachments_are_awaited_is_refused() -> None:
    error = refusal('51-["x",{"_placeholder":true,"num":0}]', '2["y"]')
    assert error.code is ViolationCode.ATTACHMENT_EXPECTED


def test_binary_when_none_is_awaited_is_refused() -> None:
    assert refusal(b"x").code is ViolationCode.WRONG_FRAME_KIND


def test_all_attachments_together_count_against_the_payload_limit() -> None:
    text = '52-["x",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]'
    parser = JsonParser(Limits(max_payload=len(text) + 10))
    error = refusal(text, b"12345", b"123456", parser=parser)
    assert (error.code, error.limit, error.actual) == (ViolationCode.PAYLOAD_TOO_LARGE, len(text) + 10, len(text) + 11)


def test_a_single_attachment_may_be_as_long_as_a_string() -> None:
    parser = JsonParser(Limits(max_string=4))
    assert (
        refusal('51-["x",{"_placeholder":true,"num":0}]', b"12345", parser=parser).code is ViolationCode.STRING_TOO_LONG
    )


def test_a_refused_attachment_leaves_the_pending_packet_as_it_was() -> None:
    parser = JsonParser(Limits(max_string=4))
    pending = parser.decode('51-["x",{"_placeholder":true,"num":0}]')
    assert isinstance(pending, Pending)
    size = pending.size
    with pytest.raises(PeerError):
        parser.decode(b"12345", pending)
    assert (pending.size, pending.received) == (size, [])
