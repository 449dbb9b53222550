"""SECURITY.md says what the tests cover: no threat without a test, no mark without a threat."""

from tests.support.threat_table import SECURITY, THREATS, filled, marked


def test_every_threat_has_a_test_and_every_mark_a_threat() -> None:
    assert sorted(marked()) == sorted(threat.number for threat in THREATS)


def test_the_table_is_the_one_that_the_marks_make() -> None:
    text = SECURITY.read_text(encoding="utf-8")
    assert filled(text) == text, "make readme"
