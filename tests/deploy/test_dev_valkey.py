"""The Valkey of the dev overlay, run here from its manifest: users, settings, probe and every service's login agree."""

import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import pytest

from services.launcher.embedded_valkey import server_binary
from services.launcher.leash import leashed
from services.launcher.ports import free_port
from shared.bus.errors import BusUnavailableError
from shared.bus.redis_bus import RedisBus
from shared.bus.redis_client import command
from shared.bus.server_check import check_server
from tests.deploy.environment import environment, secrets_in
from tests.deploy.manifests import SERVICES, Manifest, named, pod_of, rendered
from tests.support.acl_server import USERS
from tests.support.programs import SYSTEM_PATHS, need_program
from tests.support.waiting import eventually

DEV: Final = rendered("dev")


def container(name: str) -> Manifest:
    pod = pod_of(named(DEV, "StatefulSet", "valkey"))
    (found,) = [made for made in (*pod["initContainers"], *pod["containers"]) if made["name"] == name]
    return dict(found)


def variables(name: str) -> dict[str, str]:
    return {"PATH": SYSTEM_PATHS, **environment(DEV, container(name), secrets_in(DEV))}


class Pod:
    """The pod's file system in a folder, and its server on a free port."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self._folder = folder
        for configmap, mount in (("redis-acl", "etc/acl"), ("valkey", "etc/valkey"), ("", "run/acl"), ("", "data")):
            place = folder / mount
            place.mkdir(parents=True)
            held: Mapping[str, str] = named(DEV, "ConfigMap", configmap)["data"] if configmap else {}
            for file, text in held.items():
                (place / file).write_text(self.inside(text), encoding="utf-8")

    def inside(self, text: str) -> str:
        """The same text with the pod's folders moved to this one."""
        for mount in ("/etc/acl", "/etc/valkey", "/run/acl", "/data"):
            text = text.replace(f" {mount}", f" {self._folder}{mount}")
        return text

    def make_users(self) -> None:
        """What the init container does."""
        shell, flag, script = container("acl")["command"]
        subprocess.run([shell, flag, self.inside(script)], env=variables("acl"), timeout=20, check=True)

    def start(self) -> subprocess.Popen[bytes]:
        """What the container does: the server, for as long as the test."""
        program, config = container("valkey")["command"]
        assert program == "valkey-server"
        options = ["--port", str(self.port), "--bind", "127.0.0.1"]
        words = leashed([str(server_binary()), f"{self._folder}{config}", *options])
        return subprocess.Popen(words, stdout=subprocess.DEVNULL)

    def url(self, user: str) -> str:
        """`REDIS_URL` of a service as its Secret has it, at this server."""
        return secrets_in(DEV)[f"redis-{user}"]["REDIS_URL"].replace("@valkey:6379", f"@127.0.0.1:{self.port}")

    def probe(self, password: str) -> int:
        """The exit status of the readiness probe; Debian's redis-cli stands in for valkey-cli, which it became."""
        program, *words = container("valkey")["readinessProbe"]["exec"]["command"]
        assert program == "valkey-cli"
        run = subprocess.run(
            [need_program("redis-cli"), "-p", str(self.port), *words],
            env={"PATH": SYSTEM_PATHS, "REDISCLI_AUTH": password, "VALKEYCLI_AUTH": password},
            capture_output=True,
            timeout=20,
            check=False,
        )
        return run.returncode


@pytest.fixture(name="pod", scope="module")
def running_pod(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pod]:
    pod = Pod(tmp_path_factory.mktemp("pod"))
    pod.make_users()
    server = pod.start()
    yield pod
    server.kill()
    server.wait()


async def answered(url: str) -> bool:
    bus = RedisBus(url, "test")
    try:
        await bus.ping()
    except BusUnavailableError:
        return False
    finally:
        await bus.close()
    return True


@pytest.mark.parametrize("service", SERVICES)
async def test_each_service_gets_in_with_the_url_of_its_secret(pod: Pod, service: str) -> None:
    await eventually(lambda: answered(pod.url(service)), "the server answers")
    bus = RedisBus(pod.url(service), "test")
    await check_server(bus)
    await bus.close()


async def test_the_readiness_probe_logs_in_and_notices_when_it_cannot(pod: Pod) -> None:
    await eventually(lambda: answered(pod.url("metrics")), "the server answers")
    assert pod.probe(variables("valkey")["REDISCLI_AUTH"]) == 0
    assert pod.probe("somebody else's password") != 0


async def test_its_settings_are_those_that_the_cluster_needs(pod: Pod) -> None:
    await eventually(lambda: answered(pod.url("metrics")), "the server answers")
    password = secrets_in(DEV)["redis-passwords"]["REDIS_PASSWORD_OPERATOR"]
    bus = RedisBus(f"redis://operator:{password}@127.0.0.1:{pod.port}", "test")
    info = await command(bus._client, "INFO")
    await bus.close()
    assert (info["maxmemory_policy"], info["aof_enabled"]) == ("noeviction", 1)


def test_every_user_has_a_password_and_no_password_is_nobodys() -> None:
    held = secrets_in(DEV)["redis-passwords"]
    assert set(held) == {f"REDIS_PASSWORD_{user.upper().replace('-', '_')}" for user in USERS}
