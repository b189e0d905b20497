"""Messages on stderr; the chatter of libraries is kept from the user."""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

RESULT = 25
"""Level of the one line per image that says what came out; between info and warning."""


def set_up_logging(level: str) -> None:
    """Send messages to stderr: `QUIET`, `NORMAL`, `FULL` or `DEBUG`.

    astropy's warnings are not for users: what matters about a file is said in our words.
    """
    warnings.filterwarnings("ignore", module="astropy")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Formatter())
    log = logging.getLogger("skyextract")
    log.handlers[:] = [handler]
    log.propagate = False
    levels = {"QUIET": logging.ERROR, "FULL": logging.INFO, "DEBUG": logging.DEBUG}
    log.setLevel(levels.get(level, RESULT))


@contextmanager
def quiet() -> Iterator[None]:
    """Keep astropy's warnings and log messages from the user."""
    logger = logging.getLogger("astropy")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


class _Formatter(logging.Formatter):
    """`skyextract: message`, with the level where it is a warning or an error."""

    def format(self, record: logging.LogRecord) -> str:
        level = f"{record.levelname.lower()}: " if record.levelno >= logging.WARNING else ""
        return f"skyextract: {level}{record.getMessage()}"
