"""The picture of a frame: zscale, with sources, reference stars and masked areas over it."""

from __future__ import annotations

import base64
import math
from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np

from skyextract.datamodel.arrays import F4, F8, U2, AnyArray, Bools
from skyextract.datamodel.flags import Mask
from skyextract.record import record

if TYPE_CHECKING:
    from skyextract.datamodel.wcs import SkyWcs

WIDEST = 1000
"""Pixels of the picture's longer side, at most."""
MAX_MARKS = 4000
MAX_COVER = 0.7
"""Share of the frame within marks, above which they are not shown at first."""

_PLANES = (
    (Mask.BAD | Mask.NO_DATA | Mask.EDGE, (86, 180, 233)),
    (Mask.SAT, (213, 94, 0)),
    (Mask.CR, (240, 228, 66)),
)
"""Mask planes that are shown, and their colours; the later lie above."""


@record
class Picture:
    """What the page draws: pictures as data addresses, marks as SVG paths in FITS pixels.

    Attributes
    ----------
    width, height : int
        Of the frame, pixels.
    image, mask : str
        `data:` addresses; the mask is empty if nothing is masked.
    sources, psf_stars, references : str
        Data of SVG paths, y down.
    n_sources : int
    n_shown : int
        Sources that are drawn: the brightest.
    is_crowded : bool
        The marks would hide the image.
    cut : str
        The range of grey in words.
    north, east : tuple of float or None
        Directions in the picture, unit vectors, y down.
    bar : tuple of (float, str) or None
        Length in pixels, and what it stands for.
    """

    width: int
    height: int
    image: str
    mask: str
    sources: str
    psf_stars: str
    references: str
    n_sources: int
    n_shown: int
    is_crowded: bool
    cut: str
    north: tuple[float, float] | None
    east: tuple[float, float] | None
    bar: tuple[float, str] | None


