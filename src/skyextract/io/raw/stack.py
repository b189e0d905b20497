"""A pile of equal frames on disk, read back in bands of rows: many frames, little memory."""

from __future__ import annotations

import tempfile
from typing import IO

import numpy as np

from skyextract.datamodel.arrays import F4
from skyextract.errors import ImageError, OutputError


class FrameStack:
    """Frames in a temporary file that disappears with the stack; a context manager.

    Parameters
    ----------
    shape : (ny, nx)
        Of each frame.
    """

    def __init__(self, shape: tuple[int, int]) -> None:
        self.shape = shape
        self.n_frames = 0
        self._file: IO[bytes] = tempfile.TemporaryFile(prefix="skyextract-")  # noqa: SIM115

    def __enter__(self) -> FrameStack:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def add(self, frame: F4) -> None:
        """Append a frame of (ny, nx) float32.

        Raises
        ------
        ImageError
            It has another size than the first.
        OutputError
            The disk of the temporary folder is full.
        """
        if frame.shape != self.shape:
            raise ImageError(
                f"{frame.shape[1]} x {frame.shape[0]} pixels, but {self.shape[1]} x "
                f"{self.shape[0]} in the frames before"
            )
        try:
            self._file.write(np.ascontiguousarray(frame, np.float32).data)
            self._file.flush()
        except OSError as error:
            raise OutputError(f"{tempfile.gettempdir()}: {error.strerror} (TMPDIR)") from None
        self.n_frames += 1

    def band(self, first: int, last: int) -> F4:
        """Return rows `first` .. `last` - 1 of all frames: (n, rows, nx) float32."""
        ny, nx = self.shape
        band = np.empty((self.n_frames, last - first, nx), dtype=np.float32)
        for k, rows in enumerate(band):
            self._file.seek(4 * nx * (k * ny + first))
            rows[...] = np.frombuffer(self._file.read(rows.nbytes), np.float32).reshape(rows.shape)
        return band
