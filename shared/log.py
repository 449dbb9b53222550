"""Structured logs on standard error: one JSON object a line (`LOG_FORMAT=console` for people).

Field words used everywhere: `service`, `instance`, `client` (a Socket.IO id), `symbol`, `user_id`, `stream`, `entry`,
`reason`, `error`. Secrets never pass: what `REDACTED` names is replaced whatever its value, and long values are cut, so
that what a client sends cannot flood the log.
"""

import logging
import sys
from collections.abc import Mapping, MutableMapping
from itertools import islice
from typing import Any, Final, cast

import structlog
from structlog.typing import FilteringBoundLogger, Processor

REDACTED: Final = frozenset({"auth", "authorization", "cookie", "offset", "password", "pid", "secret", "sid", "token"})
MAX_VALUE_LENGTH: Final = 500
MAX_ITEMS: Final = 50
"""Of a list or mapping in a log line."""

_STRUCTLOGS_OWN: Final = frozenset({"_from_structlog", "_record", "exc_info", "stack_info"})

Event = MutableMapping[str, Any]  # structlog's own type: values are whatever a caller bound


def get_logger(name: str) -> FilteringBoundLogger:
    """A logger that says which module speaks."""
    return cast("FilteringBoundLogger", structlog.get_logger(module=name))  # noqa: TID251 - the one typed wrapper


def redact(_logger: object, _method: str, event: Event) -> Mapping[str, Any]:
    """Replace secrets and cut long values, however deep they stand."""
    return {key: value if key in _STRUCTLOGS_OWN else _shown(key, value) for key, value in event.items()}


def _shown(key: object, value: object) -> object:
    if isinstance(key, str) and key.lower() in REDACTED:
        return "[redacted]"
    match value:
        case str() if len(value) > MAX_VALUE_LENGTH:
            return value[:MAX_VALUE_LENGTH] + f"[{len(value)} characters]"
        case bytes() if len(value) > MAX_VALUE_LENGTH:
            return f"{value[:MAX_VALUE_LENGTH]!r}[{len(value)} bytes]"
        case Mapping():
            return {name: _shown(name, item) for name, item in islice(value.items(), MAX_ITEMS)}
        case list() | tuple() | set() | frozenset():
            return [_shown(None, item) for item in islice(value, MAX_ITEMS)]
        case _:
            return value


def configure_logging(level: str, form: str, **bound: str) -> None:
    """Send every log line, ours and the libraries', through one chain.

    Args:
        level: `debug`, `info`, `warning` or `error`; libraries speak from `warning` up.
        form: `json` or `console`.
        bound: fields that every line carries.
    """

    def stamp(_logger: object, _method: str, event: Event) -> Mapping[str, Any]:
        return {**bound, **event}

    number = getattr(logging, level.upper())
    chain: list[Processor] = [
        stamp,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        redact,
    ]
    render: list[Processor] = (
        [
            # A traceback with local variables would print tokens.
            structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback)
        ]
        if form == "console"
        else [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=chain,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *render],
        )
    )
    logging.basicConfig(handlers=[handler], level=max(number, logging.WARNING), force=True)
    structlog.configure(
        processors=[*chain, *render],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
