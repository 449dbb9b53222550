"""Every field of a log line: name, unit, meaning. One vocabulary for all services.

Names with a dot are OpenTelemetry's, as it spells them; the others are ours. A duration ends in `_s` and is in seconds;
a plural is a count unless it says that it is a list. A test fails where a call writes a field that is not here.
"""

from typing import Final, NamedTuple


class LogField(NamedTuple):
    """One field; `unit` is empty where it has none."""

    name: str
    unit: str
    meaning: str


TIMESTAMP: Final = LogField("timestamp", "", "ISO 8601, UTC")
LEVEL: Final = LogField("level", "", "`debug`, `info`, `warning`, `error`")
EVENT: Final = LogField("event", "", "what happened, in snake_case; of a library's line its text")
SERVICE_NAME: Final = LogField("service.name", "", "`gateway`, `price-ingest`, `trade-notifier`, `metrics`, ...")
SERVICE_VERSION: Final = LogField("service.version", "", "of Tickwire")
SERVICE_INSTANCE: Final = LogField(
    "service.instance.id", "", "unique per process; begins with `INSTANCE_ID`, in Kubernetes the pod"
)
ERROR_TYPE: Final = LogField("error.type", "", "class of an exception")
EXCEPTION_MESSAGE: Final = LogField("exception.message", "", "what it says")
STACKTRACE: Final = LogField("exception.stacktrace", "", "of a failure that nobody foresaw; its lines are in one field")
MODULE: Final = LogField("module", "", "of our code that speaks")
SUPPRESSED: Final = LogField("suppressed", "lines", "of this event that were not written before this one")

ON_EVERY_LINE: Final = (TIMESTAMP, LEVEL, EVENT, SERVICE_NAME, SERVICE_VERSION, SERVICE_INSTANCE)

OF_EVENTS: Final = (
    LogField("actual", "", "what a client sent in the place of what `rule` or `limit` allows"),
    LogField("address", "", "host:port that clients connect to"),
    LogField("change", "", "what a child process of the launcher did"),
    LogField("channels", "", "Pub/Sub channels, some of them by name (a list)"),
    LogField("charts", "", "how many"),
    LogField("clients", "", "how many"),
    LogField("clients_left", "", "of those, how many were still here at the end"),
    LogField("connections", "", "how many there can be"),
    LogField("connections_wanted", "", "how many `MAX_CONNECTIONS` asks for"),
    LogField("damaged", "", "stored values that could not be read"),
    LogField("dead_letters", "", "stream that refused entries went to"),
    LogField("deadline_s", "s", "that a stop, or letting clients go, has or had"),
    LogField("deaf", "", "how many channels"),
    LogField("entries", "", "of a stream or log, how many"),
    LogField("entry", "", "id of an entry of a stream"),
    LogField("epoch", "", "history of `seq`s that begins"),
    LogField("fence", "", "fencing token of a lease; rises with each holder; no secret"),
    LogField("field", "", "of an upstream entry, that was refused"),
    LogField("file", "", "name of a file"),
    LogField("first", "", "id of the oldest entry that is left"),
    LogField("former_epoch", "", "the one before, empty for the first"),
    LogField("hint", "", "what an operator can do"),
    LogField("instances", "", "services, by `service.instance.id` (a list)"),
    LogField("interval", "", "of a candle, as clients name it"),
    LogField("keys", "", "public keys that tokens are verified with, how many"),
    LogField("last", "", "id of a stream's newest entry"),
    LogField("last_common", "", "id of the last entry that both histories of a log have"),
    LogField("lease", "", "key of a lease"),
    LogField("limit", "", "that was reached"),
    LogField("line", "", "number of a line in `file`"),
    LogField("log", "", "key of a trade or user log"),
    LogField("logs", "", "keys of them (a list)"),
    LogField("namespace", "", "of Socket.IO"),
    LogField("open_files", "", "that the system allows this process"),
    LogField("ops_port", "", "where `/livez`, `/readyz`, `/metrics` answer"),
    LogField("passed_over", "", "keys of a key document that cannot be used, with the reason"),
    LogField("path", "", "of the URL that clients connect to"),
    LogField("position", "", "id of the last entry that was read"),
    LogField("reader", "", "who reads a stream and holds back its trimming"),
    LogField("reason", "", "why, as a word or a sentence"),
    LogField("refused", "", "entries, by reason"),
    LogField("rejected", "", "messages of this kind that could not be read, since the start"),
    LogField("replicas", "", "living price-ingests"),
    LogField("retry_in_s", "s", "until the next try"),
    LogField("revocations", "", "how many came"),
    LogField("rule", "", "of the protocol, that a client broke"),
    LogField("server", "", "what Redis calls itself"),
    LogField("silent_s", "s", "for which a connection said nothing"),
    LogField("stream", "", "key of an upstream stream, or of a log"),
    LogField("streams", "", "how many were left out"),
    LogField("symbol", "", "as clients name it"),
    LogField("symbols", "", "how many"),
    LogField("task", "", "what is tried again"),
    LogField("took_s", "s", "from its beginning to its end"),
    LogField("unit", "", "of price-ingest, 0 to 15"),
    LogField("url", "", "of a key document, without a login"),
    LogField("version", "", "of `server`"),
    LogField("waited_s", "s", "for the trade-notifiers"),
)

ALL: Final = (*ON_EVERY_LINE, ERROR_TYPE, EXCEPTION_MESSAGE, STACKTRACE, MODULE, SUPPRESSED, *OF_EVENTS)

NAMES: Final = frozenset(field.name for field in ALL)
