"""`python -m services.trade_notifier`."""

from services.trade_notifier.app import NotifierApp
from services.trade_notifier.settings import NotifierSettings
from shared.lifecycle import run_service
from shared.upstream import UpstreamSettings

if __name__ == "__main__":
    run_service("trade-notifier", (NotifierSettings, UpstreamSettings), NotifierApp)