def block_mean(image: F4, factor: int) -> F4:
    """Return the means of square blocks; what does not fill a block at the far ends is left out."""
    ny, nx = (size // factor for size in image.shape)
    blocks = image[: ny * factor, : nx * factor].reshape(ny, factor, nx, factor)
    means: F4 = blocks.mean(axis=(1, 3))
    return means


def block_bits(mask: U2, factor: int) -> U2:
    """Return the bits that any pixel of a block has."""
    ny, nx = (size // factor for size in mask.shape)
    blocks = mask[: ny * factor, : nx * factor].reshape(ny, factor, nx, factor)
    rows: U2 = np.bitwise_or.reduce(blocks, axis=1)
    bits: U2 = np.bitwise_or.reduce(rows, axis=2)
    return bits


def zscale(values: F8, contrast: float = 0.25) -> tuple[float, float]:
    """Return the range of grey that shows the sky and faint sources.

    The slope of the sorted values about their median, without outliers, over `contrast`: the
    algorithm of IRAF's display (zscale).

    Parameters
    ----------
    values : (n,) float
        A sample of the pixels; finite.
    """
    z = np.sort(values)
    n = len(z)
    if n < 10 or z[0] == z[-1]:
        return (0.0, 1.0) if n == 0 else (float(z[0]) - 1.0, float(z[-1]) + 1.0)
    x = np.arange(n) - 0.5 * (n - 1)
    good = np.ones(n, dtype=np.bool_)
    slope = 0.0
    for _ in range(5):
        slope, level = np.polyfit(x[good], z[good], 1)
        off = z - (slope * x + level)
        bad = ~good | ~(np.abs(off) < 2.5 * off[good].std() + 1e-30)
        keep = np.convolve(bad, np.ones(max(1, n // 100)), "same") < 0.5  # and their neighbours
        if keep.sum() < n // 2 or keep.sum() == good.sum():
            break
        good = keep
    if good.sum() < n // 2:
        return float(z[0]), float(z[-1])
    median = float(np.median(z))
    reach = slope / contrast * 0.5 * n
    low, high = max(float(z[0]), median - reach), min(float(z[-1]), median + reach)
    return (low, high) if high > low else (float(z[0]), float(z[-1]))


def make_picture(
    image: F4,
    mask: U2,
    wcs: SkyWcs | None,
    x: F8,
    y: F8,
    flux: F8,
    axes: tuple[F8, F8, F8],
    stars: Bools,
    references: tuple[F8, F8],
) -> Picture:
    """Draw a frame.

    Parameters
    ----------
    image, mask : (ny, nx)
    x, y, flux : (n,) float64
        Sources: FITS pixels and flux.
    axes : (a, b, theta)
        Of their marks: semi-axes in pixels, degrees counter-clockwise from x.
    stars : (n,) bool
        PSF stars.
    references : (x, y)
        Reference stars that were matched, FITS pixels.
    """
    ny, nx = image.shape
    factor = max(1, math.ceil(max(ny, nx) / WIDEST))
    small = block_mean(image, factor)
    bits = block_bits(mask, factor)
    shown = small[(bits & np.uint16(Mask.NO_DATA)) == 0]
    shown = shown[np.isfinite(shown)]
    low, high = zscale(shown[:: max(1, shown.size // 4000)].astype(np.float64))
    grey = np.clip((np.nan_to_num(small) - low) / (high - low), 0.0, 1.0) * 255.0
    order = np.argsort(np.nan_to_num(-flux), kind="stable")[:MAX_MARKS]
    size = max(ny, nx)
    small_mark = 0.006 * size
    a, b = (np.clip(np.nan_to_num(axis, nan=small_mark), small_mark, size) for axis in axes[:2])
    theta = np.nan_to_num(axes[2])
    hidden = np.minimum(np.pi * a * b, np.pi * (0.05 * size) ** 2)  # a large outline hides little
    is_star = stars[order]
    plain, chosen = order[~is_star], order[is_star]
    north, east = directions(wcs)
    return Picture(
        width=nx,
        height=ny,
        image=_address(grey[::-1].astype(np.uint8), "JPEG"),
        mask=_mask_picture(bits[::-1]),
        sources=ellipses(x[plain], y[plain], a[plain], b[plain], theta[plain], ny),
        psf_stars=ellipses(x[chosen], y[chosen], a[chosen], b[chosen], theta[chosen], ny),
        references=crosses(*references, 1.6 * small_mark, ny),
        n_sources=len(x),
        n_shown=len(order),
        is_crowded=float(np.sum(hidden[order])) > MAX_COVER * nx * ny,
        cut=f"{low:.5g} to {high:.5g}",
        north=north,
        east=east,
        bar=scale_bar(wcs, nx),
    )


def ellipses(x: F8, y: F8, a: F8, b: F8, theta: F8, height: int) -> str:
    """Return ellipses about FITS pixels as one path in a picture whose y axis points down.

    Parameters
    ----------
    theta : (n,) float64
        Degrees, counter-clockwise from x to the axis a.
    """
    left, down = a * np.cos(np.radians(theta)), a * np.sin(np.radians(theta))
    rows = np.column_stack((x - 0.5 - left, height + 0.5 - y + down, left, down, a, b, -theta))
    return "".join(
        f"M{px:.1f} {py:.1f}a{p:.1f} {q:.1f} {turn:.0f} 1 0 {2 * u:.1f} {-2 * v:.1f}"
        f"a{p:.1f} {q:.1f} {turn:.0f} 1 0 {-2 * u:.1f} {2 * v:.1f}"
        for px, py, u, v, p, q, turn in rows[np.isfinite(rows).all(1)].tolist()
    )


def crosses(x: F8, y: F8, size: float, height: int) -> str:
    """Return crosses, open in the middle, as one path."""
    s, gap = size, 0.45 * size
    arm = s - gap
    return "".join(
        f"M{a - s:.1f} {b:.1f}h{arm:.1f}m{2 * gap:.1f} 0h{arm:.1f}"
        f"M{a:.1f} {b - s:.1f}v{arm:.1f}m0 {2 * gap:.1f}v{arm:.1f}"
        for a, b in zip(x[:MAX_MARKS] - 0.5, height + 0.5 - y[:MAX_MARKS], strict=True)
        if math.isfinite(a + b)
    )


def directions(
    wcs: SkyWcs | None,
) -> tuple[tuple[float, float] | None, tuple[float, float] | None]:
    """Return where north and east are in the picture (unit vectors, y down)."""
    if wcs is None:
        return None, None
    try:
        x, y = (np.asarray(c) for c in wcs.centre)
        inverse = np.linalg.inv(np.asarray(wcs.jacobian(x, y), dtype=np.float64))
    except np.linalg.LinAlgError:
        return None, None
    found = []
    for column in (1, 0):
        dx, dy = inverse[0, column], inverse[1, column]
        length = math.hypot(dx, dy)
        if not (math.isfinite(length) and length > 0.0):
            return None, None
        found.append((dx / length, -dy / length))
    return found[0], found[1]


def scale_bar(wcs: SkyWcs | None, width: int) -> tuple[float, str] | None:
    """Return a bar of a round length on the sky, a sixth to a third of the frame's width."""
    if wcs is None:
        return None
    scale = wcs.pixel_scale()
    if not (math.isfinite(scale) and scale > 0.0):
        return None
    wanted = 0.3 * width * scale
    steps = (
        1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 18000, 36000, 72000,
    )  # fmt: skip
    arcsec = max((step for step in steps if step <= wanted), default=wanted)
    if arcsec >= 3600:
        text = f"{arcsec / 3600:g}°"
    elif arcsec >= 60:
        text = f"{arcsec / 60:g}′"
    else:
        text = f"{arcsec:.3g}″"
    return arcsec / scale, text


def _mask_picture(bits: U2) -> str:
    colored = np.zeros((*bits.shape, 4), dtype=np.uint8)
    for planes, color in _PLANES:
        here = (bits & np.uint16(planes)) != 0
        colored[here] = (*color, 170)
    return _address(colored, "PNG") if colored.any() else ""


def _address(pixels: AnyArray, kind: str) -> str:
    """Return pixels, first row on top, as a `data:` address."""
    from PIL import Image

    stream = BytesIO()
    options = {"quality": 82} if kind == "JPEG" else {"optimize": False, "compress_level": 6}
    Image.fromarray(pixels).save(stream, kind, **options)
    text = base64.b64encode(stream.getvalue()).decode()
    return f"data:image/{kind.lower()};base64,{text}"
