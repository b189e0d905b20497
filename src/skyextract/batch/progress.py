"""How far a run is, on stderr: a bar on a terminal, else lines that count the images."""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from skyextract.errors import ExitStatus
from skyextract.messages import LABELLED, RESULT, Message, divert, send_steps
from skyextract.settings.extras import is_installed

log = logging.getLogger("skyextract")

_IMAGES = "skyextract: {n_fmt}/{total_fmt} |{bar:20}| {rate_fmt}, {remaining} left{postfix}"
_STEPS = "skyextract: |{bar:20}| {desc}"
_REFRESH = 0.5  # seconds
_DELAY = 1.0  # seconds; what is done before needs no bar
_WORST = (
    (ExitStatus.IMAGE_FAILED, "one FAILED"),
    (ExitStatus.STEP_FAILED, "a step FAILED"),
)


class Progress:
    """Shows how many of some images are done; a context manager.

    Parameters
    ----------
    n_images : int or None
        Of a single one the steps are shown; None: nobody knows how many will come.
    """

    def __init__(self, n_images: int | None) -> None:
        self._n_images = n_images
        self._n_done = 0
        self._statuses: set[ExitStatus] = set()
        self._bar: Any = None
        self._step, self._step_began = "", 0.0
        self._stop = threading.Event()
        self._ticker = threading.Thread(target=self._tick, daemon=True)

    def __enter__(self) -> Progress:
        if self._n_images is not None and can_show_bar():
            self._bar = _make_bar(self._n_images)
            divert(_Above(self._bar))
            send_steps(self.step)
            self._ticker.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is None:
            return
        send_steps(None)
        divert(None)
        self._stop.set()
        self._ticker.join()
        self._bar.close()

    def step(self, message: Message) -> None:
        """Show what is begun on an image: `done`, `total` and name of a step."""
        if self._bar is None:
            return
        done, total, name = message.text.split(" ", 2)
        text = f"{message.label}{name}"
        if self._n_images != 1:
            self._bar.set_postfix_str(", ".join(filter(None, (self._worst(), text))))
            return
        self._step, self._step_began = text, time.monotonic()
        self._bar.total, self._bar.n = int(total), int(done)

    def done(self, label: str, status: ExitStatus, lines: Sequence[Message]) -> None:
        """Count an image, and print what its process said that came out."""
        self._n_done += 1
        total = "" if self._n_images is None else f"/{self._n_images}"
        count = "" if self._bar else f"[{self._n_done}{total}] "
        *first, last = lines or (Message(RESULT, f"{label}: ", "done"),)
        for line in (*first, replace(last, label=f"{count}{last.label}")):
            log.log(line.level, LABELLED, line.label, line.text)
            for more in line.lines:
                log.log(line.level, "%s", more)
        if self._bar is not None:
            self._statuses.add(status)
            self._bar.set_postfix_str(self._worst(), refresh=False)
            self._bar.update()
            self._bar.refresh()  # however soon after the last

    def _worst(self) -> str:
        """Return the worst that became of an image so far, in words."""
        return next((text for status, text in _WORST if status in self._statuses), "")

    def _tick(self) -> None:
        """Let the times go on while nothing else happens."""
        if self._n_images == 1 and self._stop.wait(_DELAY):
            return
        while not self._stop.wait(_REFRESH):
            if self._n_images == 1:
                seconds = time.monotonic() - self._step_began
                text = f"{self._step}, {seconds:.0f} s" if self._step else ""
                self._bar.set_description_str(text, refresh=False)
            self._bar.refresh()


def can_show_bar() -> bool:
    """Tell whether stderr is a terminal that is to be told results, and tqdm is installed."""
    return (
        sys.stderr is not None
        and sys.stderr.isatty()
        and os.environ.get("TERM", "") != "dumb"
        and _has_width()
        and log.isEnabledFor(RESULT)
        and is_installed("tqdm")
    )


def _has_width() -> bool:
    """Tell whether the terminal knows how wide it is: on others no bar can be drawn."""
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns > 0
    except OSError:
        return False


def _make_bar(n_images: int) -> Any:
    from tqdm import tqdm

    tqdm.set_lock(threading.RLock())  # its own is one between processes
    several = n_images > 1
    return tqdm(
        total=n_images, file=sys.stderr, dynamic_ncols=True, leave=False, unit="image",
        bar_format=_IMAGES if several else _STEPS, delay=0.0 if several else _DELAY,
    )  # fmt: skip


class _Above:
    """Writes messages above a bar, as a file does."""

    def __init__(self, bar: Any) -> None:
        self._bar = bar

    def write(self, text: str) -> None:
        with self._bar.external_write_mode(file=sys.stderr):
            sys.stderr.write(text)

    def flush(self) -> None:
        sys.stderr.flush()
