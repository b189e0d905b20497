"""Sources with their boxes of pixels, visited until all models fit together."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from skyextract.datamodel.arrays import F4, F8, I8, U1, U2, Bools, copied
from skyextract.datamodel.noise import median, sparse
from skyextract.kernels.galaxies.boxes import colour_sources, copy_boxes, overlapping_boxes
from skyextract.kernels.galaxies.fit import Places
from skyextract.kernels.galaxies.pixels import Pixels
from skyextract.kernels.values import MAX_VARIANCE
from skyextract.record import record
from skyextract.stages.galaxies.mixture import PsfMixture
from skyextract.stages.pointsources.sweeps import UNUSABLE

if TYPE_CHECKING:
    from skyextract.datamodel.background import BackgroundMap
    from skyextract.datamodel.detections import Detections
    from skyextract.datamodel.psf import Psf
    from skyextract.run import Run

MAX_SWEEPS = 24
CHUNK = 256
"""Sources per call of a kernel, at most: the PSF is drawn for each."""
FEW = 4
"""At least, for a thread: fewer are sooner done than handed over."""
BAND = 64
"""Rows of the image in which sources stand in the order of their columns."""
ROOM = 2.5
"""Least half side of a box, in FWHM."""
MAX_VARIANCES = 100_000
"""Pixels whose variances are looked at for the median, about."""
MOST = 0.25
"""Boxes that cover more of an image than this are as many pixels to copy as the whole."""
GROWTH = 1.5
"""Half side of a box over that of the detection."""


@record
class Sky:
    """What is fitted.

    Attributes
    ----------
    image : (ny, nx) float32
        Background-subtracted.
    variance : (ny, nx) float32
        Of the background; >= 1e29 in bad pixels.
    mask : (ny, nx) uint16
    gain : float
        Electrons per image unit; 0: unknown, no photon noise.
    psf : Psf
    background : BackgroundMap or None
        What was subtracted; None: the level of the sky is known.
    spare : (ny, nx) float32 or None
        Memory for the residual of fits that do not keep it.
    per_variance : float
        1 / variance of the pixels that have this gain, where that follows the weight (WEIGHT_GAIN);
        0: all have it.
    around : dict
        For rows of wide sources the meshes below them, and those around that tell their sky.
    """

    image: F4
    variance: F4
    mask: U2
    gain: float
    psf: Psf
    background: BackgroundMap | None = None
    spare: F4 | None = None
    per_variance: float = 0.0
    around: Mapping[int, tuple[Bools, Bools]] = field(default_factory=dict)

    def pixels(self, residual: F4) -> Pixels:
        """Return what kernels ask for; they change the residual."""
        inverse = 1.0 / self.gain if self.gain > 0 and math.isfinite(self.gain) else 0.0
        return Pixels(
            self.image, residual, self.variance, self.mask, UNUSABLE, inverse, self.per_variance
        )

    @cached_property
    def noise2(self) -> float:
        """The median variance of the background; 1 without any."""
        variance = self.variance[sparse(self.variance.shape, MAX_VARIANCES)]
        usable = (variance > 0.0) & (variance < MAX_VARIANCE)
        return median(variance[usable]) if usable.any() else 1.0

    def level_error(self) -> float:
        """Return the error of the sky below a source: about that of the mean of a mesh."""
        if self.background is None:
            return 0.0
        return math.sqrt(self.noise2 / (self.background.mesh_width * self.background.mesh_height))


def boxes_of(found: Detections, fwhm: float, shape: tuple[int, ...]) -> I8:
    """Return first pixel x, y, width and height of the box of each source, within the image."""
    ends = []
    for middle, low, high, n in (
        (found.x, found.xmin, found.xmax, shape[1]),
        (found.y, found.ymin, found.ymax, shape[0]),
    ):
        extent = np.maximum(middle - low, high - middle)
        half = np.ceil(np.maximum(GROWTH * extent + fwhm, ROOM * fwhm + 2.0))
        first = np.clip(np.rint(middle) - half, 0, n)
        last = np.clip(np.rint(middle) + half + 1, 0, n)
        ends.append((first, last - first))
    boxes: I8 = np.stack([ends[0][0], ends[1][0], ends[0][1], ends[1][1]], axis=1).astype(np.int64)
    return np.ascontiguousarray(boxes)


class Scene:
    """Sources, their boxes, who overlaps whom, and the PSF at each.

    Parameters
    ----------
    sky : Sky
    boxes : (n, 4) int64
        As from `boxes_of`.
    x, y : (n,) float64
        Where the PSF is drawn.
    brightness : (n,) float64
        The brightest of sources that overlap is visited first.

    Attributes
    ----------
    mixture : PsfMixture
        The PSF as Gaussians.
    by_colour : list of (m,) int64
        Sources in groups that do not overlap; one after the other are near each other, so that
        pages of memory are found again.
    """

    def __init__(self, sky: Sky, boxes: I8, x: F8, y: F8, brightness: F8, run: Run) -> None:
        self.psf = sky.psf
        self.mixture = PsfMixture.of(sky.psf, sky.image.shape)
        self.boxes = boxes
        self.run = run
        self.move(x, y)
        n = len(boxes)
        self.first = np.zeros(n + 1, dtype=np.int64)
        self.neighbours = overlapping_boxes(boxes, self.first)
        order = np.argsort(-brightness, kind="stable")
        colour = np.empty(n, dtype=np.int64)
        count = colour_sources(order, self.neighbours, self.first, colour)
        place = np.lexsort((boxes[:, 0], boxes[:, 1] // BAND))
        self.by_colour = [place[colour[place] == c] for c in range(count)]

    def move(self, x: F8, y: F8) -> None:
        """Draw the PSF at other places; what is drawn so far must be drawn anew."""
        self.x, self.y = x.copy(), y.copy()
        self._of_psf = self.mixture.nearest(x, y)

    def beside(self, those: I8) -> I8:
        """Return the neighbours of some sources."""
        found = [self.neighbours[self.first[i] : self.first[i + 1]] for i in those]
        return np.concatenate([*found, np.empty(0, np.int64)])

    def each(self, members: I8, visit: Callable[[I8, Places], None], *, exact: bool = True) -> None:
        """Call `visit` with chunks of sources that do not overlap and their places, in threads.

        If not `exact`, there are no stamps of the PSF: its Gaussians are enough.
        """
        parts = max(min(self.run.n_threads, members.size // FEW), -(-members.size // CHUNK), 1)

        def one(chunk: I8) -> None:
            x, y = self.x[chunk], self.y[chunk]
            column, row = np.rint(x), np.rint(y)
            if exact:
                stamps = self.psf.stamps(x, y, x - column, y - row)
            else:
                stamps = np.empty((chunk.size, 0, 0), dtype=np.float32)
            half = stamps.shape[1] // 2
            corners = np.stack([column - half, row - half], axis=1).astype(np.int64)
            corners = np.ascontiguousarray(corners)
            centres = np.ascontiguousarray(np.stack([x, y], axis=1), dtype=np.float64)
            gaussians = self.mixture.gaussians
            visit(chunk, Places(self.boxes, gaussians, self._of_psf, stamps, corners, centres))

        self.run.map(one, [c for c in np.array_split(members, parts) if c.size])

    def sweep(
        self, stale: Bools, changed: U1, visit: Callable[[I8, Places], None], *, exact: bool = True
    ) -> None:
        """Visit the stale sources; those that see their neighbours change are stale afterwards.

        Parameters
        ----------
        stale : (n,) bool
            Changed.
        changed : (n,) uint8
            Zeros, in which a visit says 1 of sources that are to be visited again.
        exact : bool
            As for `each`.
        """
        for members in self.by_colour:
            todo = members[stale[members]]
            if not todo.size:
                continue
            stale[todo] = False
            self.each(todo, visit, exact=exact)
            stale |= changed == 1
            changed[:] = 0


def restore(pixels: Pixels, boxes: I8, run: Run) -> None:
    """Write the image into the residual in boxes, or everywhere if these are most of it."""
    if boxes[:, 2:].prod(axis=1).sum() > MOST * pixels.image.size:
        copied(pixels.image, run, out=pixels.residual)
        return
    parts = [part for part in np.array_split(boxes, run.n_threads) if part.size]
    run.map(lambda part: copy_boxes(pixels.image, part, pixels.residual), parts)


def start_fluxes(image: F4, found: Detections) -> F8:
    """Return the light in the footprints, at least a little."""
    light = np.add.reduceat(image.reshape(-1).take(found.pixel), found.first[:-1], dtype=np.float64)
    floor = np.abs(light[light > 0]).min() if (light > 0).any() else 1.0
    flux: F8 = np.where(np.isfinite(light) & (light > 0.0), light, floor)
    return flux
