"""Development tokens: `tickwire token`, and the token with which the board enters a cluster that requires one."""

import re
from collections.abc import Mapping
from typing import Final

from services.launcher.errors import LauncherError
from services.launcher.run_state import RunState
from shared.identity import MIN_SECRET_LENGTH, sign_development_token

_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_DURATION: Final = re.compile(r"(\d{1,6})([smhd])")


def parse_duration(text: str) -> int:
    """Seconds in `90s`, `15m`, `1h` or `7d`.

    Raises:
        ValueError: it is written otherwise, or is nothing.
    """
    match = _DURATION.fullmatch(text)
    if match is None or int(match[1]) == 0:
        raise ValueError(f"{text!r} is no duration; write 90s, 15m, 1h or 7d")
    return int(match[1]) * _UNITS[match[2]]


def sign(
    user_id: str,
    role: str | None,
    lifetime_s: int,
    now_ms: int,
    environment: Mapping[str, str],
    running: RunState | None,
) -> str:
    """A token signed with the secret of the environment, else of the running cluster.

    Raises:
        LauncherError: there is no secret, or it is too short for any service to accept.
    """
    secret = environment.get("JWT_SECRET", "")
    issuer, audience = environment.get("JWT_ISSUER", ""), environment.get("JWT_AUDIENCE", "")
    if not secret and running is not None:
        secret = running.jwt_secret
        issuer, audience = issuer or running.jwt_issuer, audience or running.jwt_audience
        if not secret:
            raise LauncherError(
                "the running cluster checks tokens with a public key, and only its private key can sign them",
                "sign the token where the private key is",
            )
    if not secret:
        raise LauncherError(
            "no secret to sign with: JWT_SECRET is not set, and no `tickwire up` is running",
            "start a cluster with `tickwire up`, or set JWT_SECRET to the one that your gateways have",
        )
    if len(secret.encode()) < MIN_SECRET_LENGTH:
        raise LauncherError(
            f"JWT_SECRET has {len(secret.encode())} bytes; services refuse one below {MIN_SECRET_LENGTH}",
            "make one: openssl rand -hex 32",
        )
    return sign_development_token(
        secret, user_id, role=role, lifetime_s=lifetime_s, now_ms=now_ms, issuer=issuer, audience=audience
    )
