"""Few stars among many cosmic rays: the PSF is theirs, or doubted."""

from __future__ import annotations

import numpy as np
import pytest

from skyextract.stages.starselection.defects import alike_among_defects
from tests.simulate.zeropointfields import simulate_field
from tests.stages.starselection.test_locus import characterized
from tests.stages.starselection.test_stars import candidates

FWHM = 2.0


def thick_tracks(shape, n, rng):
    """Draw tracks of some pixels whose charge diffuses, 12 % to each pixel beside, electrons."""
    charge = np.zeros(shape)
    for _ in range(n):
        length, angle = rng.exponential(3.0) + 0.3, rng.uniform(0, np.pi)
        n_steps = max(2, int(4 * length))
        along = np.linspace(-0.5, 0.5, n_steps) * length
        x, y = rng.uniform(9, np.array(shape[::-1]) - 10)
        rows, columns = np.rint(y + along * np.sin(angle)), np.rint(x + along * np.cos(angle))
        one = (rng.exponential(1500.0) + 100.0) * 2 / n_steps
        np.add.at(charge, (rows.astype(int), columns.astype(int)), one)
    wide = np.pad(charge, 1)
    beside = wide[2:, 1:-1] + wide[:-2, 1:-1] + wide[1:-1, 2:] + wide[1:-1, :-2]
    return charge + 0.12 * beside


@pytest.mark.parametrize(("seed", "found"), [(1, True), (3, True), (2, False)])
def test_stars_that_cosmic_rays_outnumber(seed, found):
    """300 tracks beside 5 to 8 stars; before, the PSF had 1.17 to 1.39 pixels and no doubt."""
    frame = simulate_field(seed, n_stars=25, fwhm=FWHM)
    charge = thick_tracks(frame.image.shape, 300, np.random.default_rng(seed + 5000))
    result = characterized((frame.image + charge / 1.5).astype(np.float32))
    assert result.status == ("COMPLETE" if found else "FALLBACK")
    if found:
        without = characterized(frame.image).metrics["fwhm_pix"]
        assert result.metrics["fwhm_pix"] == pytest.approx(without, rel=0.01)
    else:
        assert "cosmic rays and hot pixels" in result.reason


@pytest.mark.parametrize("seed", range(5))
def test_sources_of_all_sizes_and_shapes_are_not_alike(seed):
    """Galaxies beside undersampled stars agree by chance; eight stars do not."""
    rng = np.random.default_rng(seed)
    n_stars, n_others = 8, 80
    fwhm = np.append(np.full(n_stars, 2.3), 10.0 ** rng.uniform(0.2, 0.8, n_others))
    shape = np.append(np.full(n_stars, 0.01), rng.rayleigh(0.25, n_others))
    snr = 10.0 ** rng.uniform(1.4, 2.3, fwhm.size)
    fwhm *= 1.0 + rng.normal(0.0, 1.0 / snr)
    shape += np.abs(rng.normal(0.0, 0.5 / snr))
    c = candidates(fwhm, snr, ellipticity=shape)
    others = np.arange(n_stars, fwhm.size)
    assert np.isnan(alike_among_defects(c, others, 1.2))
    size = alike_among_defects(c, np.arange(fwhm.size), 1.2)
    assert 10.0**size == pytest.approx(2.3, rel=0.02)
