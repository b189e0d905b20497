"""What goes to pipes and devices, in the order of the images whatever the order of their ends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from skyextract.errors import OutputError
from skyextract.io.streams import Stream, write_through


@dataclass
class OrderedStreams:
    """Products of all images that wait until those of the images before are written.

    Parameters
    ----------
    csv_name : str or None
        The stream of catalogues in CSV, which has the names of columns once.
    """

    csv_name: str | None = None
    _waiting: dict[int, Sequence[Stream]] = field(default_factory=dict)
    _headings: dict[str, bytes] = field(default_factory=dict)
    _n_written: int = 0

    def __contains__(self, number: int) -> bool:
        """Tell whether an image has been added."""
        return number < self._n_written or number in self._waiting

    def add(self, number: int, streams: Sequence[Stream]) -> list[tuple[int, OutputError]]:
        """Add the products of an image, write what need not wait, and return what failed."""
        self._waiting[number] = streams
        failures = []
        while self._n_written in self._waiting:
            for stream in self._waiting.pop(self._n_written):
                try:
                    write_through(stream, self._headings if stream.name == self.csv_name else None)
                except OutputError as error:
                    failures.append((self._n_written, error))
            self._n_written += 1
        return failures
