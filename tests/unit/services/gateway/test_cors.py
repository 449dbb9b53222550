"""What a browser is told about an answer, and who may connect at all."""

import pytest

from services.gateway.cors import METHODS, Cors

GOOD, BAD = "https://good.example", "https://bad.example"
VARY = ("Vary", "Origin")
STAR = ("Access-Control-Allow-Origin", "*")
TOLD = [("Access-Control-Allow-Origin", GOOD), ("Access-Control-Allow-Credentials", "true"), VARY]


@pytest.mark.parametrize(
    ("origins", "origin", "allowed", "headers"),
    [
        ({"*"}, None, True, [STAR]),
        ({"*"}, BAD, True, [STAR]),
        ({"*", GOOD}, GOOD, True, [STAR]),
        ({GOOD}, GOOD, True, TOLD),
        ({GOOD}, BAD, False, [VARY]),
        ({GOOD}, None, True, [VARY]),
        ({GOOD}, GOOD + ".evil", False, [VARY]),
        ({GOOD}, GOOD.upper(), False, [VARY]),
        ({GOOD}, "null", False, [VARY]),
        ({GOOD}, "", False, [VARY]),
        (set(), GOOD, False, []),
        (set(), None, True, []),
    ],
)
def test_who_may_connect_and_what_the_answer_says(
    origins: set[str], origin: str | None, headers: list[tuple[str, str]], *, allowed: bool
) -> None:
    cors = Cors(origins)
    assert (cors.allows(origin), cors.headers(origin)) == (allowed, headers)
    assert cors.is_on == bool(origins)


def test_a_star_never_comes_with_credentials() -> None:
    assert "Access-Control-Allow-Credentials" not in dict(Cors({"*"}).headers(GOOD))


@pytest.mark.parametrize("asked", [None, "", "x-one, content-type"])
def test_a_preflight_allows_what_was_asked_for(asked: str | None) -> None:
    answer = Cors({GOOD}).preflight(GOOD, asked)
    assert answer[:4] == [*TOLD, ("Access-Control-Allow-Methods", METHODS)]
    wanted = [("Access-Control-Allow-Headers", asked), ("Vary", "Access-Control-Request-Headers")] if asked else []
    assert answer[4:] == wanted


def test_a_preflight_from_elsewhere_allows_no_origin() -> None:
    assert "Access-Control-Allow-Origin" not in dict(Cors({GOOD}).preflight(BAD, "x-one"))
