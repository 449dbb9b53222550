"""Where keys come from: settings, or a JWKS URL that is fetched and fetched again. Feeds `tokens`.

The address is fixed by configuration; nothing that a token says becomes part of a request (RFC 8725, section 3.10).
Whatever goes wrong with a fetch, the keys of the last one that worked stay. An unknown `kid` asks for a fetch at once,
but there is at most one in `GAP_S`, however many there are and whoever sends them.
"""

import asyncio
import random
from typing import Final, NamedTuple
from urllib.parse import urlsplit

import aiohttp

from shared.backoff import Backoff
from shared.identity.failures import AuthError, AuthFailure
from shared.identity.key_documents import MAX_KEY_ID_LENGTH, parse_key_set
from shared.identity.keys import Key, KeySet
from shared.identity.settings import AuthSettings
from shared.log import get_logger

log = get_logger(__name__)

REFRESH_S: Final = 600.0
FIRST_CAP_S: Final = 5.0
"""Longest pause while there are no keys at all."""

GAP_S: Final = 30.0
MAX_DOCUMENT_BYTES: Final = 65_536
MAX_MISSED: Final = 1_000
"""Unknown names of keys that are remembered; beyond, all of them count as never looked for."""

_CHUNK_BYTES: Final = 8_192
_TIMEOUT: Final = aiohttp.ClientTimeout(total=10.0, sock_connect=5.0)
_LOG_S: Final = 60.0
"""At most one line about failing fetches in so long."""


class Pace(NamedTuple):
    """How often to fetch, seconds: again after a success; at least between two; before there are any keys, at first."""

    refresh: float = REFRESH_S
    gap: float = GAP_S
    first: float = 0.5


class KeyFetchError(Exception):
    """The key set could not be had."""


class KeySource:
    """The keys of this moment, of any kind.

    `start` before tokens are checked, then `run` in a task; with keys that are not fetched both return at once.

    Args:
        settings: which keys.
        pace: of fetching.

    Attributes:
        is_configured: whether there are, or will be, any keys.
        failures: fetches that failed since the last that worked.

    Raises:
        ValueError: the settings cannot work.
    """

    def __init__(self, settings: AuthSettings, pace: Pace = Pace()) -> None:  # noqa: B008 - immutable
        self._keys = settings.fixed_keys()
        self._url = settings.jwt_jwks_url
        self._wanted = settings.jwt_algorithms
        self._pace = pace
        self._fetched = not self._url
        self._missed: set[str] = set()
        self._absent: set[str] = set()
        self._asked = asyncio.Event()
        self._log_due = 0.0
        self.is_configured = settings.has_key
        self.failures = 0

    def check(self) -> str | None:
        """The readiness check: whether there are keys, however old."""
        return None if self._fetched else "no keys fetched from JWT_JWKS_URL yet"

    def named(self, key_id: str | None) -> tuple[Key, ...]:
        """The keys that a token can mean.

        Raises:
            AuthError: none. For a while `KEYS_AWAITED`, where a fetch may bring it; then `UNKNOWN_KEY`, which is final.
        """
        found = tuple(self._keys.named(key_id))
        if found or not self._url:
            return found
        self._asked.set()
        if key_id is None or len(key_id) > MAX_KEY_ID_LENGTH:
            raise AuthError(AuthFailure.UNKNOWN_KEY if self._fetched else AuthFailure.KEYS_AWAITED)
        if key_id in self._absent:
            raise AuthError(AuthFailure.UNKNOWN_KEY)
        if len(self._missed) < MAX_MISSED:
            self._missed.add(key_id)
        raise AuthError(AuthFailure.KEYS_AWAITED)

    async def start(self) -> None:
        """Return when there are keys: tries until there are."""
        backoff = Backoff(base=self._pace.first, cap=min(FIRST_CAP_S, self._pace.gap), random=random.random)
        while not self._fetched:
            if not await self._refresh():
                await asyncio.sleep(backoff.next_delay())

    async def run(self) -> None:
        """Keep the keys fresh until cancelled."""
        while self._url:
            await asyncio.sleep(self._pace.gap)
            try:
                async with asyncio.timeout(max(0.0, self._pace.refresh - self._pace.gap)):
                    await self._asked.wait()
            except TimeoutError:
                pass
            if not await self._refresh():
                self._asked.set()  # the old keys serve on; try again as soon as is allowed

    async def _refresh(self) -> bool:
        """Fetch once: whether it worked."""
        self._asked.clear()
        looked_for, self._missed = self._missed, set()
        try:
            keys, passed_over = parse_key_set(await _fetch(self._url), self._wanted)
        except (KeyFetchError, ValueError) as error:
            self._missed |= looked_for
            self.failures += 1
            self._log_failure(error)
            return False
        self._keep(keys, looked_for)
        log.info("keys_fetched", url=_shown(self._url), keys=len(keys.keys), passed_over=passed_over)
        return True

    def _keep(self, keys: KeySet, looked_for: set[str]) -> None:
        self._keys = keys
        self._fetched = True
        self.failures = 0
        here = {key.key_id for key in keys.keys}
        absent = (self._absent if len(self._absent) < MAX_MISSED else set()) | looked_for
        self._absent = {key_id for key_id in absent if key_id not in here}

    def _log_failure(self, error: Exception) -> None:
        now = asyncio.get_running_loop().time()
        if now >= self._log_due:
            self._log_due = now + _LOG_S
            kept = len(self._keys.keys)
            log.warning("keys_not_fetched", url=_shown(self._url), error=error, keys=kept)


async def _fetch(url: str) -> bytes:
    """The document at an address: that one and no other, bounded in size and time.

    Raises:
        KeyFetchError: it could not be had.
    """
    headers = {"Accept": "application/jwk-set+json, application/json", "Accept-Encoding": "identity"}
    session = aiohttp.ClientSession(
        timeout=_TIMEOUT, trust_env=False, auto_decompress=False, cookie_jar=aiohttp.DummyCookieJar(), headers=headers
    )
    try:
        async with session, session.get(url, allow_redirects=False) as response:
            if response.status != 200:  # noqa: PLR2004 - OK
                raise KeyFetchError(f"answered {response.status}")
            if "Content-Encoding" in response.headers:
                raise KeyFetchError("answered in a Content-Encoding that was not asked for")
            return await _bounded(response)
    except TimeoutError:
        raise KeyFetchError("no answer in time") from None
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise KeyFetchError(type(error).__name__) from None  # its words would repeat the whole URL


async def _bounded(response: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for chunk in response.content.iter_chunked(_CHUNK_BYTES):
        body += chunk
        if len(body) > MAX_DOCUMENT_BYTES:
            raise KeyFetchError(f"more than {MAX_DOCUMENT_BYTES} bytes")
    return bytes(body)


def _shown(url: str) -> str:
    """An address without its query, which may be somebody's secret."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}{parts.path}"
