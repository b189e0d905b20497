"""Images that come from pipes, copied while others are processed."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path

from skyextract.batch.spool import Spool
from skyextract.errors import ImageError
from skyextract.io.streams import spool_image
from skyextract.jobs import Job
from skyextract.messages import LABELLED, RESULT
from skyextract.record import record

log = logging.getLogger("skyextract")


@record
class Arrived:
    """An image has come out of its pipes.

    Attributes
    ----------
    number : int
        Of the image.
    job : Job
        Its images are copies now.
    failure : str
        Why they cannot be read; empty if they can.
    """

    number: int
    job: Job
    failure: str


@dataclass(eq=False)
class PipedImages:
    """Images that come from pipes; one that nobody writes to keeps nobody waiting but its own.

    Each pipe is read by a thread: a process that opens a pipe sleeps until somebody writes to it.
    The threads end with the program, which need not wait for them.

    Parameters
    ----------
    spool : Spool
        Takes the copies.
    waiting : dict
        The jobs by the number of the image; those that have arrived are taken out.
    """

    spool: Spool
    waiting: dict[int, Job]
    _failures: dict[str, str] = field(default_factory=dict, init=False)
    _told: set[int] = field(default_factory=set, init=False)
    _news: Connection = field(init=False)
    _tell: Connection = field(init=False)
    """Stays open: the end of the last thread is no end of the news."""

    def __post_init__(self) -> None:
        self._news, self._tell = Pipe(duplex=False)
        lock = threading.Lock()
        paths = dict.fromkeys(path for job in self.waiting.values() for path in self.missing(job))
        for path in paths:
            # the copy has its name before any thread begins
            arguments = (path, self.spool.place(), self._tell, lock)
            threading.Thread(target=_copy, args=arguments, daemon=True).start()

    def missing(self, job: Job) -> list[str]:
        """Return the pipes of a job that are not copied yet."""
        return [path for path in self.spool.missing(job) if path not in self._failures]

    def fileno(self) -> int:
        """Return the number of the file that has news when a pipe has been read."""
        return self._news.fileno()

    def news(self) -> Iterator[Arrived]:
        """Yield the images that have arrived since."""
        while self._news.poll():
            path, copy, failure = self._news.recv()
            if failure:
                self._failures[path] = failure
            else:
                self.spool.add(path, copy)
        for number, job in list(self.waiting.items()):
            failures = [self._failures[p] for p in self.spool.missing(job) if p in self._failures]
            if failures:
                yield Arrived(number, self.waiting.pop(number), failures[0])
            elif not self.missing(job):
                yield Arrived(number, self.spool.job(self.waiting.pop(number)), "")

    def tell(self) -> None:
        """Say, once, for which images the program waits when all others are done."""
        for number, job in self.waiting.items():
            if number not in self._told:
                self._told.add(number)
                log.log(RESULT, LABELLED, f"{job.label}: ", "waiting for what writes to the pipe")


def piped(jobs: Mapping[int, Job], spool: Spool) -> PipedImages:
    """Begin to copy those of some images that come from pipes."""
    return PipedImages(spool, {number: job for number, job in jobs.items() if spool.missing(job)})


def _copy(path: str, copy: Path, tell: Connection, lock: threading.Lock) -> None:
    failure = ""
    try:
        spool_image(path, copy)
    except ImageError as error:
        failure = str(error)
    with lock:
        tell.send((path, copy, failure))
