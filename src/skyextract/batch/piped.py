"""Images that come from pipes, copied while others are processed."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Sequence
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

PATIENCE = 10.0
"""Seconds for which images that are done wait for somebody to open a pipe to write to it."""


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
    """Images that come from pipes; one that nobody writes to keeps no other waiting.

    Each pipe is read by a thread: a process that opens a pipe sleeps until somebody writes to it.
    The threads end with the program, which need not wait for them.  What opens at once, as
    standard input and process substitutions do, is read to its end; a named pipe among files
    (of a glob) that nobody opens is given up some time after all others are done.

    Parameters
    ----------
    spool : Spool
        Takes the copies.
    waiting : dict
        The jobs by the number of the image; those that have arrived are taken out.
    are_alone : bool
        No image is a file: whoever names pipes alone has something that will write to them.
    """

    spool: Spool
    waiting: dict[int, Job]
    are_alone: bool = False
    _copies: dict[str, Path] = field(default_factory=dict, init=False)
    """The files that the threads make when somebody has opened the pipe to write to it."""
    _failures: dict[str, str] = field(default_factory=dict, init=False)
    _told: set[int] = field(default_factory=set, init=False)
    _news: Connection = field(init=False)
    _tell: Connection = field(init=False)
    """Stays open: the end of the last thread is no end of the news."""
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)
    _patience: threading.Timer | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self._news, self._tell = Pipe(duplex=False)
        paths = dict.fromkeys(path for job in self.waiting.values() for path in self.missing(job))
        for path in paths:
            # the copy has its name before any thread begins
            self._copies[path] = self.spool.place()
            threading.Thread(target=self._copy, args=[path], daemon=True).start()

    def missing(self, job: Job) -> list[str]:
        """Return the pipes of a job that are not copied yet."""
        return [path for path in self.spool.missing(job) if path not in self._failures]

    def fileno(self) -> int:
        """Return the number of the file that has news when a pipe has been read."""
        return self._news.fileno()

    def news(self) -> Iterator[Arrived]:
        """Yield the images that have arrived since."""
        while self._news.poll():
            path, failure = self._news.recv()
            if failure:
                self._failures[path] = failure
            else:
                self.spool.add(path, self._copies[path])
        for number, job in list(self.waiting.items()):
            failures = [self._failures[p] for p in self.spool.missing(job) if p in self._failures]
            if failures:
                yield Arrived(number, self.waiting.pop(number), failures[0])
            elif not self.missing(job):
                yield Arrived(number, self.spool.job(self.waiting.pop(number)), "")

    def be_patient(self, are_others_done: bool) -> None:
        """Wait some time, from now on, for what nobody writes to, if all others are done."""
        if self._patience is not None:
            self._patience.cancel()
        if are_others_done and self.waiting:
            self._patience = threading.Timer(PATIENCE, self._give_up)
            self._patience.daemon = True
            self._patience.start()
            if not self.are_alone:
                self._say()

    def _say(self) -> None:
        """Say, once, for which images the program waits when all others are done."""
        for number, job in self.waiting.items():
            if number not in self._told:
                self._told.add(number)
                log.log(RESULT, LABELLED, f"{job.label}: ", "waiting for what writes to the pipe")

    def _give_up(self) -> None:
        """End the waiting for pipes that nobody has opened, unless one is being read."""
        pipes = {path for job in self.waiting.values() for path in self.missing(job)}
        if any(self._copies[path].exists() for path in pipes):
            return
        if self.are_alone:
            self._say()
            return
        for path in pipes:
            message = f"{path}: is a pipe that nobody writes to"
            self._note(path, message)

    def _copy(self, path: str) -> None:
        failure = ""
        try:
            spool_image(path, self._copies[path])
        except ImageError as error:
            failure = str(error)
        self._note(path, failure)

    def _note(self, path: str, failure: str) -> None:
        with self._lock:
            self._tell.send((path, failure))


def piped(jobs: Sequence[Job], numbers: Sequence[int], spool: Spool) -> PipedImages:
    """Begin to copy those of some images of a batch that come from pipes."""
    waiting = {number: jobs[number] for number in numbers if spool.missing(jobs[number])}
    return PipedImages(spool, waiting, all(spool.missing(job) for job in jobs))
