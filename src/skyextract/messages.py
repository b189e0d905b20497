"""Messages on stderr; the chatter of libraries is kept from the user."""

from __future__ import annotations

import logging
import re
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

from skyextract.record import record

RESULT = 25
"""Level of the one line per image that says what came out; between info and warning."""

LIBRARIES = 24
"""Level from which on the warnings of libraries are told, too (EXTRA_WARNINGS)."""

NOTICE = 35
"""Level of a warning that QUIET tells, too: something of the user's was removed."""

STEP = 15
"""Level of what is begun; on a logger of its own, for those who show how far a run is."""

_STEPS = logging.getLogger("skyextract.steps")
_STEPS.propagate = False

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]|\n")


class Writes(Protocol):
    """What messages can be written to."""

    def write(self, text: str, /) -> object:
        """Write a text."""

    def flush(self) -> object:
        """Let it be seen."""


def set_up_logging(level: str) -> None:
    """Send messages to stderr: `QUIET`, `NORMAL`, `EXTRA_WARNINGS`, `FULL` or `DEBUG`.

    astropy's warnings are told from EXTRA_WARNINGS on: what matters about a file is said in
    our words.
    """
    levels = {
        "QUIET": NOTICE,
        "EXTRA_WARNINGS": LIBRARIES,
        "FULL": logging.INFO,
        "DEBUG": logging.DEBUG,
    }
    handler = _Handler(sys.stderr)
    handler.setFormatter(_Formatter())
    _install(handler, levels.get(level, RESULT))


def _install(handler: logging.Handler, level: int) -> None:
    log = logging.getLogger("skyextract")
    log.handlers[:] = [handler]
    log.propagate = False
    log.setLevel(level)
    if log.isEnabledFor(LIBRARIES):
        logging.captureWarnings(capture=True)
        logging.getLogger("py.warnings").handlers[:] = [handler]
    else:
        logging.captureWarnings(capture=False)
        warnings.filterwarnings("ignore", module="astropy")


def divert(stream: Writes | None) -> None:
    """Let the messages go where others write at the same time; None: to stderr again."""
    for handler in logging.getLogger("skyextract").handlers:
        if isinstance(handler, _Handler):
            handler.setStream(stream or sys.stderr)


@contextmanager
def quiet() -> Iterator[None]:
    """Keep astropy's warnings and log messages from the user, who may ask for them."""
    if logging.getLogger("skyextract").isEnabledFor(LIBRARIES):
        yield
        return
    import astropy

    level = astropy.log.level
    astropy.log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        astropy.log.setLevel(level)


def printable(text: str) -> str:
    r"""Return a text with its control characters written out, ``\x1b`` for ESC.

    Names of files and cards of headers may hold anything; a terminal obeys what it gets.
    """
    return _CONTROL.sub(lambda match: repr(match[0])[1:-1], text)


def encoded(text: str) -> bytes:
    r"""Return a text as UTF-8; bytes of file names that are none are written out, ``\\udcff``."""
    return text.encode("utf-8", "backslashreplace")


class _Handler(logging.StreamHandler):  # type: ignore[type-arg]
    """Writes to stderr; where that is full or closed there is nobody to tell."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        pass


class _Formatter(logging.Formatter):
    """`skyextract: message`, with the level where it is a warning or an error."""

    def format(self, record: logging.LogRecord) -> str:
        lines = [f"skyextract: {_label(record.levelno)}{_text(record)}", *_traceback(record)]
        return "\n".join(map(printable, lines))


def _label(level: int) -> str:
    if level >= logging.ERROR:
        return "error: "
    return "warning: " if level >= logging.WARNING else ""


def _text(record: logging.LogRecord) -> str:
    text = record.getMessage()
    if record.name == "py.warnings":  # file:line: Category: message, and a line of source
        return text.splitlines()[0].split(": ", 1)[-1]
    return text


def _traceback(record: logging.LogRecord) -> list[str]:
    error = record.exc_info[1] if record.exc_info else None
    return [] if error is None else "".join(traceback.format_exception(error)).splitlines()


@record
class Message:
    """A message of another process.

    Attributes
    ----------
    level : int
    label : str
        The image, `name: `, where the message does not name it.
    text : str
    lines : tuple of str
        A traceback.
    """

    level: int
    label: str
    text: str
    lines: tuple[str, ...] = ()


class _Sender(logging.Handler):
    """Gives messages to a function."""

    def __init__(self, send: Callable[[Message], None]) -> None:
        super().__init__()
        self._send = send

    def emit(self, record: logging.LogRecord) -> None:
        labelled = record.msg == LABELLED and isinstance(record.args, tuple)
        label, text = record.args if labelled else ("", _text(record))  # type: ignore[misc]
        self._send(Message(record.levelno, str(label), str(text), tuple(_traceback(record))))


LABELLED = "%s%s"
"""Format of messages about an image: its label, then what is the same for others, too."""


def send_messages(send: Callable[[Message], None], level: int, with_steps: bool = False) -> None:
    """Send the messages of this process elsewhere instead of to stderr."""
    _install(_Sender(send), level)
    send_steps(send if with_steps else None)


def tell_step(label: str, step: str, done: int, total: int) -> None:
    """Tell who shows how far a run is that a step begins, after `done` of `total`."""
    _STEPS.log(STEP, LABELLED, label, f"{done} {total} {step}")


def tells_steps() -> bool:
    """Tell whether anybody wants to know."""
    return bool(_STEPS.handlers)


def send_steps(send: Callable[[Message], None] | None) -> None:
    """Tell steps to a function from now on; None: to nobody."""
    _STEPS.handlers[:] = [] if send is None else [_Sender(send)]
    _STEPS.setLevel(STEP)


@dataclass
class Collector:
    """Prints the messages of many images; a warning that many have is one line at the end.

    With FULL and DEBUG everything is printed as it comes.
    """

    _warnings: dict[str, list[str]] = field(default_factory=dict)
    _log: logging.Logger = field(default_factory=lambda: logging.getLogger("skyextract"))

    def add(self, message: Message, image: str, path: str) -> None:
        """Take a message about an image (its name in messages, and its path)."""
        if message.level != logging.WARNING or self._log.isEnabledFor(logging.INFO):
            self._log.log(message.level, LABELLED, message.label, message.text)
            for line in message.lines:
                self._log.log(message.level, "%s", line)
            return
        text = message.text.replace(path, "").replace(image, "")
        text = re.sub(r"^(\[[^\]]*\])?: ", "", text)
        images = self._warnings.setdefault(text, [])
        name = message.label.removesuffix(": ") or image
        if name not in images:
            images.append(name)

    def finish(self) -> None:
        """Print the warnings, each once."""
        for text, images in self._warnings.items():
            if len(images) == 1:
                self._log.warning("%s: %s", images[0], text)
            else:
                some = ", ".join(images[:3]) + (" ..." if len(images) > 3 else "")
                self._log.warning("%s (%d images: %s)", text, len(images), some)
        self._warnings.clear()
