r"""Long-polling at the wire: payloads, answers, overlaps, endings (protocol reference 2.1, 2.4)."""

import asyncio
import gzip
import zlib
from collections.abc import Callable, Iterator

import pytest

from services.gateway.polling import LATE_POLL_S
from tests.support.conformance_client import NO_PINGS_MS, SEPARATOR, Answer, Http, Poller, request, serving

MAX_PAYLOAD = 1_000_000


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """The app without its pings."""
    with serving(NO_PINGS_MS) as port:
        yield port


async def check_gone(poller: Poller) -> None:
    """Nobody knows the sid any more."""
    for answer in (await poller.get(), await poller.post("4hello")):
        assert (answer.status, answer.json()) == (400, {"code": 1, "message": "Session ID unknown"})


def check_poll(answer: Answer, *packets: str) -> None:
    assert (answer.status, answer.text) == (200, SEPARATOR.join(packets))
    assert answer.headers["content-type"] == "text/plain; charset=UTF-8"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["content-length"] == str(len(answer.body))


@pytest.mark.parametrize(
    "packets",
    [
        ["4hello"],
        ["4one", "4two", "4three"],
        ["4"],
        ["4é€😀 \u2028"],
        ["4hello", "bAQIDBA=="],
        ["bAQIDBA==", "b", "4between", "b/+8="],
    ],
)
async def test_payload_comes_back_in_order(port: int, packets: list[str]) -> None:
    poller = await Poller.open(port)
    posted = await poller.post(SEPARATOR.join(packets))
    assert (posted.status, posted.text, posted.headers["content-type"]) == (200, "ok", "text/html")
    check_poll(await poller.get(), *packets)


async def test_long_backlog_loses_nothing_and_goes_to_browsers_in_one_piece(port: int) -> None:
    packets = [f"4{number}" for number in range(1_000)]
    browser, other = await Poller.open(port), await Poller.open(port)
    for poller in (browser, other):
        await poller.send(*packets)
    check_poll(await browser.get({"User-Agent": "Mozilla/5.0 (X11; Linux x86_64) Firefox/140.0"}), *packets)
    assert [await other.next() for _ in packets] == packets


@pytest.mark.parametrize("content_type", ["text/plain;charset=UTF-8", "text/html", None])
async def test_content_type_of_a_payload_does_not_matter(port: int, content_type: str | None) -> None:
    poller = await Poller.open(port)
    posted = await poller.post("4hello", {"Content-Type": content_type} if content_type else None)
    assert posted.text == "ok"
    check_poll(await poller.get(), "4hello")


async def test_chunked_payload_is_read(port: int) -> None:
    poller = await Poller.open(port)
    async with await Http.open(port) as http:
        body = b"3\r\n4he\r\n3\r\nllo\r\n0\r\n\r\n"
        posted = await http.ask("POST", poller.target, body, {"Transfer-Encoding": "chunked"})
        assert posted.text == "ok"
    check_poll(await poller.get(), "4hello")


async def test_parked_poll_is_answered_when_there_is_something(port: int) -> None:
    poller = await Poller.open(port)
    async with await poller.parked() as parked:
        await poller.send("4hello", b"\x00")
        answers = [await parked.answer()]
        while SEPARATOR.join(answer.text for answer in answers) != SEPARATOR.join(["4hello", "bAA=="]):
            assert len(answers) < 2, answers
            answers.append(await poller.get())


@pytest.mark.parametrize("body", ["abc", "", "7", "4good\x1e", "4good\x1e\x1e4good", "b*", "bAQ=", "2", "21", "\xff"])
async def test_bad_packet_closes(port: int, body: str) -> None:
    poller = await Poller.open(port)
    posted = await poller.post(body.encode("latin-1"))
    assert posted.status in (200, 400)
    await check_gone(poller)


@pytest.mark.parametrize("packet", ["5", "6", "3"])
async def test_packets_without_meaning_are_ignored(port: int, packet: str) -> None:
    poller = await Poller.open(port)
    assert (await poller.post(packet)).text == "ok"
    await poller.send("4hello")
    check_poll(await poller.get(), "4hello")


async def test_bad_packet_ends_the_parked_poll_with_a_close(port: int) -> None:
    poller = await Poller.open(port)
    async with await poller.parked() as parked:
        await poller.post("abc")
        check_poll(await parked.answer(), "1")
        await check_gone(poller)


async def test_octet_stream_is_refused_and_closes(port: int) -> None:
    poller = await Poller.open(port)
    posted = await poller.post("4hello", {"Content-Type": "application/octet-stream"})
    assert (posted.status, posted.json()) == (400, {"code": 3, "message": "Bad request"})
    await check_gone(poller)


@pytest.mark.parametrize("is_chunked", [False, True])
async def test_oversize_payload_gets_413_and_the_connection_lives(port: int, is_chunked: bool) -> None:  # noqa: FBT001
    poller = await Poller.open(port)
    body = b"4" + b"x" * MAX_PAYLOAD
    headers = {"Transfer-Encoding": "chunked"} if is_chunked else {}
    posted = await poller.post(b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body) if is_chunked else body, headers)
    assert (posted.status, posted.body) == (413, b"")
    assert (await poller.post(body[:-1])).text == "ok"
    polled = await poller.get()
    assert polled.body == body[:-1]


