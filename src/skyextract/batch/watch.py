"""Frames as they arrive in a folder, each with its line and its row in the table of the night."""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from skyextract.batch.done import done_before
from skyextract.batch.images import Batch, check_nights, compile_missing, recover_folders
from skyextract.batch.interrupts import Interrupted, interruptible
from skyextract.batch.progress import Progress
from skyextract.batch.spool import Spool
from skyextract.batch.tally import Fate
from skyextract.batch.workers import Died, Done, Event, Said, Workers
from skyextract.errors import ConfigError, ExitStatus
from skyextract.io.arrivals import Arrivals
from skyextract.io.atomic import recover
from skyextract.io.names import ImageSpec
from skyextract.io.streams import is_stream
from skyextract.jobs import Job, check_names, input_files, kept_masters
from skyextract.messages import LABELLED, RESULT, Message
from skyextract.outputs.night import draw_page
from skyextract.run import Run, collect_garbage
from skyextract.settings.resolve import Settings
from skyextract.warm import preload

if TYPE_CHECKING:
    from skyextract.image import Outcome

log = logging.getLogger("skyextract")

_PAGE_INTERVAL = 2.0
"""Seconds between two drawings of the page, at least."""


def run_watch(
    folder: Path,
    settings: Settings,
    n_jobs: int,
    output_dir: Path,
    skip_done: bool = False,
) -> int:
    """Process frames of a folder, those that are there and those that arrive, until a signal.

    Parameters
    ----------
    folder : Path
        Its own files; folders in it are not watched.
    skip_done : bool
        Leave out what an earlier run has done.

    Returns
    -------
    int
        The worst status of the frames: a signal is how a watch ends.

    Raises
    ------
    ConfigError
        No such folder; the settings are wrong.
    """
    if not folder.is_dir():
        raise ConfigError(f"--watch {folder}: no such folder")
    with Spool() as spool:
        watch = _Watch(folder, spool.settings(settings), n_jobs, output_dir, skip_done)
        try:
            with interruptible(watch.batch.last_words):
                compile_missing()
                watch.run()
        except Interrupted:
            watch.end()
    return watch.batch.tally.worst()


