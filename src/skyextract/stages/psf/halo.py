"""Light of stars outside the PSF: fog, dew, a dirty mirror, a core of lucky images on its halo."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from skyextract.datamodel.noise import median
from skyextract.kernels.values import MAD_TO_SIGMA
from skyextract.record import record

if TYPE_CHECKING:
    from skyextract.datamodel.arrays import F4, F8, I8, Bools
    from skyextract.datamodel.catalog import Catalog
    from skyextract.datamodel.psf import Psf

NEAR, FAR = (3.5, 6.0), (8.0, 10.0)
"""Rings about stars, in FWHM: the median of the first, less that of the other, ..."""
MIN_STARS, MOST_STARS = 8, 24
"""... of so many of the brightest PSF stars, ..."""
LIMIT = 0.05
"""... holds this part of their flux, ..."""
SURE = 5.0
"""... and so many times its error more."""
_MIN_PIXELS = 0.6
"""Share of a ring's pixels that have data."""


@record
class Halo:
    """Light about the stars that the PSF does not have.

    Attributes
    ----------
    share : float
        Of their flux, in the ring NEAR alone.
    error : float
    part : str
        Of the frame where it is so; empty: all of it.
    """

    share: float
    error: float
    part: str

    @property
    def doubt(self) -> str:
        """What is to be said of it; empty for as much as wings of ordinary PSFs have."""
        message = ""
        if self.share - SURE * self.error >= LIMIT:
            where = f" in the {self.part} half" if self.part else ""
            message = (
                f"stars{where} have {self.share:.0%} of their flux in a halo, {NEAR[0]:g} to "
                f"{NEAR[1]:g} FWHM from them (fog, dew, a dirty mirror?): fluxes lack that and more"
            )
        return message


def find_halo(stars: Catalog | None, psf: Psf | None, image: F4, bad: Bools) -> Halo | None:
    """Measure the light in a ring about the brightest PSF stars, in the frame and in its halves.

    Medians of pixels, which few other sources touch, and of stars.

    Parameters
    ----------
    stars : Catalog or None
        X_IMAGE, Y_IMAGE, FLUX_PSF.
    psf : Psf or None
    image : (ny, nx) float32
        Background-subtracted.
    bad : (ny, nx) bool
        Pixels without data.

    Returns
    -------
    Halo or None
        Of the frame, or of the half where it is surest; None if there are too few stars.
    """
    if stars is None or psf is None or "FLUX_PSF" not in stars or stars.n_rows < MIN_STARS:
        return None
    flux = np.asarray(stars["FLUX_PSF"], np.float64)
    some = np.argsort(-flux, kind="stable")[:MOST_STARS]
    x, y = (np.rint(stars[name][some] - 1.0).astype(np.int64) for name in ("X_IMAGE", "Y_IMAGE"))
    near, far = (_medians(image, bad, x, y, psf.fwhm, ring) for ring in (NEAR, FAR))
    area = math.pi * (NEAR[1] ** 2 - NEAR[0] ** 2) * psf.fwhm**2
    share = (near - far) * area / flux[some]
    ny, nx = image.shape
    parts = {
        "": np.isfinite(share), "left": x < nx // 2, "right": x >= nx // 2,
        "lower": y < ny // 2, "upper": y >= ny // 2,
    }  # fmt: skip
    found = [_of_stars(share[within & np.isfinite(share)], name) for name, within in parts.items()]
    known = [halo for halo in found if halo is not None]
    if found[0] is not None and found[0].doubt:
        return found[0]
    return max(known, key=lambda halo: halo.share - SURE * halo.error, default=None)


def _of_stars(share: F8, part: str) -> Halo | None:
    """Return the median of the brightest stars and its error; None if they are too few.

    Of so many as make the error least: to fainter ones noise and neighbours add more.
    """
    numbers = {MIN_STARS, *range(MIN_STARS, share.size, MIN_STARS // 2), share.size}
    known = [_median(share[:n], part) for n in numbers if MIN_STARS <= n <= share.size]
    return min(known, key=lambda halo: halo.error, default=None)


def _median(share: F8, part: str) -> Halo:
    middle = median(share)
    scatter = MAD_TO_SIGMA * median(np.abs(share - middle))
    return Halo(middle, 1.2533 * scatter / math.sqrt(share.size), part)


def _medians(image: F4, bad: Bools, x: I8, y: I8, fwhm: float, ring: tuple[float, float]) -> F8:
    """Return the median of the pixels in a ring about each star; NaN where too few have data."""
    reach, step = math.ceil(ring[1] * fwhm), max(1, round(fwhm / 2.0))
    dy, dx = (v.ravel() for v in np.mgrid[-reach : reach + 1 : step, -reach : reach + 1 : step])
    radius = np.hypot(dx, dy)
    inside = (radius > ring[0] * fwhm) & (radius < ring[1] * fwhm)
    j, i = y[:, None] + dy[inside], x[:, None] + dx[inside]
    ny, nx = image.shape
    row, column = np.clip(j, 0, ny - 1), np.clip(i, 0, nx - 1)
    lost = (row != j) | (column != i) | bad[row, column]
    values = image[row, column].astype(np.float64)
    values[lost] = np.inf
    values.sort(axis=1)
    n = values.shape[1] - np.count_nonzero(lost, axis=1)
    rows = np.arange(x.size)
    medians: F8 = values[rows, np.maximum(n - 1, 0) // 2]
    medians[n < max(1.0, _MIN_PIXELS * values.shape[1])] = np.nan
    return medians
