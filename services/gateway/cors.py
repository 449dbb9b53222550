"""Cross-Origin Resource Sharing for the requests of long-polling (Fetch standard, CORS protocol). Pure.

CORS tells a browser what a page may read; it does not keep a page from sending. That check is the server's own, for
every handshake, by `Cors.allows`.
"""

from collections.abc import Collection

METHODS = "GET,HEAD,PUT,PATCH,POST,DELETE"


class Cors:
    """Who may connect from a browser.

    Args:
        origins: exactly as browsers send them; `*` is any; none at all turns CORS off.
    """

    def __init__(self, origins: Collection[str]) -> None:
        self._origins = frozenset(origins)
        self._any = "*" in self._origins

    @property
    def is_on(self) -> bool:
        """Whether preflights are answered."""
        return bool(self._origins)

    def allows(self, origin: str | None) -> bool:
        """Whether a handshake from there is served. Clients that are no browsers send no origin."""
        return origin is None or self._any or origin in self._origins

    def headers(self, origin: str | None) -> list[tuple[str, str]]:
        """What an answer carries, errors included."""
        if self._any:
            return [("Access-Control-Allow-Origin", "*")]
        if not self._origins:
            return []
        vary = [("Vary", "Origin")]
        if origin is None or origin not in self._origins:
            return vary
        return [("Access-Control-Allow-Origin", origin), ("Access-Control-Allow-Credentials", "true"), *vary]

    def preflight(self, origin: str | None, asked_headers: str | None) -> list[tuple[str, str]]:
        """What the answer to an OPTIONS carries."""
        headers = [*self.headers(origin), ("Access-Control-Allow-Methods", METHODS)]
        if asked_headers:
            headers += [("Access-Control-Allow-Headers", asked_headers), ("Vary", "Access-Control-Request-Headers")]
        return headers