@dataclass
class _Watch:
    """A folder that is watched, and what became of its frames."""

    folder: Path
    settings: Settings
    n_jobs: int
    output_dir: Path
    skip_done: bool
    batch: Batch = field(init=False)
    _jobs: list[Job] = field(default_factory=list)
    _under_way: dict[int, int] = field(default_factory=dict)
    """Number of the frame, by that of its task."""
    _writer: dict[str, str] = field(default_factory=dict)
    """Frame that writes a file."""
    _products: set[str] = field(default_factory=set)
    _inputs: set[str] = field(init=False)
    _table: Path | None = field(init=False)
    _arrivals: Arrivals | None = None
    _drawn: float = 0.0
    _is_stale: bool = False

    def __post_init__(self) -> None:
        self.batch = Batch(self.settings, self.n_jobs, None, self.skip_done)
        example = self.batch.plan_one("frame.fits", self.output_dir)
        self._table = example.night
        self._inputs = {os.path.realpath(path) for path in input_files(self.settings, [example])}
        check_names([example], [*self._inputs], kept_masters(self.settings, self.output_dir))
        self.batch.prepare(self.output_dir)
        check_nights([self._table])
        recover(self.output_dir)

    def run(self) -> None:
        """Take frames until a signal comes.

        Raises
        ------
        ConfigError
            A file that the settings name is wrong, which is seen before the first frame.
        """
        n = self.n_jobs
        work = partial(
            _work, function=self.batch.function(n), settings=self.settings, folder=self.output_dir
        )
        collect_garbage()
        log.log(RESULT, "watching %s; Ctrl-C ends it", self.folder)
        with (
            Progress(None) as self.batch.progress,
            Workers(n) as workers,
            Workers(1) as painter,
            Arrivals(self.folder, self._no_frames) as arrivals,
        ):
            self._arrivals = arrivals
            workers.work(work, [None] * n)
            painter.work(draw_page)
            while True:
                for path in arrivals.ready():
                    self._arrive(path, workers)
                wait = min(arrivals.wait_at_most(), self._until_page(painter))
                for event in workers.poll(wait, (arrivals, *painter.connections)):
                    self._take(event)
                for event in painter.poll(0.0):
                    if isinstance(event, Said):
                        _say(event.message)

    def _arrive(self, path: Path, workers: Workers) -> None:
        """Give a frame to the workers."""
        try:
            job = self.batch.plan_one(str(path), self.output_dir)
            check_names([job], [*self._inputs])
            self._claim(job)
        except ConfigError as error:
            self.batch.fail(str(path), str(error), self.batch.progress)
            return
        self._jobs.append(job)
        number = len(self._jobs) - 1
        if self.skip_done and (earlier := done_before(job, self.settings)):
            self.batch.take_earlier(self._jobs, number, earlier)
            self._is_stale = True
            return
        self._under_way[workers.add(job)] = number

    def _take(self, event: Event) -> None:
        """Take what happened in a process."""
        number = self._under_way.get(event.number)
        if number is None:
            _take_beginning(event)
            return
        job = self._jobs[number]
        if isinstance(event, Done) and event.result.refused:
            # What was right at the beginning is not now: a disk that is away, a file replaced.
            outcome = self.batch.lost(number, job, event.result.refused)
            event = Done(event.number, outcome)
        self.batch.take(event, self._jobs, number)
        if isinstance(event, Done) or (isinstance(event, Died) and event.final):
            del self._under_way[event.number]
            self._is_stale = True

    def _claim(self, job: Job) -> None:
        """Note the files of a frame; ConfigError if another frame writes one of them."""
        for keyword, path in job.named_files.items():
            if is_stream(path):
                continue
            frame = job.measurement.path
            writer = self._writer.setdefault(os.path.realpath(path), frame)
            if writer != frame:
                raise ConfigError(f"{frame}: {writer} has the same {keyword}")

    def _no_frames(self, paths: Sequence[Path]) -> set[Path]:
        """Return those of some files that are products of frames, or other inputs."""
        for path in paths:
            with suppress(ConfigError):
                files = self.batch.plan_one(str(path), self.output_dir).files
                self._products |= set(map(os.path.realpath, files))
        left_out = self._products | self._inputs
        return {
            path for path in paths if os.path.realpath(path) in left_out or self._is_master(path)
        }

    def _is_master(self, path: Path) -> bool:
        """Tell whether isr keeps masters under such a name."""
        pattern = self.settings.config.isr.isr_master_name
        kept = os.path.realpath(self.output_dir / pattern.replace("{kind}", "*"))
        return bool(pattern) and fnmatchcase(os.path.realpath(path), kept)

    def _until_page(self, painter: Workers) -> float:
        """Let the page of the night be drawn when it is due; return the seconds until it is."""
        if not self._is_stale or painter.unfinished or self._table is None:
            return math.inf
        wait = self._drawn + _PAGE_INTERVAL - time.monotonic()
        if wait > 0.0:
            return wait
        if self._table.is_file():
            painter.add(self._table)
        self._is_stale, self._drawn = False, time.monotonic()
        return math.inf

    def end(self) -> None:
        """Clean up after the last frame, and tell what became of all."""
        recover_folders(self._jobs)
        labels = [self._jobs[number].label for number in self._under_way.values()]
        if labels:
            log.error("given up, because they were not done: %s", ", ".join(labels))
        waited_for = [] if self._arrivals is None else map(str, self._arrivals.waited_for())
        if incomplete := sorted(waited_for):
            log.error("given up, because they were not all there: %s", ", ".join(incomplete))
        fates = self.batch.tally.fates
        fates += [Fate(label, ExitStatus.IMAGE_FAILED) for label in (*labels, *incomplete)]
        if self._table is not None and self._table.is_file():
            draw_page(self._table)
        self.batch.collector.finish()
        self.batch.tally.tell()


def _work(
    job: Job | None, function: Callable[[Job], Outcome], settings: Settings, folder: Path
) -> Outcome:
    """Process a frame; None, with which a process begins, loads everything for the first one."""
    from skyextract.image import Outcome, read_side_files

    if job is not None:
        return function(job)
    preload()
    try:
        read_side_files(Job(ImageSpec(""), None, {}, (), folder), settings, Run())
    except ConfigError as error:
        return Outcome(ExitStatus.USAGE, refused=str(error))
    return Outcome(ExitStatus.OK)


def _take_beginning(event: Event) -> None:
    """Take what happened before a process has its first frame."""
    if isinstance(event, Said):
        _say(event.message)
    elif isinstance(event, Done) and event.result.refused:
        raise ConfigError(event.result.refused)


def _say(message: Message) -> None:
    log.log(message.level, LABELLED, message.label, message.text)
