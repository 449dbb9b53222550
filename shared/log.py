"""Structured logs on standard error: one JSON object a line (`LOG_FORMAT=console` for people).

Every field is in `shared.names.log_fields`; OpenTelemetry's are spelt here, so that a call says `error=error` and no
more. Secrets never pass: what `REDACTED` names is replaced whatever its value, and what looks like one is masked
wherever it stands, tracebacks included. Long values are cut, control characters escaped, and repeated lines rationed
(`shared.log_budget`), so that what a client sends can neither forge a line nor flood the log.
"""

import logging
import re
import sys
from collections.abc import Mapping, MutableMapping
from importlib.metadata import version
from itertools import islice
from typing import Any, Final, cast

import structlog
from structlog.typing import FilteringBoundLogger, Processor

from shared.clock import SystemClock
from shared.log_budget import TRACEBACK_COST, LogBudget
from shared.names import log_fields

REDACTED: Final = frozenset({"auth", "authorization", "cookie", "offset", "password", "pid", "secret", "sid", "token"})
MAX_VALUE_LENGTH: Final = 500
MAX_TRACEBACK_LENGTH: Final = 8_000
MAX_ITEMS: Final = 50
"""Of a list or mapping in a log line."""

_STRUCTLOGS_OWN: Final = frozenset({"_from_structlog", "_record", "exc_info", "stack_info"})
_TRACEBACK: Final = log_fields.STACKTRACE.name
_CONSOLES_TRACEBACK: Final = "exception"
"""Where structlog puts a traceback, and where its console looks for one."""

_SPELT: Final = {"service": log_fields.SERVICE_NAME.name, "instance": log_fields.SERVICE_INSTANCE.name}
"""What `configure_logging` is given, as lines have it."""


_MASKS: Final = (
    (re.compile(r"\beyJ[\w-]{4,}\.[\w-]*(?:\.[\w-]*)?"), "[token]"),
    (re.compile(r"(\w://)[^\s@]*@"), r"\1[login]@"),
    (re.compile(r"(svc:\{sessions:\d+\}:)[\w-]+"), r"\1[pid]"),
)
"""A JSON Web Token; a URL's user and password; the key of a session, which is named by the client's secret."""

_UNSAFE: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
"""What moves a cursor, begins a line, or turns the direction of writing in somebody's terminal."""

_UNSAFE_BUT_LINES: Final = re.compile(_UNSAFE.pattern.replace("\x00-\x1f", "\x00-\x09\x0b-\x1f"))

Event = MutableMapping[str, Any]  # structlog's own type: values are whatever a caller bound


def get_logger(name: str) -> FilteringBoundLogger:
    """A logger that says which module speaks."""
    return cast("FilteringBoundLogger", structlog.get_logger(module=name))  # noqa: TID251 - the one typed wrapper


def spell_errors(logger: object, method: str, event: Event) -> Event:
    """An exception, from `error=` or `log.exception`, becomes its type, message and, of the latter, its traceback."""
    error = event.pop("error", None)
    raised = event.get("exc_info")
    if raised:
        error = sys.exc_info()[1] if raised is True else raised[1] if isinstance(raised, tuple) else raised
        event = structlog.processors.format_exc_info(cast("Any", logger), method, event)
        event[_TRACEBACK] = event.pop(_CONSOLES_TRACEBACK, "")
    if isinstance(error, BaseException):
        kind = type(error)
        module = "" if kind.__module__ == "builtins" else f"{kind.__module__}."
        event[log_fields.ERROR_TYPE.name] = f"{module}{kind.__qualname__}"
        event[log_fields.EXCEPTION_MESSAGE.name] = str(error)
    return event


def redact(_logger: object, _method: str, event: Event) -> Mapping[str, Any]:
    """Replace secrets and cut long values, however deep they stand."""
    return {key: value if key in _STRUCTLOGS_OWN else _shown(key, value) for key, value in event.items()}


def _shown(key: object, value: object) -> object:
    if isinstance(key, str) and key.lower() in REDACTED:
        return "[redacted]"
    match value:
        case str():
            return _cut(value, MAX_TRACEBACK_LENGTH if key == _TRACEBACK else MAX_VALUE_LENGTH)
        case bytes():
            cut = f"[{len(value)} bytes]" if len(value) > MAX_VALUE_LENGTH else ""
            return _mask(repr(value[:MAX_VALUE_LENGTH])) + cut
        case Mapping():
            return {_name(name): _shown(name, item) for name, item in islice(value.items(), MAX_ITEMS)}
        case list() | tuple() | set() | frozenset():
            return [_shown(None, item) for item in islice(value, MAX_ITEMS)]
        case _:
            return value if value is None or isinstance(value, int | float) else _cut(repr(value), MAX_VALUE_LENGTH)


