"""`python -m services.price_ingest`: the price-ingest service."""

from services.price_ingest.app import IngestApp
from services.price_ingest.settings import IngestSettings
from shared.lifecycle import run_service
from shared.upstream.settings import UpstreamSettings

if __name__ == "__main__":
    run_service("price-ingest", (IngestSettings, UpstreamSettings), IngestApp)
