"""The files that docker-compose.yml mounts, and what must agree between them; `tests/containers` runs them all."""

import re
import subprocess
from pathlib import Path
from typing import Final

from tests.support.programs import need_program
from tests.support.source_tree import ROOT

TEXT: Final = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
MOUNTED: Final = ROOT / "deploy" / "compose"
CHECK_S: Final = 60

OTHERWISE: Final = ("cookie ", "server ", "default-server ")
"""What the edge of Compose says in its own words, since its servers have no fixed names."""


def test_the_edge_of_compose_has_all_that_the_documented_one_has() -> None:
    documented, ours = _directives(ROOT / "deploy" / "edge" / "haproxy.cfg"), _directives(MOUNTED / "haproxy.cfg")
    assert len(documented) > 20
    assert [line for line in documented if line not in ours and not line.startswith(OTHERWISE)] == []


def test_haproxy_accepts_the_edge_of_compose_without_a_warning() -> None:
    command = [need_program("haproxy"), "-c", "-f", str(MOUNTED / "haproxy.cfg")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=CHECK_S, check=False)
    assert (done.returncode, "warn" in (done.stdout + done.stderr).lower()) == (0, False), done.stderr


def test_prometheus_accepts_what_it_is_to_scrape(tmp_path: Path) -> None:
    command = [need_program("promtool"), "check", "config", "--syntax-only", str(MOUNTED / "prometheus.yml")]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=CHECK_S, check=False)
    assert done.returncode == 0, done.stderr


def test_a_gateway_has_the_time_to_let_its_clients_go() -> None:
    gateway = re.split(r"^  (?=\w)", TEXT, flags=re.MULTILINE)
    (drain,) = (int(found) for block in gateway for found in re.findall(r'DRAIN_SECONDS: "(\d+)"', block))
    (grace,) = (int(found) for found in re.findall(r"x-service:.*?stop_grace_period: (\d+)s", TEXT, re.DOTALL))
    assert drain + 10 <= grace


def _directives(file: Path) -> list[str]:
    """Lines of a configuration of HAProxy without comments and spaces around them."""
    lines = (re.sub(r"(^|\s)#.*", "", line).strip() for line in file.read_text(encoding="utf-8").splitlines())
    return [line for line in lines if line]
