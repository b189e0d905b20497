"""Many images: each with its own fate, their products, and the worst exit status."""

from __future__ import annotations

import logging
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from skyextract.batch.interrupts import Interrupted, interruptible
from skyextract.batch.workers import Died, Said, Workers
from skyextract.errors import ConfigError, ExitStatus, ImageError, OutputError
from skyextract.io.atomic import abandon, recover, scratch_folder
from skyextract.io.names import ImageSpec
from skyextract.io.streams import is_pipe, is_stream, spool_input, write_through
from skyextract.jobs import Job, check_names, input_files, plan_job
from skyextract.messages import LABELLED, RESULT, Collector
from skyextract.run import Run, resolve_threads
from skyextract.settings.resolve import Settings
from skyextract.warm import compile_kernels, missing_kernels

if TYPE_CHECKING:
    from skyextract.image import Outcome

log = logging.getLogger("skyextract")


def run_batch(
    images: Sequence[str],
    settings: Settings,
    n_jobs: int,
    strict: bool,
    output_dir: Path,
) -> int:
    """Process all images and return the worst status (1 before 3).

    Several images are processed in processes of their own, `n_jobs` at a time.

    Raises
    ------
    ConfigError
        Before any work: two images would write the same file, a product would overwrite
        an input, a file that the settings name is wrong, or the output folder cannot be made.
    """
    batch = _Batch(settings, strict, n_jobs, len(images))
    jobs = batch.plan(images, output_dir)
    check_names(jobs, input_files(settings, jobs))
    try:
        output_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{output_dir}: {error.strerror}") from None
    for note in settings.notes:
        log.warning(note)
    try:
        with interruptible(batch.last_words):
            if missing_kernels():
                log.log(RESULT, "compiling the numerical kernels, once; see skyextract --warm")
                compile_kernels(quiet=not log.isEnabledFor(RESULT))
            _recover(jobs)
            batch.run(jobs)
    except Interrupted as interrupt:
        _recover(jobs)
        batch.say_interrupted()
        return interrupt.status
    return batch.worst()


def run_job(job: Job, settings: Settings, strict: bool, n_threads: int) -> Outcome:
    """Process one image, in whatever process."""
    from skyextract.image import process_image

    return process_image(job, settings, strict, n_threads)


def _recover(jobs: Sequence[Job]) -> None:
    """Finish or remove what killed runs have left in the folders of these."""
    folders = {folder for job in jobs for folder in job.folders}
    if any(is_stream(path) for job in jobs for path in job.files):
        folders.add(Path(tempfile.gettempdir()))
    for folder in folders:
        recover(folder)


@dataclass
class _Batch:
    """The images of one call of the program, and what became of them."""

    settings: Settings
    strict: bool
    n_jobs: int
    n_images: int
    statuses: list[ExitStatus] = field(default_factory=list)
    collector: Collector = field(default_factory=Collector)
    _outcomes: dict[int, Outcome] = field(default_factory=dict)
    _n_written: int = 0
    _scratch: Path | None = None

    def plan(self, images: Sequence[str], output_dir: Path) -> list[Job]:
        """Name the products of all images; one that cannot be planned costs itself alone."""
        jobs = []
        for image in images:
            try:
                jobs.append(plan_job(image, self.settings, output_dir))
            except ConfigError as error:
                if len(images) == 1:
                    raise
                self.fail(str(error))
        return jobs

    def fail(self, message: str, label: str = "") -> None:
        """Note an image that failed outside its process."""
        log.error(LABELLED, label, message)
        self.statuses.append(ExitStatus.IMAGE_FAILED)

    def run(self, jobs: Sequence[Job]) -> None:
        """Process the images."""
        try:
            ready = self._spooled(jobs)
            if self.n_images == 1:
                for job in ready:
                    self._finish(ready, 0, self._function(1)(job))
            elif ready:
                self._run_in_workers(ready)
        finally:
            self.collector.finish()
            if self._scratch is not None:
                shutil.rmtree(self._scratch, ignore_errors=True)

    def _function(self, n_processes: int) -> Callable[[Job], Outcome]:
        n_threads = resolve_threads(self.settings.config.pipeline.nthreads, n_processes)
        return partial(run_job, settings=self.settings, strict=self.strict, n_threads=n_threads)

    def _run_in_workers(self, jobs: Sequence[Job]) -> None:
        n_processes = min(self.n_jobs, len(jobs))
        with Workers(self._function(n_processes), jobs, n_processes) as workers:
            for event in workers.run():
                job = jobs[event.number]
                if isinstance(event, Said):
                    self.collector.add(event.message, job.label, job.measurement.path)
                elif isinstance(event, Died):
                    _recover([job])
                    text = f"its process died ({event.cause})"
                    if event.final:
                        self._finish(jobs, event.number, self._lost(job, f"{text} again"))
                    else:
                        log.warning(LABELLED, f"{job.label}: ", f"{text}; it is tried once more")
                else:
                    self._finish(jobs, event.number, event.result)

    def _lost(self, job: Job, message: str) -> Outcome:
        from skyextract.image import Outcome
        from skyextract.outputs.failure import write_failure

        log.error(LABELLED, f"{job.label}: ", message)
        streams = write_failure(job, self.settings, Run(), message)
        return Outcome(ExitStatus.IMAGE_FAILED, streams)

    def _finish(self, jobs: Sequence[Job], number: int, outcome: Outcome) -> None:
        """Take an outcome; what goes to pipes and devices is written in the order of the images."""
        if outcome.refused:
            raise ConfigError(outcome.refused)
        self.statuses.append(outcome.status)
        self._outcomes[number] = outcome
        while self._n_written in self._outcomes:
            for stream in self._outcomes[self._n_written].streams:
                try:
                    write_through(stream)
                except OutputError as error:
                    log.error(LABELLED, f"{jobs[self._n_written].label}: ", str(error))
                    self.statuses.append(ExitStatus.IMAGE_FAILED)
            self._n_written += 1

    def _spooled(self, jobs: Sequence[Job]) -> list[Job]:
        """Copy images that come from pipes into files, which can be read more than once."""
        ready = []
        for job in jobs:
            try:
                detection = job.detection and self._spooled_spec(job.detection)
                ready.append(
                    replace(
                        job, measurement=self._spooled_spec(job.measurement), detection=detection
                    )
                )
            except ImageError as error:
                self.fail(str(error))
        return ready

    def _spooled_spec(self, spec: ImageSpec) -> ImageSpec:
        if not is_pipe(spec.path):
            return spec
        if self._scratch is None:
            recover(tempfile.gettempdir())
            self._scratch = scratch_folder()
        return replace(spec, path=str(spool_input(spec.path, self._scratch)), source=spec.path)

    def worst(self) -> ExitStatus:
        """Return the status of the whole."""
        for worst in (ExitStatus.USAGE, ExitStatus.IMAGE_FAILED, ExitStatus.STEP_FAILED):
            if worst in self.statuses:
                return worst
        return ExitStatus.OK

    def say_interrupted(self) -> None:
        """Say how far the batch came."""
        log.error("interrupted: %d of %d images done", len(self._outcomes), self.n_images)

    def last_words(self) -> None:
        """Clean up in place of a main thread that takes too long."""
        abandon()
        self.say_interrupted()