def _cut(text: str, length: int) -> str:
    if len(text) <= length:
        return _mask(text)
    return f"{_mask(text[:length])}[{len(text)} characters]"


def _mask(text: str) -> str:
    for pattern, mask in _MASKS:
        text = pattern.sub(mask, text)
    return text


def _name(name: object) -> object:
    return _cut(name, MAX_VALUE_LENGTH) if isinstance(name, str) else name


def escape(_logger: object, _method: str, event: Event) -> Mapping[str, Any]:
    """Make control characters visible, where JSON does not do it; a traceback keeps its lines."""
    return {
        key: value if key in _STRUCTLOGS_OWN else _escaped(value, _UNSAFE_BUT_LINES if key == _TRACEBACK else _UNSAFE)
        for key, value in event.items()
    }


def _escaped(value: object, unsafe: re.Pattern[str]) -> object:
    match value:
        case str():
            return unsafe.sub(lambda found: found[0].encode("unicode_escape").decode(), value)
        case dict():
            return {_escaped(name, unsafe): _escaped(item, unsafe) for name, item in value.items()}
        case list():
            return [_escaped(item, unsafe) for item in value]
        case _:
            return value


class _Ration(logging.Filter):
    """The budget, for lines of libraries: a kind is the place in the code that speaks."""

    def __init__(self, budget: LogBudget) -> None:
        super().__init__()
        self._budget = budget

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is written."""
        cost = TRACEBACK_COST if record.exc_info else 1
        suppressed = self._budget.take((record.pathname, record.lineno), cost)
        if suppressed:
            record.msg = f"{record.getMessage()} [{suppressed} lines like this were not written]"
            record.args = None
        return suppressed is not None


def _for_people(_logger: object, _method: str, event: Event) -> Event:
    """What a terminal shows: no version on each line, and a traceback as it is used to."""
    event = dict(event)
    event.pop(log_fields.SERVICE_VERSION.name, None)
    if _TRACEBACK in event:
        event[_CONSOLES_TRACEBACK] = event.pop(_TRACEBACK)
    return event


def _rendering(form: str) -> list[Processor]:
    if form != "console":
        return [structlog.processors.JSONRenderer()]
    colours = sys.stderr.isatty()
    return [
        escape,
        _for_people,
        structlog.dev.ConsoleRenderer(colors=colours, exception_formatter=structlog.dev.plain_traceback),
    ]


def _stamped(bound: Mapping[str, str]) -> Mapping[str, str]:
    stamped = {_SPELT.get(name, name): value for name, value in bound.items()}
    return {**stamped, log_fields.SERVICE_VERSION.name: version("tickwire")} if "service" in bound else stamped


def configure_logging(level: str, form: str, **bound: str) -> None:
    """Send every log line, ours and the libraries', through one chain.

    Args:
        level: `debug`, `info`, `warning` or `error`; libraries speak from `warning` up.
        form: `json` or `console`.
        bound: fields that every line carries: `service`, which its version goes with, and `instance`.
    """
    stamped = _stamped(bound)
    budget = LogBudget(SystemClock().monotonic)

    def ration(_logger: object, _method: str, event: Event) -> Event:
        cost = TRACEBACK_COST if event.get("exc_info") else 1
        suppressed = budget.take((event.get("module"), event.get("event")), cost)
        if suppressed is None:
            raise structlog.DropEvent
        if suppressed:
            event["suppressed"] = suppressed
        return event

    def stamp(_logger: object, _method: str, event: Event) -> Mapping[str, Any]:
        return {**stamped, **event}

    number = getattr(logging, level.upper())
    chain: list[Processor] = [
        stamp,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        spell_errors,  # without local variables, which would print tokens
        redact,
    ]
    render = _rendering(form)
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(_Ration(budget))
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=chain,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *render],
        )
    )
    logging.basicConfig(handlers=[handler], level=max(number, logging.WARNING), force=True)
    structlog.configure(
        processors=[ration, *chain, *render],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
