"""A unit test stands where its source stands: `a/b.py` and `tests/unit/a/test_b.py`, checked both ways."""

from pathlib import Path
from typing import Final

import pytest

from tests.support.source_tree import ROOT, SOURCES, has_logic, parse, python_files

COVERED_ELSEWHERE: Final = {
    "services/gateway/__main__.py": "tests/security/test_wrong_settings.py",
    "services/gateway/debug/local.py": "tests/integration/test_debug_path.py",
    "services/gateway/debug/stored.py": "tests/integration/test_debug_path.py",
    "services/gateway/exchange.py": "tests/unit/services/gateway/test_http.py",
    "services/launcher/__main__.py": "tests/integration/test_launcher_up.py",
    "services/launcher/cluster.py": "tests/integration/test_launcher_up.py",
    "services/launcher/errors.py": "tests/unit/services/launcher/test_arguments.py",
    "services/launcher/feeds/publish.py": "tests/integration/test_launcher_feeds.py",
    "services/launcher/feeds/simulate.py": "tests/integration/test_launcher_feeds.py",
    "services/launcher/load/answering.py": "tests/unit/services/launcher/load/test_helper.py",
    "services/launcher/load/command.py": "tests/integration/test_launcher_load.py",
    "services/launcher/load/crew.py": "tests/integration/test_launcher_load.py",
    "services/launcher/load/observer.py": "tests/integration/test_launcher_load.py",
    "services/launcher/load/own_cluster.py": "tests/integration/test_launcher_load.py",
    "services/launcher/load/publish.py": "tests/integration/test_launcher_load.py",
    "services/launcher/load/run.py": "tests/integration/test_launcher_load.py",
    "services/launcher/load/worker.py": "tests/integration/test_launcher_load.py",
    "services/launcher/revoke.py": "tests/integration/test_launcher_revoke.py",
    "services/launcher/up.py": "tests/integration/test_launcher_up.py",
    "services/metrics/app.py": "tests/integration/test_metrics.py",
    "services/price_ingest/app.py": "tests/integration/test_price_ingest.py",
    "shared/bus/errors.py": "tests/integration/test_bus_topologies.py",
    "shared/bus/redis_bus.py": "tests/integration/test_bus.py",
    "shared/bus/redis_client.py": "tests/integration/test_bus.py",
    "shared/bus/redis_pubsub.py": "tests/integration/test_bus_topologies.py",
    "shared/bus/server_check.py": "tests/integration/test_redis_startup.py",
    "shared/bus/servers.py": "tests/integration/test_bus_failover.py",
    "shared/identity/key_source.py": "tests/security/test_jwks.py",
    "shared/lease.py": "tests/integration/test_lease.py",
    "shared/lifecycle.py": "tests/integration/test_lifecycle.py",
    "shared/revocations.py": "tests/security/test_revocation.py",
}
"""Source -> the test that would fail if it broke, where a unit test would only repeat it."""


def unit_test_of(source: Path) -> Path:
    return Path("tests/unit") / source.parent / f"test_{source.name}"


def source_of(test: Path) -> Path:
    return test.relative_to("tests/unit").with_name(test.name.removeprefix("test_"))


def test_every_source_with_logic_has_its_unit_test_or_says_what_covers_it() -> None:
    sources = [path for path in python_files(*SOURCES) if has_logic(parse(path))]
    assert len(sources) > 50, "the sources were not found"
    uncovered = [
        str(path) for path in sources if not (ROOT / unit_test_of(path)).exists() and str(path) not in COVERED_ELSEWHERE
    ]
    assert uncovered == []


def test_every_unit_test_has_its_source() -> None:
    tests = [path for path in python_files("tests/unit") if path.name.startswith("test_")]
    assert [str(path) for path in tests if not (ROOT / source_of(path)).exists()] == []


@pytest.mark.parametrize(("source", "test"), COVERED_ELSEWHERE.items())
def test_what_is_covered_elsewhere_is_so(source: str, test: str) -> None:
    assert (ROOT / source).exists()
    assert not (ROOT / unit_test_of(Path(source))).exists(), "it has a unit test: take it out of the list"
    assert (ROOT / test).exists()
