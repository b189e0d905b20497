"""Many images: each with its own fate, their products, and the worst exit status."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from skyextract.batch.interrupts import Interrupted, interruptible
from skyextract.batch.ordered import OrderedStreams
from skyextract.batch.progress import Progress
from skyextract.batch.spool import Spool
from skyextract.batch.tally import Fate, Tally
from skyextract.errors import ConfigError, ExitStatus, ImageError, OutputError
from skyextract.io.atomic import abandon, recover
from skyextract.io.names import unlisted
from skyextract.io.streams import Stream, is_stream
from skyextract.jobs import Job, check_names, input_files, kept_masters, plan_job
from skyextract.kernels.store import missing_kernels
from skyextract.messages import LABELLED, RESULT, STEP, Collector, Message
from skyextract.outputs.summaries import night_rows, note_night
from skyextract.run import Run, collect_garbage, keep_freed_memory, resolve_threads
from skyextract.settings.resolve import Settings

if TYPE_CHECKING:
    from skyextract.batch.done import Earlier
    from skyextract.batch.workers import Event, Workers
    from skyextract.image import Outcome

log = logging.getLogger("skyextract")


def run_batch(
    images: Sequence[str],
    settings: Settings,
    n_jobs: int,
    output_dir: Path,
    skip_done: bool = False,
) -> int:
    """Process all images and return the worst status (1 before 3).

    Several images are processed in processes of their own, `n_jobs` at a time.

    Parameters
    ----------
    skip_done : bool
        Leave out what an earlier run has done (`done_before`).

    Raises
    ------
    ConfigError
        Before any work: two images would write the same file, a product would overwrite
        an input, a file that the settings name is wrong, or the output folder cannot be made.
    """
    listing = Run()
    images = list(unlisted(images, "list of images", listing))
    batch = Batch(settings, n_jobs, len(images), skip_done)
    jobs = batch.plan(images, output_dir)
    masters = kept_masters(settings, output_dir)
    check_names(jobs, [*input_files(settings, jobs), *listing.opened], masters)
    batch.prepare(output_dir)
    check_nights({job.night for job in jobs})
    try:
        with batch.hiring(), interruptible(batch.last_words):
            recover_folders(jobs)
            batch.run(jobs)
    except Interrupted as interrupt:
        recover_folders(jobs)
        batch.say_interrupted()
        return interrupt.status
    return batch.tally.worst()


def compile_missing(settings: Settings | None = None) -> None:
    """Compile kernels that are not on disk, once for all processes.

    Parameters
    ----------
    settings : Settings or None
        Of the images that are to be processed; None: whatever kernel may be called.

    Raises
    ------
    ConfigError
        The file of PARAMETERS_NAME is wrong.
    """
    if not missing_kernels():
        return
    needed: Collection[str] = ()
    if settings is not None:
        from skyextract.inputs.needs import needed_kernels

        needed = needed_kernels(settings)
    if missing_kernels(needed):
        from skyextract.warm import compile_kernels

        log.log(RESULT, "compiling the numerical kernels, once; see skyextract --warm")
        compile_kernels(not log.isEnabledFor(RESULT), needed)


def run_job(job: Job, settings: Settings, n_threads: int) -> Outcome:
    """Process one image, in whatever process, and take the time."""
    from skyextract.kernels import first

    first.begin(n_threads)  # while the rest is imported
    from skyextract.image import process_image

    collect_garbage()
    start = time.perf_counter()
    outcome = process_image(job, settings, n_threads)
    keep_freed_memory()
    return replace(outcome, seconds=time.perf_counter() - start)


def recover_folders(jobs: Sequence[Job]) -> None:
    """Finish or remove what killed runs have left in the folders of these."""
    folders = {folder for job in jobs for folder in job.folders}
    if any(is_stream(path) for job in jobs for path in job.files):
        import tempfile

        folders.add(Path(tempfile.gettempdir()))
    for folder in folders:
        recover(folder)


def _draw_nights(jobs: Sequence[Job]) -> None:
    """Draw the pages of the tables to which images were added."""
    for table in {job.night for job in jobs if job.night is not None and job.night.is_file()}:
        from skyextract.outputs.night import draw_page

        draw_page(table)


def check_nights(tables: Iterable[Path | None]) -> None:
    """Check that rows can be added to the tables of the night.

    Raises
    ------
    ConfigError
        One is another file, or damaged.
    """
    for table in filter(None, tables):
        from skyextract.io.nights import read_night

        try:
            read_night(table)
        except OutputError as error:
            raise ConfigError(f"{error}: NIGHT_NAME names another") from None


@dataclass
class Batch:
    """The images of one call of the program, and what became of them."""

    settings: Settings
    n_jobs: int
    n_images: int | None
    """None: frames come one by one, as long as the program is let run."""
    skip_done: bool
    tally: Tally = field(default_factory=Tally)
    collector: Collector = field(default_factory=Collector)
    progress: Progress = field(init=False)
    workers: Workers | None = None
    _said: dict[int, list[Message]] = field(default_factory=dict)
    _streams: OrderedStreams = field(init=False)

    def __post_init__(self) -> None:
        """Note which stream holds tables in CSV."""
        output = self.settings.config.output
        is_csv = output.catalog_type == "CSV"
        self._streams = OrderedStreams(output.catalog_name if is_csv else None)

    @property
    def has_several(self) -> bool:
        """More than one image."""
        return self.n_images != 1

    def prepare(self, output_dir: Path) -> None:
        """Make the folder of the products, and say what is to be said before any work.

        Raises
        ------
        ConfigError
            It cannot be made; --skip-done without summaries.
        """
        if self.skip_done and not self.settings.config.output.summary_name:
            raise ConfigError("--skip-done: the summaries (SUMMARY_NAME) tell what is done")
        try:
            output_dir.mkdir(parents=True, exist_ok=True)
        except FileExistsError:
            raise ConfigError(f"{output_dir}: is no folder") from None
        except OSError as error:
            raise ConfigError(f"{output_dir}: {error.strerror}") from None
        for note in self.settings.notes:
            log.warning(note)

    def plan(self, images: Sequence[str], output_dir: Path) -> list[Job]:
        """Name the products of all images; one that cannot be planned costs itself alone."""
        jobs = []
        for image in images:
            try:
                jobs.append(self.plan_one(image, output_dir))
            except ConfigError as error:
                if len(images) == 1:
                    raise
                self.fail(image, str(error))
        return jobs

    def plan_one(self, image: str, output_dir: Path) -> Job:
        """Name the products of an image.

        Raises
        ------
        ConfigError
            It is none, or has no names.
        """
        return plan_job(image, self.settings, output_dir, one_of_several=self.has_several)

    def fail(self, name: str, message: str, progress: Progress | None = None) -> None:
        """Note an image that failed outside its process; `progress` counts it if work has begun."""
        if progress is None:
            log.error(LABELLED, "", message)
        else:
            progress.done("", ExitStatus.IMAGE_FAILED, [Message(logging.ERROR, "", message)])
        self.tally.fates.append(Fate(Path(name).name, ExitStatus.IMAGE_FAILED))

    @contextmanager
    def hiring(self) -> Iterator[None]:
        """Have processes for several images; they begin with what this one has imported."""
        if self.n_images is None or not self.has_several:
            yield
            return
        # What outcomes are made of, and what nearly every image asks for.
        import skyextract.image
        import skyextract.stages.measure  # noqa: F401
        from skyextract.batch.workers import Workers

        with Workers(min(self.n_jobs, self.n_images)) as self.workers:
            if not missing_kernels():
                self.workers.fork()
            yield

    def run(self, jobs: Sequence[Job]) -> None:
        """Process the images."""
        try:
            with Spool() as spool:
                self.settings = spool.settings(self.settings)
                compile_missing(self.settings)
                self._run_spooled(list(jobs), spool)
        finally:
            self.collector.finish()
        if self.has_several:
            _draw_nights(jobs)
        if self.has_several or self.skip_done:
            self.tally.tell()

    def _run_spooled(self, jobs: list[Job], spool: Spool) -> None:
        numbers = self._not_done(jobs) if self.skip_done else list(range(len(jobs)))
        if numbers and not self.has_several:
            try:
                jobs = [spool.job(jobs[0])]
            except ImageError as error:
                self.fail(jobs[0].label, str(error))
                return
        with Progress(len(numbers)) as self.progress:
            if not self.has_several:
                for number in numbers:
                    self._finish(jobs, number, self.function(1)(jobs[number]))
            elif numbers:
                jobs = [job if spool.missing(job) else spool.job(job) for job in jobs]
                self._run_in_workers(jobs, numbers, spool)

    def _not_done(self, jobs: Sequence[Job]) -> list[int]:
        """Return the numbers of images that no earlier run has done; take note of the others."""
        from skyextract.batch.done import done_before

        waiting = []
        for number, job in enumerate(jobs):
            earlier = done_before(job, self.settings)
            if earlier is None:
                waiting.append(number)
                continue
            self.take_earlier(jobs, number, earlier)
        return waiting

    def take_earlier(self, jobs: Sequence[Job], number: int, earlier: Earlier) -> None:
        """Take note of an image that an earlier run has done."""
        self.tally.fates.append(Fate(jobs[number].label, earlier.status, earlier=True))
        note_night(jobs[number], night_rows(jobs[number], earlier.summary))
        self._write_streams(jobs, number, earlier.again())

    def function(self, n_processes: int) -> Callable[[Job], Outcome]:
        """Return what processes an image, in one of so many processes."""
        n_threads = resolve_threads(self.settings.config.pipeline.nthreads, n_processes)
        return partial(run_job, settings=self.settings, n_threads=n_threads)

    def _run_in_workers(self, jobs: list[Job], numbers: Sequence[int], spool: Spool) -> None:
        from skyextract.batch.piped import Arrived, piped

        workers = self.workers
        assert workers is not None
        collect_garbage()
        later = piped(jobs, numbers, spool)
        tasks = [number for number in numbers if number not in later.waiting]
        begin = time.time()
        try:
            function = self.function(min(self.n_jobs, len(numbers)))
            workers.work(function, [jobs[number] for number in tasks])
            later.be_patient(not tasks)
            for event in workers.run(later):
                if not isinstance(event, Arrived):
                    self.take(event, jobs, tasks[event.number])
                elif event.failure:
                    self.fail(event.job.label, event.failure, self.progress)
                    self._write_streams(jobs, event.number, ())
                else:
                    jobs[event.number] = event.job
                    tasks.append(event.number)
                    workers.add(event.job)
                later.be_patient(not workers.unfinished)
        except Interrupted:
            workers.dismiss()
            self._take_unheard(jobs, numbers, begin)
            raise

    def _take_unheard(self, jobs: Sequence[Job], numbers: Sequence[int], begin: float) -> None:
        """Take note of images whose processes were ended between the products and the word."""
        from skyextract.batch.done import done_before

        for number in numbers:
            earlier = None if number in self._streams else done_before(jobs[number], self.settings)
            summary = jobs[number].products.get("SUMMARY_NAME")
            if earlier is not None and summary is not None and summary.stat().st_mtime >= begin:
                self.take_earlier(jobs, number, earlier)

    def take(self, event: Event, jobs: Sequence[Job], number: int) -> None:
        """Take what happened to an image in its process.

        Raises
        ------
        ConfigError
            The settings are wrong for any image.
        """
        job = jobs[number]
        from skyextract.batch.workers import Died, Said

        if isinstance(event, Said):
            self._hear(number, event.message, job)
        elif isinstance(event, Died):
            recover_folders([job])
            text = f"its process died ({event.cause})"
            if event.final:
                self._finish(jobs, number, self.lost(number, job, f"{text} again"))
            else:
                log.warning(LABELLED, f"{job.label}: ", f"{text}; it is tried once more")
        else:
            self._finish(jobs, number, event.result)

    def _hear(self, number: int, message: Message, job: Job) -> None:
        """Take a message: what came out waits for the end of its image."""
        least = logging.WARNING if self.n_images is None else logging.ERROR  # a watch tells at once
        if message.level == STEP:
            self.progress.step(message)
        elif message.level == RESULT or message.level >= least:
            self._said.setdefault(number, []).append(message)
        else:
            self.collector.add(message, job.label, job.measurement.path)

    def lost(self, number: int, job: Job, message: str) -> Outcome:
        """Return the outcome of an image of which its process could not give any."""
        from skyextract.image import Outcome
        from skyextract.outputs.failure import write_failure

        said = Message(logging.ERROR, f"{job.label}: ", message)
        self._said.setdefault(number, []).append(said)
        streams = write_failure(job, self.settings, Run(), message)
        return Outcome(ExitStatus.IMAGE_FAILED, streams, is_kept=False)

    def _finish(self, jobs: Sequence[Job], number: int, outcome: Outcome) -> None:
        """Take an outcome."""
        if outcome.refused:
            raise ConfigError(outcome.refused)
        job = jobs[number]
        fate = Fate(job.label, outcome.status, outcome.seconds, outcome.shortfalls)
        self.tally.fates.append(fate)
        if self.has_several:
            said = self._said.pop(number, [])
            said.sort(key=lambda message: (message.level == RESULT, message.level))
            if outcome.headline or not outcome.is_kept:
                said = [message for message in said if message.level != RESULT]
            if outcome.headline:  # one line for the file, not one per extension
                said.append(Message(RESULT, f"{job.label}: ", outcome.headline))
            self.progress.done(job.label, outcome.status, said)
        self._write_streams(jobs, number, outcome.streams)

    def _write_streams(self, jobs: Sequence[Job], number: int, streams: Sequence[Stream]) -> None:
        """Write what goes to pipes and devices, when its turn has come."""
        for failed, error in self._streams.add(number, streams):
            log.error(LABELLED, f"{jobs[failed].label}: ", str(error))
            self.tally.others.append(ExitStatus.IMAGE_FAILED)

    def say_interrupted(self) -> None:
        """Say how far the batch came."""
        total = "" if self.n_images is None else f" of {self.n_images}"
        log.error("interrupted: %d%s images done", len(self.tally.fates), total)

    def last_words(self) -> None:
        """Clean up in place of a main thread that takes too long."""
        abandon()
        self.say_interrupted()
