"""One line per log record: JSON for machines, text for people at a terminal. Known forms of secrets are removed, and so is what would
make a terminal act: some of what is logged was written by users.

Messages are constant; what they are about goes into `extra`. Tests: tests/controller/runtime/test_logs.py.
"""

import json
import logging
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, TextIO

from finetune.system.redaction import printable, redact

STANDARD_ATTRIBUTES = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    """Return what the caller gave as `extra`; names with an underscore are other libraries' own (Ray adds one to every record)."""
    return {name: value for name, value in vars(record).items() if name not in STANDARD_ATTRIBUTES and not name.startswith("_")}


def _redacted(value: Any, name: str = "") -> Any:
    """Return the value without secrets in its texts, before they are encoded: what is taken out of JSON takes quotes along.

    A value counts as secret also by the name of its member.
    """
    if isinstance(value, str):
        value = printable(value)
        text, named = redact(value), redact(f"{name}={value}")
        return text if named == f"{name}={text}" else named.removeprefix(f"{name}=")
    if isinstance(value, Mapping):
        return {printable(str(each)): _redacted(found, str(each)) for each, found in value.items()}
    return [_redacted(each, name) for each in value] if isinstance(value, list | tuple) else value


def _json(value: Any) -> str:
    return json.dumps(value, default=lambda each: redact(printable(str(each))), ensure_ascii=False)


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class JsonFormatter(logging.Formatter):
    """Each record as one JSON object: time, level, logger, message, then what it is about."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one line."""
        entry: dict[str, Any] = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_fields(record),
        }
        if record.exc_info:
            entry["traceback"] = self.formatException(record.exc_info)
        return _json(_redacted(entry))


class TextFormatter(logging.Formatter):
    """Each record as `time level message name=value …`, its traceback on the lines below."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as text."""
        about = "".join(f" {name}={_json(value)}" for name, value in _redacted(_fields(record)).items())
        message = printable(record.getMessage()).replace("\n", " ")  # a line of its own would look like another record
        line = f"{_time(record)} {record.levelname.lower():7} {redact(message)}{about}"
        if record.exc_info:
            line += "\n" + redact(printable(self.formatException(record.exc_info)))
        return line


def set_up_logging(level: str, stream: TextIO | None = None) -> None:
    """Send all records of at least `level` to `stream` (stderr): as text to a terminal, else as JSON."""
    stream = stream or sys.stderr
    handler = logging.StreamHandler(stream)
    handler.setFormatter(TextFormatter() if stream.isatty() else JsonFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    # The client library logs whole answers at debug level, with the contents of objects.
    logging.getLogger("kubernetes").setLevel(logging.WARNING)
    logging.getLogger("aiohttp.access").setLevel(logging.WARNING)
    logging.captureWarnings(True)
