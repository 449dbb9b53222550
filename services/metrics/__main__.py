"""`python -m services.metrics`."""

from services.metrics.app import MetricsApp
from services.metrics.settings import MetricsSettings
from shared.lifecycle import run_service

if __name__ == "__main__":
    run_service("metrics", (MetricsSettings,), MetricsApp)
