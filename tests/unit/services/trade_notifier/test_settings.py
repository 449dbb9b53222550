import pytest

from services.trade_notifier.settings import NotifierSettings
from shared.settings import SettingsError, load


def test_the_defaults_remember_ids_for_a_day_and_keep_logs_for_an_hour() -> None:
    made = load(NotifierSettings, {})
    assert (made.dedupe_window_hours, made.trade_log_minutes, made.trade_log_length) == (24, 60, 1_000_000)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("DEDUPE_WINDOW_HOURS", "0"),
        ("TRADE_LOG_MINUTES", "14"),
        ("TRADE_LOG_LENGTH", "0"),
        ("TRADE_LOG_LENGTH", "x"),
        ("LOG_REPLICAS", "-1"),
        ("LOG_REPLICAS_MS", "0"),
    ],
)
def test_what_would_break_recovery_is_refused_by_name(name: str, text: str) -> None:
    with pytest.raises(SettingsError, match=name):
        load(NotifierSettings, {name: text})
