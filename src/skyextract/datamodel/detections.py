"""What detection found: the segmentation, the sources' pixels and their basic shapes."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Detections:
    """Detected, deblended and cleaned sources of one image.

    Arrays have one element per source, ordered by the raster position of the peak; source
    ids are 1..n in that order.  Positions are 0-based pixels.  "Filtered" is the image that
    was thresholded: background-subtracted and convolved with the detection filter.  With
    the PSF as filter it is the significance of a point source in sigma, and so are all
    quantities here that refer to it.  The names are those of Bertin & Arnouts (1996, A&AS
    117, 393) and of SExtractor's manual.

    Attributes
    ----------
    segmentation : (ny, nx) int32
        0: sky; id > 0: pixel of source id; -id: pixel of a detection that cleaning merged
        into source id (it counts in the isophotal flux, and is nobody's neighbour).
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
    threshold : float
        Detection threshold of the image, in the units of the filtered image (with a
        weight map: in sigma).
    """

    segmentation: NDArray[np.int32]
    id_parent: NDArray[np.int32]
    first: NDArray[np.int64]
    n_own: NDArray[np.int32]
    pixel: NDArray[np.int64]
    filtered: NDArray[np.float32]
    xmin: NDArray[np.int32]
    xmax: NDArray[np.int32]
    ymin: NDArray[np.int32]
    ymax: NDArray[np.int32]
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    x2: NDArray[np.float64]
    y2: NDArray[np.float64]
    xy: NDArray[np.float64]
    singular: NDArray[np.bool_]
    a: NDArray[np.float64]
    b: NDArray[np.float64]
    theta: NDArray[np.float64]
    cxx: NDArray[np.float64]
    cyy: NDArray[np.float64]
    cxy: NDArray[np.float64]
    fdnpix: NDArray[np.int32]
    dnpix: NDArray[np.int32]
    fdflux: NDArray[np.float64]
    dflux: NDArray[np.float64]
    fdpeak: NDArray[np.float32]
    dpeak: NDArray[np.float32]
    xpeak: NDArray[np.int32]
    ypeak: NDArray[np.int32]
    dthresh: NDArray[np.float32]
    abcor: NDArray[np.float64]
    flags: NDArray[np.int16]
    threshold: float
    unclaimed: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))

    @property
    def n(self) -> int:
        """Number of sources."""
        return len(self.x)
