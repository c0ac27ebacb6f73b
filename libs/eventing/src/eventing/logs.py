"""Logs of this code and of its libraries as one stream of events, with the talkative ones held back."""

import json
import logging
import sys
import time
from collections.abc import Callable
from typing import Any, Final

import msgspec
import structlog

_QUIET_S: Final = 30.0
_TALKATIVE: Final = ("aiokafka", "kafka", "asyncpg")


class RateLimit(logging.Filter):
    """Lets the same message (before its arguments) of a logger through once in `seconds`, and says how many it held."""

    def __init__(self, seconds: float = _QUIET_S) -> None:
        super().__init__()
        self._seconds = seconds
        self._seen: dict[tuple[str, str], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Called by logging for every record of the logger's handler."""
        if not record.name.startswith(_TALKATIVE):
            return True
        key, now = (record.name, str(record.msg)[:200]), time.monotonic()
        since, held = self._seen.get(key, (-self._seconds, 0))
        if now - since < self._seconds:
            self._seen[key] = (since, held + 1)
            return False
        self._seen[key] = (now, 0)
        if record.name == "asyncpg.pool" and record.exc_info:  # the server is away: why, not where in the library
            record.msg, record.exc_info = f"{record.msg}: {record.exc_info[1]!r}", None
        if held:
            record.msg = f"{record.msg} (and {held} more like it)"
        return True


def one_line(event: Any, default: Callable[[Any], Any]) -> str:
    """JSON as Python's own writes it, in a third of its time, which every request pays. What this refuses, such as half
    a surrogate pair, that takes: no line is lost for what it tells.
    """
    try:
        return msgspec.json.format(msgspec.json.encode(event, enc_hook=default), indent=0).decode()
    except (TypeError, ValueError, OverflowError):
        return json.dumps(event, default=default)


def configure_logging(format: str = "json", level: str = "INFO") -> None:
    """Sends everything to stderr, as one JSON object a line or for reading on a console."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    renderer: Any = structlog.processors.JSONRenderer(serializer=one_line)
    if format == "console":  # plain tracebacks: the pretty ones show local variables, so passwords and events
        renderer = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
    exceptions = [structlog.processors.format_exc_info] if format == "json" else []
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(RateLimit())
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *exceptions, renderer],
        )
    )
    logging.basicConfig(level=level, handlers=[handler], force=True)
    logging.getLogger("aiokafka").setLevel(max(logging.WARNING, logging.getLevelName(level)))
