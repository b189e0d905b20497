"""Copies of what comes from pipes: a pipe can be read once, and by one process."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from skyextract.errors import ConfigError, ImageError
from skyextract.io.atomic import recover, scratch_folder
from skyextract.io.names import ImageSpec, list_lines, parse_image_spec
from skyextract.io.streams import is_pipe, spool_image, spool_input
from skyextract.jobs import Job
from skyextract.messages import LABELLED, RESULT
from skyextract.settings.resolve import Settings

log = logging.getLogger("skyextract")


PATIENCE = 3.0
"""Seconds without a word."""


@contextmanager
def _telling(path: str) -> Iterator[None]:
    """Say what the block waits for, if it takes long: a pipe may have nobody who writes to it."""
    text = f"{path}: ", "waiting for what writes to the pipe"
    timer = threading.Timer(PATIENCE, log.log, (RESULT, LABELLED, *text))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


@dataclass
class Spool:
    """The copies of one run, each made once; a context manager that removes them."""

    _copies: dict[str, str] = field(default_factory=dict)
    _folder: Path | None = None
    _n_places: int = 0

    def __enter__(self) -> Spool:
        return self

    def __exit__(self, *_: object) -> None:
        if self._folder is not None:
            import shutil

            shutil.rmtree(self._folder, ignore_errors=True)

    def settings(self, settings: Settings) -> Settings:
        """Return settings that name copies where they named pipes.

        Raises
        ------
        ConfigError
            A pipe cannot be read.
        """
        copies = {}
        for keyword, name in settings.named_files():
            try:
                copies[name] = self._copy_of_name(name)
            except ImageError as error:
                raise ConfigError(f"{keyword} {error}") from None
        return settings.with_copies({name: copy for name, copy in copies.items() if copy != name})

    def job(self, job: Job) -> Job:
        """Return a job whose images are copies where they were pipes; it knows all copies.

        Raises
        ------
        ImageError
            A pipe cannot be read.
        """
        measurement = self._copy_of_image(job.measurement)
        detection = job.detection and self._copy_of_image(job.detection)
        copies = tuple((copy, name) for name, copy in self._copies.items())
        return replace(job, measurement=measurement, detection=detection, copies=copies)

    def missing(self, job: Job) -> list[str]:
        """Return the pipes that images of a job come from and that are not copied yet."""
        specs = filter(None, (job.detection, job.measurement))
        return [s.path for s in specs if is_pipe(s.path) and s.path not in self._copies]

    def place(self) -> Path:
        """Return a name for the next copy."""
        if self._folder is None:
            import tempfile

            recover(tempfile.gettempdir())
            self._folder = scratch_folder()
        self._n_places += 1
        return self._folder / f"input{self._n_places - 1}"

    def add(self, path: str, copy: Path) -> None:
        """Take note of a pipe that was copied."""
        self._copies[path] = os.fspath(copy)

    def _copy_of_image(self, spec: ImageSpec) -> ImageSpec:
        if not is_pipe(spec.path):
            return spec
        return replace(spec, path=self._copy(spec.path, spool_image), source=spec.path)

    def _copy_of_name(self, name: str) -> str:
        """Return the value of a keyword, which may have an extension or be an @list."""
        if name.startswith("@") and is_pipe(name[1:]):
            copy = Path(self._copy(name[1:]))
            lines = list_lines(copy.read_text("utf-8", "replace"), Path.cwd())
            copy.write_text("\n".join(lines), "utf-8")
            return f"@{copy}"
        path = parse_image_spec(name).path
        return name.replace(path, self._copy(path), 1) if is_pipe(path) else name

    def _copy(self, path: str, spool: Callable[[str, Path], None] = spool_input) -> str:
        if path not in self._copies:
            copy = self.place()
            with _telling(path):
                spool(path, copy)
            self.add(path, copy)
        return self._copies[path]
