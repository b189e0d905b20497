"""Messages on stderr; the chatter of libraries is kept from the user."""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

RESULT = 25
"""Level of the one line per image that says what came out; between info and warning."""


LIBRARIES = 24
"""Level from which on the warnings of libraries are told, too (EXTRA_WARNING)."""


def set_up_logging(level: str) -> None:
    """Send messages to stderr: `QUIET`, `NORMAL`, `EXTRA_WARNING`, `FULL` or `DEBUG`.

    astropy's warnings are told from EXTRA_WARNING on: what matters about a file is said in
    our words.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Formatter())
    log = logging.getLogger("skyextract")
    log.handlers[:] = [handler]
    log.propagate = False
    levels = {
        "QUIET": logging.ERROR,
        "EXTRA_WARNING": LIBRARIES,
        "FULL": logging.INFO,
        "DEBUG": logging.DEBUG,
    }
    log.setLevel(levels.get(level, RESULT))
    if log.isEnabledFor(LIBRARIES):
        logging.captureWarnings(capture=True)
        logging.getLogger("py.warnings").handlers[:] = [handler]
    else:
        logging.captureWarnings(capture=False)
        warnings.filterwarnings("ignore", module="astropy")


@contextmanager
def quiet() -> Iterator[None]:
    """Keep astropy's warnings and log messages from the user, who may ask for them."""
    if logging.getLogger("skyextract").isEnabledFor(LIBRARIES):
        yield
        return
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
        text = record.getMessage()
        if record.name == "py.warnings":  # file:line: Category: message, and a line of source
            text = text.splitlines()[0].split(": ", 1)[-1]
        return f"skyextract: {level}{text}"
