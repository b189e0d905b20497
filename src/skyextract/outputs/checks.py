"""Check images of one image; without room for them the other products remain."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from skyextract.errors import OutputError
from skyextract.io.images.checkimages import CheckImageWriter
from skyextract.io.images.exposures import catalog_header
from skyextract.messages import LABELLED
from skyextract.outputs.planes import check_planes

if TYPE_CHECKING:
    from skyextract.datamodel.header import Cards, Header
    from skyextract.io.atomic import Outputs
    from skyextract.jobs import Job
    from skyextract.outputs.result import Result
    from skyextract.run import Run
    from skyextract.settings.resolve import Settings

log = logging.getLogger("skyextract")


class CheckImages:
    """Writes the check images of an image, extension by extension; a context manager.

    Attributes
    ----------
    lost : str
        Why there are none, though they are wanted.
    """

    def __init__(self, job: Job, settings: Settings, run: Run, outputs: Outputs) -> None:
        self.lost = ""
        self._job = job
        self._settings = settings
        self._run = run
        self._outputs = outputs
        self._writer: CheckImageWriter | None = None
        self._unmeasured: list[tuple[Header, Cards]] = []  # without planes, and not there yet

    def __enter__(self) -> CheckImages:
        return self

    def __exit__(self, *error: Any) -> None:
        if self._writer is not None:
            self._writer.__exit__(*error)

    def leave_out(self, header: Header, cards: Cards) -> None:
        """Let an extension without check images have its place in these files."""
        self._unmeasured.append((header, cards))

    def add(self, result: Result) -> str:
        """Write those of an extension; returns why they cannot be written."""
        if not self._job.check_images or self.lost:
            return ""
        try:
            self._add(result)
        except (OSError, OutputError) as error:
            return self._lose(error)
        return ""

    def end(self) -> str:
        """Complete the files; returns why they cannot be written."""
        try:
            self._keep_places()
            self.__exit__(None, None, None)
        except (OSError, OutputError) as error:
            return self._lose(error)
        return ""

    def _add(self, result: Result) -> None:
        cards = result.report.cards()
        if result.measured is None:
            self.leave_out(catalog_header(result.exposure), cards)
            return
        if self._writer is None:
            several = result.exposure.extension > 0
            files = dict(self._job.check_images)
            self._writer = CheckImageWriter(files, several, self._outputs.open).__enter__()
        self._keep_places()
        planes = check_planes(result, self._writer.types, self._settings, self._run)
        self._writer.add(result.exposure, planes, cards)

    def _keep_places(self) -> None:
        if self._writer is not None:
            for header, cards in self._unmeasured:
                self._writer.leave_out(header, cards)
            self._unmeasured.clear()

    def make_room(self, error: OutputError) -> str:
        """Give up what is complete, for a product that cannot be written; returns why.

        Nothing where there is nothing to give up.
        """
        paths = dict.fromkeys(path for _, path in self._job.check_images)
        dropped = [str(path) for path in paths if self._outputs.drop(path)]
        if not dropped:
            return ""
        reason = str(error).rpartition(": ")[2]  # the product itself will be there
        return self._lose(OutputError(f"{', '.join(dropped)}: {reason}"))

    def _lose(self, error: OSError | OutputError) -> str:
        """Give the files up, whose room is for the others; return why."""
        reason = str(error)
        try:
            self.__exit__(type(error), error, error.__traceback__)
        except (OSError, OutputError) as named:
            reason = str(named)
        self._writer = None
        message = f"{reason}: there are no check images"
        self.lost = message
        log.error(LABELLED, self._run.label, message)
        return message