async def test_second_poll_closes_both(port: int) -> None:
    poller = await Poller.open(port)
    async with await poller.parked() as parked:
        second = await poller.get()
        assert (second.status, second.json()) == (400, {"code": 3, "message": "Bad request"})
        check_poll(await parked.answer(), "1")
        await check_gone(poller)


async def test_second_post_beside_an_unfinished_one_closes(port: int) -> None:
    poller = await Poller.open(port)
    async with await Http.open(port) as first, await Http.open(port) as second:
        first.send_bytes(f"POST {poller.target} HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n4he".encode())
        await poller.settle()
        refused = await second.ask("POST", poller.target, b"4hello")
        assert (refused.status, refused.json()) == (400, {"code": 3, "message": "Bad request"})
        first.send_bytes(b"llo wor")
        assert (await first.answer()).status == 400
        await check_gone(poller)
        if refused.headers["connection"] == "keep-alive":
            assert (await second.ask("GET", poller.target)).status == 400


@pytest.mark.parametrize("how", ["close", "abort"])
async def test_cancelled_poll_closes(port: int, how: str) -> None:
    poller = await Poller.open(port)
    async with await poller.parked() as parked:
        getattr(parked, how)()
        await check_gone(poller)


async def test_cancelled_post_closes(port: int) -> None:
    poller = await Poller.open(port)
    async with await Http.open(port) as http:
        http.send_bytes(f"POST {poller.target} HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n4he".encode())
        await poller.settle()
        http.close()
        await check_gone(poller)


async def test_client_that_leaves_gets_a_noop_in_its_parked_poll(port: int) -> None:
    poller = await Poller.open(port)
    async with await poller.parked() as parked:
        posted = await poller.post("1")
        assert (posted.status, posted.text) == (200, "ok")
        check_poll(await parked.answer(), "6")
        await check_gone(poller)


async def test_poll_that_lost_the_race_against_the_goodbye_gets_its_noop_too(port: int) -> None:
    poller = await Poller.open(port)
    await poller.send("4unread")
    assert (await poller.post("1")).text == "ok"
    check_poll(await poller.get(), "6")
    await check_gone(poller)


async def test_client_that_left_is_soon_forgotten(port: int) -> None:
    poller = await Poller.open(port)
    assert (await poller.post("1")).text == "ok"
    await asyncio.sleep(LATE_POLL_S + 0.1)
    await check_gone(poller)


async def test_what_follows_a_close_is_dropped(port: int) -> None:
    poller = await Poller.open(port)
    async with await poller.parked() as parked:
        assert (await poller.post("1\x1e4late")).text == "ok"
        check_poll(await parked.answer(), "6")
        await check_gone(poller)


async def last_words(poller: Poller, heard: list[str]) -> list[str]:
    """All that comes until the close packet; it may come alone."""
    while heard[-1:] != ["1"]:
        answer = await poller.get()
        assert answer.status == 200, (heard, answer)
        heard += answer.text.split(SEPARATOR)
    return heard


async def joined(port: int) -> Poller:
    """A connection in the namespace `/`."""
    poller = await Poller.open(port, "/socket.io/")
    await poller.send("40")
    assert [str(await poller.next())[:2] for _ in range(2)] == ["40", "42"]
    return poller


async def test_server_says_its_goodbye_in_the_parked_poll(port: int) -> None:
    poller = await joined(port)
    async with await poller.parked() as parked:
        await poller.send('42["kick-transport"]')
        first = await parked.answer()
        assert await last_words(poller, first.text.split(SEPARATOR)) == ["41", "1"]
        await check_gone(poller)


async def test_server_keeps_its_goodbye_for_the_next_poll_with_all_that_was_said_before(port: int) -> None:
    poller = await joined(port)
    await poller.send('42["message",1]', '42["kick-transport"]')
    assert await last_words(poller, []) == ['42["message-back",1]', "41", "1"]
    await check_gone(poller)


@pytest.mark.parametrize(
    ("accepted", "coding"),
    [("gzip, deflate", "gzip"), ("deflate", "deflate"), ("identity", None), (None, None), ("br", None)],
)
async def test_large_answers_are_compressed_for_who_accepts_it(
    port: int, accepted: str | None, coding: str | None
) -> None:
    poller = await Poller.open(port)
    headers = {"Accept-Encoding": accepted} if accepted else {}
    await poller.send("4" + "x" * 1_022)
    small = await poller.get(headers)
    assert (small.headers.get("content-encoding"), len(small.body)) == (None, 1_023)
    await poller.send("4" + "x" * 1_023)
    large = await poller.get(headers)
    assert large.headers.get("content-encoding") == coding
    unpack: dict[str | None, Callable[[bytes], bytes]] = {"gzip": gzip.decompress, "deflate": zlib.decompress}
    assert unpack.get(coding, bytes)(large.body) == b"4" + b"x" * 1_023


async def test_requests_of_one_client_do_not_touch_another(port: int) -> None:
    one, other = await Poller.open(port), await Poller.open(port)
    await one.post("abc")
    await other.send("4hello")
    check_poll(await other.get(), "4hello")
    await check_gone(one)
    assert (await request(port, "GET", "/engine.io/?EIO=4&transport=polling")).status == 200
