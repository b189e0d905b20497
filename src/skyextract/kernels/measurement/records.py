"""What the measurement kernels take: the image, its noise, and the sources in it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from skyextract.datamodel.arrays import F4, F8, I4, I8, U1


class SourcePixels(NamedTuple):
    """A background-subtracted image, and whose its pixels are.

    Attributes
    ----------
    pixels : (ny, nx) float32
        NaN in a bad pixel, -inf in a detected pixel that belongs to no source.
    labels : (ny, nx) int32
        k + 1 in the pixels of source k; negative in those of detections merged into it.
    mask : int
        What becomes of neighbours' pixels: 0, `pixel.BLANK` or `pixel.CORRECT`.
    """

    pixels: F4
    labels: I4
    mask: int


class Noise(NamedTuple):
    """The noise of an image.

    Attributes
    ----------
    variance : (ny, nx) float32
        Background variance; used if `mapped`, else `noise2` holds everywhere.
    noise2 : float
        Square of the representative background noise.
    gain : float
        e-/ADU; 0: no photon noise.
    weight_gain : bool
        The gain of a pixel is ``gain * noise2 / variance`` (WEIGHT_GAIN).
    """

    variance: F4
    mapped: bool
    noise2: float
    gain: float
    weight_gain: bool


class Shapes(NamedTuple):
    """Barycentres (0-based) and isophotal ellipses of the sources, (n,) each, in pixels.

    `singular` is not 0 where the moments were degenerate (less than a pixel wide).
    """

    x: F8
    y: F8
    a: F8
    b: F8
    cxx: F8
    cyy: F8
    cxy: F8
    singular: U1


class Footprints(NamedTuple):
    """Pixels of the sources, as in `Detections`: ``pixel[first[i]:first[i + 1]]``.

    The first `n_own` are the source's own, the others those of detections merged into it.
    """

    first: I8
    n_own: I4
    pixel: I8
    filtered: F4
