"""Puts the dev overlay on the Kubernetes cluster that `kubectl` points at, and sees a stock client get a price there.

    make k8s-smoke                                        what it needs, and the clusters that it knows; changes nothing
    make k8s-smoke SMOKE='--context kind-kind'            applied, waited for, tried out
    make k8s-smoke SMOKE='--context kind-kind --delete'   and taken away again

Needs a cluster of version 1.33 or later with a default storage class, `kubectl` with the rights to make a namespace,
and the image where the nodes find it (`kind load docker-image tickwire:VERSION`); `valkey/valkey:8.1` is pulled.
"""

import argparse
import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

import socketio
from socketio.exceptions import SocketIOError

from services.launcher.leash import leashed
from tests.deploy.manifests import K8S, KUBECTL, SERVICES

OVERLAY: Final = K8S / "overlays/dev"
NAMESPACE: Final = "tickwire"
ROLLOUT_S: Final = 300
STEP_S: Final = 60
SYMBOL: Final = "SMOKE-TEST"
PRICE: Final = 64000.1
UPSTREAM: Final = ("--user", "upstream", "-a", "development-only-upstream", "--no-auth-warning")


def say(text: str) -> None:
    """A line for who waits."""
    sys.stdout.write(text.rstrip() + "\n")
    sys.stdout.flush()


class SmokeError(Exception):
    """What did not work, and what to look at."""


class Cluster:
    """`kubectl`, at one context.

    Args:
        context: of the user's kubeconfig.
        program: `kubectl`.
    """

    def __init__(self, context: str, program: str) -> None:
        self._words = [program, "--context", context]

    def run(self, *words: str, seconds: float = STEP_S) -> str:
        """What kubectl prints.

        Raises:
            SmokeError: it failed, or took longer than that.
        """
        try:
            done = subprocess.run(
                [*self._words, *words], capture_output=True, text=True, timeout=seconds + 10, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise SmokeError(f"kubectl {words[0]}: nothing for {seconds:.0f} s") from error
        if done.returncode:
            raise SmokeError(f"kubectl {' '.join(words)}\n{done.stderr.strip()}")
        return done.stdout

    def roll_out(self) -> None:
        """Apply the overlay and wait until every pod is ready.

        Raises:
            SmokeError: with what the pods say.
        """
        say(self.run("apply", "-k", str(OVERLAY)))
        for workload in ("statefulset/valkey", *(f"deployment/{service}" for service in SERVICES)):
            say(f"waiting for {workload} ...")
            limit = f"--timeout={ROLLOUT_S}s"
            try:
                self.run("-n", NAMESPACE, "rollout", "status", workload, limit, seconds=ROLLOUT_S)
            except SmokeError as error:
                pods = self.run("-n", NAMESPACE, "get", "pods", "-o", "wide")
                events = self.run("-n", NAMESPACE, "get", "events", "--sort-by=.lastTimestamp")
                last = "\n".join(events.splitlines()[-15:])
                raise SmokeError(f"{error}\n{pods}\n{last}\nIs the image loaded? README, First steps") from error

    def publish(self, number: int) -> None:
        """One price, as any upstream would write it: redis-cli inside the pod of Valkey."""
        words = ("xadd", "feed:prices", "*", "symbol", SYMBOL, "price", str(PRICE + number))
        self.run("-n", NAMESPACE, "exec", "valkey-0", "-c", "valkey", "--", "valkey-cli", *UPSTREAM, *words)

    @asynccontextmanager
    async def forwarded(self) -> AsyncIterator[str]:
        """The gateways' Service at a port of this machine meanwhile: its URL.

        Raises:
            SmokeError: nothing was forwarded.
        """
        words = [*self._words, "-n", NAMESPACE, "port-forward", "service/gateway", ":80"]
        process = await asyncio.create_subprocess_exec(*leashed(words), stdout=asyncio.subprocess.PIPE)
        try:
            assert process.stdout is not None
            async with asyncio.timeout(STEP_S):
                line = (await process.stdout.readline()).decode()
            found = re.search(r"127\.0\.0\.1:(\d+)", line)
            if found is None:
                raise SmokeError(f"kubectl port-forward said {line!r}")
            yield f"http://127.0.0.1:{found[1]}"
        finally:
            if process.returncode is None:
                process.terminate()
            await process.wait()


async def see_a_price(cluster: Cluster) -> float:
    """Connect a stock client, subscribe, publish until a price comes: the price that came.

    Raises:
        SmokeError: none came.
    """
    async with cluster.forwarded() as url, socketio.AsyncSimpleClient() as client:
        try:
            await client.connect(url)
            verdict = await client.call("subscribe:price", SYMBOL, timeout=STEP_S)
            say(f"{url}: connected over {client.transport}, subscribed: {json.dumps(verdict)}")
            for number in range(STEP_S):
                await asyncio.to_thread(cluster.publish, number)
                price = await _price(client)
                if price is not None:
                    return price
        except SocketIOError as error:
            raise SmokeError(f"the client: {error!r}") from error
    raise SmokeError(
        f"no price of {SYMBOL} came; look at the logs: kubectl -n {NAMESPACE} logs deployment/price-ingest"
    )


async def _price(client: socketio.AsyncSimpleClient) -> float | None:
    """The next price of ours, if one comes within a second."""
    try:
        async with asyncio.timeout(1):
            while True:
                event, *arguments = await client.receive()
                if event == "price:update" and arguments[0]["symbol"] == SYMBOL:
                    return float(arguments[0]["price"])
    except TimeoutError:
        return None


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status 0: a price came."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--context", help="of your kubeconfig; without it nothing is changed")
    parser.add_argument("--delete", action="store_true", help=f"delete the namespace {NAMESPACE} in the end")
    given = parser.parse_args(arguments)
    program = shutil.which(os.environ.get("KUBECTL", "kubectl")) or str(KUBECTL)
    if not given.context:
        shown = subprocess.run(
            [program, "config", "get-contexts", "-o", "name"], capture_output=True, text=True, check=False
        )
        say(f"{__doc__}\nYour contexts: {' '.join(shown.stdout.split()) or 'none'}")
        return 2
    cluster = Cluster(given.context, program)
    try:
        cluster.roll_out()
        price = asyncio.run(see_a_price(cluster))
        say(f"passed: a stock client got {SYMBOL} at {price}")
    except SmokeError as error:
        sys.stderr.write(f"failed: {error}\n")
        return 1
    finally:
        remove = ("delete", "namespace", NAMESPACE)
        if given.delete:
            say(cluster.run(*remove, seconds=ROLLOUT_S))
        else:
            say(f"It goes on running. To take it away: kubectl --context {given.context} {' '.join(remove)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
