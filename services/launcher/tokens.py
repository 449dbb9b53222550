"""Development tokens: `tickwire token`, and the token with which the board enters a cluster that requires one."""

import re
from collections.abc import Mapping
from typing import Final

from services.launcher.errors import LauncherError
from services.launcher.run_state import RunState
from shared.identity import AuthError, sign_development_token
from shared.identity.secrets import HMAC_BYTES, secret_problems
from shared.rights import SymbolPatterns

_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_ELSEWHERE: Final = "sign the token where the private key is"
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


def token_claims(
    symbols: str, max_hz: float | None, delay_s: int, connections: int | None, jti: str
) -> dict[str, object]:
    """The claims of a development token beside its user, role and time; nothing for what is not restricted.

    Raises:
        ValueError: a pattern of symbols is none.
    """
    claims: dict[str, object] = {"max_hz": max_hz, "delay_s": delay_s or None, "connections": connections}
    if symbols:
        claims["symbols"] = list(SymbolPatterns(text.strip() for text in symbols.split(",")).patterns)
    claims["jti"] = jti or None
    return {name: value for name, value in claims.items() if value is not None}


def sign(
    user_id: str,
    role: str | None,
    lifetime_s: int,
    now_ms: int,
    environment: Mapping[str, str],
    running: RunState | None,
    rights: Mapping[str, object] | None = None,
) -> str:
    """A token signed with the secret of the environment, else of the running cluster; `rights` are further claims.

    Raises:
        LauncherError: there is no secret, or no service would accept it.
    """
    secret = environment.get("JWT_SECRET", "")
    issuer, audience = environment.get("JWT_ISSUER", ""), environment.get("JWT_AUDIENCE", "")
    if not secret:
        secret = _running_secret(running)
    if running is not None and secret == running.jwt_secret:
        issuer, audience = issuer or running.jwt_issuer, audience or running.jwt_audience
    algorithm = environment.get("JWT_ALGORITHMS", "").partition(",")[0].strip() or "HS256"
    if algorithm not in HMAC_BYTES:
        raise LauncherError(
            f"JWT_ALGORITHMS={algorithm} is none of a secret's; those are {', '.join(HMAC_BYTES)}", _ELSEWHERE
        )
    for problem in secret_problems("JWT_SECRET", secret, [algorithm]):
        raise LauncherError(f"no gateway accepts {problem}", "set JWT_SECRET to the one that your gateways have")
    try:
        return sign_development_token(
            secret,
            user_id,
            role=role,
            lifetime_s=lifetime_s,
            now_ms=now_ms,
            issuer=issuer,
            audience=audience,
            rights=rights,
            algorithm=algorithm,
        )
    except AuthError as error:
        value = {"sub": user_id, "role": role, **(rights or {})}.get(error.claim or "")
        raise LauncherError(
            f"no gateway accepts a token with {error.claim} {value!r}", "`tickwire token --help` says what they take"
        ) from None


def _running_secret(running: RunState | None) -> str:
    """The secret of a running cluster.

    Raises:
        LauncherError: there is none.
    """
    if running is None:
        raise LauncherError(
            "no secret to sign with: JWT_SECRET is not set, and no `tickwire up` is running",
            "start a cluster with `tickwire up`, or set JWT_SECRET to the one that your gateways have",
        )
    if not running.jwt_secret:
        raise LauncherError(
            "the running cluster checks tokens with a public key, and only its private key can sign them", _ELSEWHERE
        )
    return running.jwt_secret
