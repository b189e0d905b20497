"""Galaxies in blends with stars, whose pieces clump in one footprint with them."""

import galsim
import numpy as np

from skyextract.stages.crowded import extended
from tests.compare.crowds import measured
from tests.simulate.crowds import FWHM, GAIN, SKY, Crowd

COLUMNS = "X_IMAGE Y_IMAGE FLUX_PSF XPSF_IMAGE YPSF_IMAGE"
PSF = galsim.Gaussian(fwhm=FWHM)


def mixture(seed, size=320, n=300):
    """Stars and, every third source, inclined discs, of any brightness: most are in blends."""
    rng = np.random.default_rng(seed)
    image = galsim.ImageF(size, size)
    flux = 10.0 ** rng.uniform(2.9, 5.6, n) * rng.random(n)
    x, y = rng.uniform(0.0, size, (2, n))
    is_disc = np.arange(n) % 3 == 0
    for k in range(n):
        thing = PSF
        if is_disc[k]:
            disc = galsim.Exponential(half_light_radius=rng.uniform(2.5, 6.5))
            shear = galsim.Shear(
                q=rng.uniform(0.3, 1.0), beta=rng.uniform(0.0, 3.0) * galsim.radians
            )
            thing = galsim.Convolve(disc.shear(shear), PSF)
        stamp = thing.withFlux(flux[k]).drawImage(
            nx=64, ny=64, scale=1.0, center=galsim.PositionD(x[k] + 1.0, y[k] + 1.0)
        )
        inside = stamp.bounds & image.bounds
        if inside.isDefined():
            image[inside] += stamp[inside]
    data = rng.poisson((image.array.astype(float) + SKY) * GAIN) / GAIN
    return Crowd(
        data.astype(np.float32), x, y, flux, flux, FWHM, GAIN,
        kind=np.zeros(n, np.int64), galaxies=np.column_stack([x, y])[is_disc],
    )  # fmt: skip


def test_galaxies_beside_stars_are_not_torn(monkeypatch):
    """Rows that are none of the true sources, and true ones that are found."""
    field = mixture(1)
    bright = field.flux > 3000.0
    counts = []
    monkeypatch.setattr(extended, "MIN_GALAXIES", 0)  # a small frame has fewer
    for clumps in (extended.clumps_of, lambda *_: []):
        monkeypatch.setattr(extended, "clumps_of", clumps)
        rows = measured(field, COLUMNS, 3.6)
        x, y = rows["X_IMAGE"] - 1.0, rows["Y_IMAGE"] - 1.0
        near = np.hypot(x[:, None] - field.x, y[:, None] - field.y) < 2.0
        counts.append((int((~near.any(axis=1)).sum()), near[:, bright].any(axis=0).mean()))
    (false, found), (without, found_without) = counts
    assert false < 0.15 * without  # .28 by single profiles alone
    assert found > found_without - 0.06  # some by a piece that is near


def test_detections_of_clumps_keep_their_rows():
    """Isophotal and PSF positions of a row are those of one source."""
    rows = measured(mixture(1), COLUMNS, 3.6)
    dx, dy = (rows[f"{axis}PSF_IMAGE"] - rows[f"{axis}_IMAGE"] for axis in "XY")
    assert np.nanmax(np.hypot(dx, dy)) < 4.0 * FWHM
