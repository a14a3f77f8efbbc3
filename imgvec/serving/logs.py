"""Logs as lines of JSON, which hold no picture, no text that somebody searched for, and no token."""

from __future__ import annotations

import json
import logging
import traceback
from datetime import UTC, datetime
from typing import Any

log = logging.getLogger("imgvec.serving")

FIELDS = "imgvec_fields"
"""The attribute of a record with what is to be in its line."""


class JsonLines(logging.Formatter):
    """One record, one line. Of an exception the class and the places, but not its words, which may be a query's."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, FIELDS, {}),
        }
        if record.exc_info and record.exc_info[1] is not None:
            line |= described(record.exc_info[1])
        return json.dumps(line, default=str)


def described(exc: BaseException) -> dict[str, Any]:
    """An exception without its words, unless it says of them that they are this machine's own (`loggable`)."""
    frames = traceback.extract_tb(exc.__traceback__)[-12:]
    return {
        "error": type(exc).__name__,
        "code": getattr(exc, "code", None),
        **({"said": str(exc)} if getattr(exc, "loggable", False) else {}),
        "at": [f"{each.filename.rpartition('site-packages/')[2]}:{each.lineno} {each.name}" for each in frames],
    }


def config(level: str = "INFO") -> dict[str, Any]:
    """For `logging.config.dictConfig`: everything to stderr."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"json": {"()": JsonLines}},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "json"}},
        "root": {"handlers": ["stderr"], "level": "WARNING"},
        "loggers": {
            "imgvec.serving": {"level": level},
            "uvicorn": {"level": level},
            "uvicorn.access": {"level": "CRITICAL", "propagate": False},  # its lines hold filters
        },
    }
