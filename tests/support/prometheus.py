"""Debian's Prometheus and its promtool for the tests: expressions taken apart, and a server that scrapes services."""

import json
import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

import aiohttp

from shared.names import metrics
from shared.names.metrics import Kind, MetricDef
from tests.support.cluster import quiet_port
from tests.support.programs import need_program, running
from tests.support.source_tree import ROOT
from tests.support.waiting import PATIENCE_S, eventually

OBSERVABILITY: Final = ROOT / "deploy" / "observability"
RULES: Final = OBSERVABILITY / "rules.yml"
PANEL_WINDOW: Final = "15s"
"""In the place of Grafana's: several scrapes."""

FOREIGN: Final = {
    "process_cpu_seconds_total",
    "process_max_fds",
    "process_open_fds",
    "process_resident_memory_bytes",
    "process_start_time_seconds",
    "container_cpu_cfs_throttled_seconds_total",
    "kube_horizontalpodautoscaler_spec_max_replicas",
    "kube_horizontalpodautoscaler_status_condition",
    "kube_horizontalpodautoscaler_status_current_replicas",
    "kube_pod_container_status_restarts_total",
    "up",
}
"""Exported by the client library, the kubelet, kube-state-metrics and Prometheus itself."""

_KEYWORDS: Final = {"and", "or", "unless", "by", "on", "without", "ignoring", "bool", "offset"}


def exported_names() -> set[str]:
    """Every name that a series of ours can have."""
    defined = [value for value in vars(metrics).values() if isinstance(value, MetricDef)]
    parts = {
        f"{it.name}{part}" for it in defined if it.kind is Kind.HISTOGRAM for part in ("_bucket", "_sum", "_count")
    }
    return parts | {it.name for it in defined if it.kind is not Kind.HISTOGRAM}


def names_in(expr: str) -> set[str]:
    """The series that an expression asks for: what is neither a label, a function, a duration nor a keyword."""
    bare = re.sub(r'"[^"]*"', "", expr)
    bare = re.sub(r"\{[^}]*\}|\[[^\]]*\]|\boffset\s+\w+", " ", bare)
    bare = re.sub(r"\b(by|on|without|ignoring)\s*\([^)]*\)", " ", bare)
    return set(re.findall(r"[a-zA-Z_:][a-zA-Z0-9_:]*\b(?!\s*\()", bare)) - _KEYWORDS


def as_grafana_asks(expr: str) -> str:
    """A panel's expression with its variables filled in: every namespace, a short window."""
    return expr.replace("$namespace", ".*").replace("$__rate_interval", PANEL_WINDOW)


def promtool(*arguments: str, text: str | None = None) -> None:
    """Run promtool; what it finds fails the test."""
    command = [need_program("promtool"), *arguments]
    done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert done.returncode == 0, f"{' '.join(arguments)}:\n{done.stdout}{done.stderr}"


class Prometheus:
    """A running server.

    Args:
        port: of its HTTP interface.
    """

    def __init__(self, port: int) -> None:
        self._url = f"http://127.0.0.1:{port}"

    async def ask(self, path: str, **query: str) -> Any:
        """What its interface answers: the `data` of it."""
        limit = aiohttp.ClientTimeout(total=PATIENCE_S)
        async with aiohttp.ClientSession(timeout=limit) as http, http.get(self._url + path, params=query) as answer:
            told = json.loads(await answer.text())
        assert told["status"] == "success", told
        return told["data"]

    async def series(self, expr: str) -> list[dict[str, str]]:
        """The labels of what an expression returns now, without what is not a number."""
        found = await self.ask("/api/v1/query", query=expr)
        return [row["metric"] for row in found["result"] if row["value"][1] != "NaN"]

    async def is_up(self) -> bool:
        """Whether it serves; before that it answers 503, or not at all."""
        try:
            async with aiohttp.ClientSession() as http, http.get(f"{self._url}/-/ready") as answer:
                return answer.status == HTTPStatus.OK
        except aiohttp.ClientError:
            return False


@contextmanager
def serving(targets: Mapping[str, Sequence[str]], directory: Path) -> Iterator[Prometheus]:
    """A server that scrapes every second, with our rules; service -> `host:port` of its processes."""
    program = need_program("prometheus")
    config = {
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(RULES)],
        "scrape_configs": [
            {
                "job_name": "tickwire",
                "static_configs": [
                    {"targets": [place], "labels": {"service": service, "pod": f"{service}-{number}"}}
                    for service, places in targets.items()
                    for number, place in enumerate(places)
                ],
            }
        ],
    }
    file, port = directory / "prometheus.yml", quiet_port()
    file.write_text(json.dumps(config), encoding="utf-8")  # JSON is YAML too
    command = [
        program,
        f"--config.file={file}",
        f"--storage.tsdb.path={directory / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--log.level=warn",
    ]
    with running(command, directory / "prometheus.log", directory):
        yield Prometheus(port)


async def started(server: Prometheus) -> Prometheus:
    """The server once it answers."""
    await eventually(server.is_up, "Prometheus answers")
    return server
