"""Wrong configuration stops a start: one message that lists everything, from real processes, secrets never shown."""

import asyncio
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.support.cluster import ISSUED, SECRET, Cluster, Service
from tests.support.token_craft import public_key_file

SERVICES = ["gateway", "price-ingest", "trade-notifier", "metrics"]
WRONG_SETTINGS = 2
CANARY = "hunter2-canary"


async def refusal(service: Service) -> list[str]:
    """What a service that does not start says, line by line."""
    assert await service.ended() == WRONG_SETTINGS
    lines = service.log.read_text().splitlines()
    assert lines[0] == f"tickwire {service.name}: wrong settings"
    assert all(line.startswith("  ") for line in lines[1:]), "one message, without a traceback"
    assert service.out.read_text() == ""
    assert CANARY not in "\n".join(lines)
    return [line.strip() for line in lines[1:]]


def variables(lines: list[str]) -> list[str]:
    return [line.split(":")[0].split("=")[0] for line in lines]


@pytest.mark.threat("T15", "T16")
@pytest.mark.parametrize(
    ("secret", "said"),
    [
        ("secret", "6 bytes, at least 32"),
        (CANARY + "-0123456789ABCDE-", "31 bytes, at least 32"),
        ("x" * 32, "different characters"),
        ("changeme" + CANARY * 3, "well-known"),
        ("a-string-secret-at-least-256-bits-long", "well-known"),
        ("-----BEGIN PUBLIC KEY-----" + CANARY * 3, "PEM or JWK"),
        ('{"kty":"oct","k":"' + CANARY * 3 + '"}', "PEM or JWK"),
    ],
)
async def test_no_gateway_starts_with_a_weak_secret(cluster: Cluster, secret: str, said: str):
    (line,) = await refusal(cluster.launch("gateway", JWT_SECRET=secret))
    assert line.startswith("JWT_SECRET: ")
    assert said in line
    assert secret not in line


@pytest.mark.threat("T16")
async def test_a_secret_of_the_least_length_is_enough(cluster: Cluster):
    await cluster.start("gateway", JWT_SECRET=SECRET[:32], JWT_SECRET_PREVIOUS=SECRET[1:40])


@pytest.mark.threat("T16", "T18")
async def test_where_tokens_are_required_no_gateway_starts_without_key_issuer_and_audience(cluster: Cluster):
    lines = await refusal(cluster.launch("gateway", AUTH_MODE="required", JWT_SECRET=""))
    assert variables(lines) == ["JWT_SECRET, JWT_PUBLIC_KEY_FILE or JWT_JWKS_URL", "JWT_ISSUER", "JWT_AUDIENCE"]
    assert all("AUTH_MODE=required" in line for line in lines)
    assert variables(await refusal(cluster.launch("gateway", AUTH_MODE="required"))) == ["JWT_ISSUER", "JWT_AUDIENCE"]
    await cluster.start("gateway", AUTH_MODE="required", **ISSUED)


@pytest.mark.threat("T16")
async def test_a_key_that_cannot_be_read_or_is_too_weak_stops_the_start(cluster: Cluster, tmp_path: Path):
    weak = public_key_file(tmp_path, rsa.generate_private_key(65537, 1024))
    garbage = tmp_path / "garbage.pem"
    garbage.write_text(CANARY)
    for path, said in ((weak, "1024 bits"), (str(garbage), "PEM"), (str(tmp_path / "none.pem"), "No such file")):
        (line,) = await refusal(cluster.launch("gateway", JWT_SECRET="", JWT_PUBLIC_KEY_FILE=path))
        assert line.startswith(f"JWT_PUBLIC_KEY_FILE={path!r}: ")
        assert said in line


@pytest.mark.threat("T19")
async def test_keys_are_not_fetched_from_where_others_could_change_them(cluster: Cluster):
    url = f"http://id.example.com/{CANARY}"
    (line,) = await refusal(cluster.launch("gateway", JWT_SECRET="", JWT_JWKS_URL=url))
    assert "https://" in line


async def test_everything_that_is_wrong_is_told_in_one_message(cluster: Cluster, tmp_path: Path):
    gateway = cluster.launch(
        "gateway",
        REDIS_URL=f"http://user:{CANARY}@h",
        OPS_PORT="70000",
        LOG_LEVEL="chatty",
        MAX_CONNECTIONS="many",
        RATE_LIMITS="subscribe",
        AUTH_MODE="required",
        JWT_SECRET=CANARY,
        JWT_PUBLIC_KEY_FILE=str(tmp_path / "none.pem"),
        JWT_ALGORITHMS="HS256,none",
        JWT_ISUER="me",
        MAX_CONECTIONS="1",
    )
    assert variables(await refusal(gateway)) == [
        "OPS_PORT",
        "LOG_LEVEL",
        "REDIS_URL",
        "MAX_CONNECTIONS",
        "RATE_LIMITS",
        "JWT_SECRET",
        "JWT_ALGORITHMS",
        "JWT_SECRET",
        "JWT_PUBLIC_KEY_FILE",
        "JWT_ISSUER",
        "JWT_AUDIENCE",
        "JWT_ISUER",
    ]


async def test_every_service_refuses_unknown_settings_and_its_own_wrong_ones_in_one_message(cluster: Cluster):
    wrong = {"JWT_SECERT": CANARY, "PRICE_SHARDS": "0", "UPSTREAM_TRIMM": "true"}
    own = {
        "gateway": {"PING_INTERVAL_MS": "0"},
        "price-ingest": {"PRICE_PUBLISH_MS": "0"},
        "trade-notifier": {"TRADE_LOG_MINUTES": "0"},
        "metrics": {"METRICS_INTERVAL_MS": "0"},
    }
    started = [cluster.launch(name, **wrong, **own[name]) for name in SERVICES]
    for service, lines in zip(started, await asyncio.gather(*map(refusal, started)), strict=True):
        assert variables(lines) == ["PRICE_SHARDS", *own[service.name], "JWT_SECERT", "UPSTREAM_TRIMM"]
        assert lines[-2:] == [
            "JWT_SECERT: unknown setting, did you mean JWT_SECRET?",
            "UPSTREAM_TRIMM: unknown setting, did you mean UPSTREAM_TRIM?",
        ]


async def test_settings_of_the_others_and_what_a_container_has_anyway_stop_nobody(cluster: Cluster):
    others = {
        "METRICS_INTERVAL_MS": "5000",
        "PRICE_STALE_MS": "30000",
        "TICKWIRE_REDIS_SERVER": "/usr/bin/redis-server",
        "GATEWAY_SERVICE_HOST": "10.0.0.1",
        "GATEWAY_PORT_8080_TCP": "tcp://10.0.0.1:8080",
        "AUTH_SERVICE_PORT": "80",
        "POD_NAME": "gateway-1",
    }
    await cluster.start(*SERVICES, **others)
