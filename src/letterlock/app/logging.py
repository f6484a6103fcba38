"""Logs: events, not content. A field that is not on the list does not get out, whoever put it there."""

import logging
import sys
from collections.abc import MutableMapping
from typing import Any, Final

import msgspec
import structlog

ALLOWED: Final = frozenset(
    {
        "event", "level", "timestamp", "logger", "operation", "reason", "error_type", "state", "from_state", "to_state",
        "channel", "count", "size", "status", "port", "host", "version", "epoch", "duration_ms", "attempt", "path",
        "environment", "generation", "rows", "code", "outcome", "cause", "route", "hint", "folder",
    }
)  # fmt: skip
"""Field names that may appear. None of them ever carries content, an address or a credential."""
MAX_VALUE: Final = 200
"""Characters of a value: a field that suddenly holds more holds something else."""
_DROPPED: Final = "fields_dropped"


def only_allowed(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Keeps fields of the list, with plain and short values; says how many were dropped."""
    kept: dict[str, Any] = {}
    dropped = 0
    for name, value in event.items():
        if (name in ALLOWED and (isinstance(value, bool | int | float) or value is None)) or (
            name in ALLOWED and isinstance(value, str) and len(value) <= MAX_VALUE
        ):
            kept[name] = value
        else:
            dropped += 1
    if dropped:
        kept[_DROPPED] = dropped
    return kept


class _Foreign(logging.Handler):
    """What libraries log: their name and level are kept, their text is not, for it may hold anything."""

    def emit(self, record: logging.LogRecord) -> None:
        structlog.get_logger(record.name).log(
            record.levelno,
            "library_message",
            operation=record.name,
            error_type=record.exc_info[0].__name__ if record.exc_info and record.exc_info[0] else None,
        )


def configure(level: str) -> None:
    """Sends structured events to standard error, one JSON object a line."""
    number = logging.getLevelNamesMapping()[level.upper()]
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            only_allowed,
            structlog.processors.JSONRenderer(serializer=lambda value, **_: msgspec.json.encode(value).decode()),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
    root = logging.getLogger()
    root.handlers[:] = [_Foreign()]
    root.setLevel(max(number, logging.WARNING))
