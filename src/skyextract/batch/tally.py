"""What became of the images of a batch: the worst status, and a table at the end."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from skyextract.errors import ExitStatus
from skyextract.messages import RESULT
from skyextract.record import record

log = logging.getLogger("skyextract")

_MAX_NAMES = 8
_SLOWEST = 3


@record
class Fate:
    """What became of one image.

    Attributes
    ----------
    label : str
        The image in messages.
    status : ExitStatus
    seconds : float
        Wall time; 0 if it was done before.
    shortfalls : tuple of str
        Steps that fell back or failed, and a default PSF in use.
    earlier : bool
        An earlier run had done it.
    """

    label: str
    status: ExitStatus
    seconds: float = 0.0
    shortfalls: tuple[str, ...] = ()
    earlier: bool = False

    @property
    def with_shortfalls(self) -> str:
        """The image, and what fell short in brackets."""
        return f"{self.label} ({', '.join(self.shortfalls)})" if self.shortfalls else self.label


@dataclass
class Tally:
    """Takes the fates of images as they come."""

    fates: list[Fate] = field(default_factory=list)
    others: list[ExitStatus] = field(default_factory=list)
    """Statuses of what went wrong outside an image."""
    _begin: float = field(default_factory=time.monotonic)

    def worst(self) -> ExitStatus:
        """Return the status of the whole."""
        statuses = {*self.others, *(fate.status for fate in self.fates)}
        for worst in (ExitStatus.USAGE, ExitStatus.IMAGE_FAILED, ExitStatus.STEP_FAILED):
            if worst in statuses:
                return worst
        return ExitStatus.OK

    def tell(self) -> None:
        """Print the table."""
        for title, text in self.table():
            log.log(RESULT, "%-8s %s", title, text)

    def table(self) -> list[tuple[str, str]]:
        """Return the lines of the table: title and text."""
        failed = [fate for fate in self.fates if fate.status in _FAILED]
        short = [fate for fate in self.fates if fate.shortfalls and fate not in failed]
        earlier = [fate for fate in self.fates if fate.earlier]
        done = len(self.fates) - len(failed)
        seconds = time.monotonic() - self._begin
        images = "image" if len(self.fates) == 1 else "images"
        lines = [("done", f"{done} of {len(self.fates)} {images} in {_duration(seconds)}")]
        if earlier:
            lines.append(("skipped", f"{len(earlier)}, done before"))
        if short:
            lines.append(("fallback", _some(len(short), (fate.with_shortfalls for fate in short))))
        if failed:
            lines.append(("failed", _some(len(failed), (fate.label for fate in failed))))
        timed = sorted((fate for fate in self.fates if fate.seconds), key=lambda f: -f.seconds)
        if len(timed) > 1:
            slow = (f"{fate.label} {fate.seconds:.1f} s" for fate in timed[:_SLOWEST])
            lines.append(("slowest", ", ".join(slow)))
        return lines


_FAILED = (ExitStatus.IMAGE_FAILED, ExitStatus.USAGE)


def _some(number: int, names: Iterable[str]) -> str:
    """Return a number and the first of so many names."""
    shown: Sequence[str] = list(names)
    more = ", ..." if number > _MAX_NAMES else ""
    return f"{number}: {', '.join(shown[:_MAX_NAMES])}{more}"


def _duration(seconds: float) -> str:
    if seconds < 100.0:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"
