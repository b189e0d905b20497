"""What detection found: the segmentation, the sources' pixels and their basic shapes."""

from __future__ import annotations

from dataclasses import field, replace
from typing import Annotated

import numpy as np

from skyextract.datamodel.arrays import F4, F8, I2, I4, I8, Bools, blank, each_of
from skyextract.datamodel.background import BackgroundMap
from skyextract.datamodel.imageunit import FLUX
from skyextract.datamodel.noise import NoisyLines
from skyextract.record import record

PER_SOURCE = (
    "id_parent", "n_own", "xmin", "xmax", "ymin", "ymax", "x", "y", "x2", "y2", "xy",
    "singular", "a", "b", "theta", "cxx", "cyy", "cxy", "fdnpix", "dnpix", "fdflux", "dflux",
    "fdpeak", "dpeak", "xpeak", "ypeak", "dthresh", "abcor", "flags",
)  # fmt: skip
"""Fields of `Detections` that have one element per source."""

_CELL = 16
"""Side in pixels of the cells by which sources near some pixels are looked up."""
_SPARSE = 64
"""Places of a table for each pixel that is looked up in it."""


@record
class Detections:
    """Detected, deblended and cleaned sources of one image.

    Arrays have one element per source, ordered by the raster position of the peak, or as
    SExtractor orders them where the filter is not the PSF; source ids are 1..n in that order.
    Positions are 0-based pixels.  "Filtered" is the image that was thresholded:
    background-subtracted and convolved with the detection filter.  With the PSF as filter it
    is the significance of a point source in sigma, and so are all quantities here that refer
    to it.  The names are those of Bertin & Arnouts (1996, A&AS 117, 393) and of SExtractor's
    manual.

    Attributes
    ----------
    labels : (ny, nx) int32 or None
        The `segmentation`, or None where it was let go.
    id_parent : (n,) int32
        Number, from 1, of the connected isophote the source was deblended from.
    first : (n + 1,) int64
        Pixels of source i are ``pixel[first[i]:first[i + 1]]``: first its own, then those
        of detections merged into it.
    n_own : (n,) int32
        Number of its own pixels among them.
    pixel : (n_pixels,) int64
        Index ``y * nx + x`` of each pixel.
    filtered : (n_pixels,) float32
        Filtered value of each pixel.
    xmin, xmax, ymin, ymax : (n,) int32
        Bounding box, inclusive, of all pixels.
    x, y : (n,) float64
        Barycentre in the filtered image, of the source's own pixels.  For deblended
        sources: of the branch that made the source, before faint pixels were shared out.
    x2, y2, xy : (n,) float64
        Second moments about (x, y), pixels squared; 1/12 is added to x2 and y2 of a
        `singular` source.
    singular : (n,) bool
        The determinant of the second moments was below 1/144.
    a, b, theta : (n,) float64
        Semi-axes (rms, pixels) and position angle of the major axis, degrees
        counter-clockwise from x.
    cxx, cyy, cxy : (n,) float64
        Ellipse parameters, pixels**-2.
    fdnpix, dnpix : (n,) int32
        Pixels in the source; those among them whose unfiltered value is above the threshold.
    fdflux, dflux : (n,) float64
        Sum over the pixels of the filtered and of the unfiltered detection image.
    fdpeak, dpeak : (n,) float32
        Highest filtered and highest unfiltered value.
    xpeak, ypeak : (n,) int32
        Pixel of `fdpeak`.
    dthresh : (n,) float32
        Detection threshold of the source: with a weight map the lowest of its pixels.
    abcor : (n,) float64
        Correction of a * b for the isophotal truncation, for isophotal corrections.
    flags : (n,) int16
        SExtractor's FLAGS bits that arise in detection: 2 deblended, 8 touches the border.
    unclaimed : (m,) int64
        Index ``y * nx + x`` of the pixels above the threshold that belong to no source (too
        few of them together, or too many): SExtractor blanks them in everybody's apertures.
    late : (k,) int64 or None
        Those of a detection that was merged which SExtractor blanks in everybody's apertures.
    noise_scale : (n_y, n_x) float32
        Noise of the filtered image over that of independent pixels, by which it was divided,
        in equal cells of the frame; (1, 1) where it is the same everywhere.
    full_noise_scale : (n_y, n_x) float32
        The same with the structure of the sky, if some was subtracted.
    fine_scale : float
        The typical noise where one mean about each place is taken off, no finer one.
    around : BackgroundMap or None
        Structure of the sky that was subtracted from the filtered image.
    noisy_lines : NoisyLines or None
        Columns and rows whose noise is higher, by which it was divided.
    threshold : float
        Detection threshold of the image, in the units of the filtered image (with a
        weight map: in sigma).
    """

    labels: I4 | None
    id_parent: I4
    first: I8
    n_own: I4
    pixel: I8
    filtered: F4
    xmin: I4
    xmax: I4
    ymin: I4
    ymax: I4
    x: F8
    y: F8
    x2: F8
    y2: F8
    xy: F8
    singular: Bools
    a: F8
    b: F8
    theta: F8
    cxx: F8
    cyy: F8
    cxy: F8
    fdnpix: I4
    dnpix: I4
    fdflux: F8
    dflux: Annotated[F8, FLUX]
    fdpeak: F4
    dpeak: Annotated[F4, FLUX]
    xpeak: I4
    ypeak: I4
    dthresh: F4
    abcor: F8
    flags: I2
    threshold: float
    unclaimed: I8 = field(default_factory=lambda: np.zeros(0, np.int64))
    late: I8 | None = None
    noise_scale: F4 = field(default_factory=lambda: np.ones((1, 1), np.float32))
    full_noise_scale: F4 = field(default_factory=lambda: np.ones((1, 1), np.float32))
    fine_scale: float = 1.0
    around: BackgroundMap | None = None
    noisy_lines: NoisyLines | None = None
    shape: tuple[int, int] = (0, 0)
    """Of the image [y, x], where `labels` is None."""
    n_labelled: int | None = None
    """So many sources, the first ones, have their pixels in the segmentation; None: all."""

    @property
    def segmentation(self) -> I4:
        """The sources of the pixels, (ny, nx); drawn anew at each call where it was let go.

        0: sky; id > 0: pixel of source id; -id: pixel of a detection that cleaning merged
        into source id (it counts in the isophotal flux, and is nobody's neighbour).
        """
        if self.labels is not None:
            return self.labels
        labels = blank(self.shape, np.int32)
        n = self.n_drawn
        source = np.repeat(np.arange(n), np.diff(self.first[: n + 1]))
        labels.ravel()[self.pixel[: source.size]] = self._label(np.arange(source.size), source)
        return labels

    @property
    def n_drawn(self) -> int:
        """Number of sources, the first ones, that are in the segmentation."""
        return self.n if self.n_labelled is None else self.n_labelled

    def _label(self, place: I8, source: I8) -> I4:
        """Return what the segmentation has for some places in the list of pixels, and sources."""
        is_own = place - self.first[source] < self.n_own[source]
        return np.where(is_own, source + 1, -source - 1).astype(np.int32)

    @property
    def image_shape(self) -> tuple[int, ...]:
        """Of the image, [y, x]."""
        return self.shape if self.labels is None else self.labels.shape

    def labels_at(self, row: I8, column: I8) -> I4:
        """Return the segmentation at some pixels, without drawing it."""
        if self.labels is not None:
            labels: I4 = self.labels[row, column]
            return labels
        found = np.zeros(row.size, np.int32)
        source = self._about(row, column)
        of, place = each_of(np.diff(self.first)[source])
        place += self.first[source][of]
        wanted = row * self.image_shape[1] + column
        # Sorting all takes longer; a few that have the last bits of others are left, too.
        bits = (1 << (_SPARSE * wanted.size).bit_length()) - 1
        is_wanted = np.zeros(bits + 1, np.bool_)
        is_wanted[wanted & bits] = True
        some = np.flatnonzero(is_wanted[self.pixel[place] & bits])
        of, place = of[some], place[some]
        pixel = self.pixel[place]
        order = np.argsort(pixel, kind="stable")
        # Of those of several detections the last one counts, as in the drawing.
        at = np.searchsorted(pixel, wanted, "right", sorter=order) - 1
        known = np.flatnonzero(at >= 0)
        known = known[pixel[order[at[known]]] == wanted[known]]
        at = order[at[known]]
        found[known] = self._label(place[at], source[of[at]])
        return found

    def _about(self, row: I8, column: I8) -> I8:
        """Return the sources, of those that are drawn, whose boxes have pixels, or nearly so.

        By the number of pixels in cells that a box covers in part or whole.
        """
        n, (ny, nx) = self.n_drawn, self.image_shape
        height, width = -(-ny // _CELL), -(-nx // _CELL)
        number = np.bincount(row // _CELL * width + column // _CELL, minlength=height * width)
        before = np.zeros((height + 1, width + 1), np.int64)  # above, and to the left
        before[1:, 1:] = number.reshape(height, width).cumsum(axis=0).cumsum(axis=1)
        bottom, left = np.maximum(self.ymin[:n], 0) // _CELL, np.maximum(self.xmin[:n], 0) // _CELL
        top = np.minimum(self.ymax[:n], ny - 1) // _CELL + 1
        right = np.minimum(self.xmax[:n], nx - 1) // _CELL + 1
        inside = before[top, right] - before[bottom, right]
        return np.flatnonzero(inside > before[top, left] - before[bottom, left])

    def without_segmentation(self) -> Detections:
        """Return the detections without the plane of their segmentation, to be drawn anew."""
        return self if self.labels is None else replace(self, labels=None, shape=self.labels.shape)

    @property
    def n(self) -> int:
        """Number of sources."""
        return len(self.x)
