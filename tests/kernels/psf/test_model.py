"""Evaluation of PSF models: stamps, slopes, the polynomial in position."""

from __future__ import annotations

import numpy as np
import pytest

from skyextract.datamodel.psf import Psf, PsfSource
from skyextract.kernels.psf.bspline import spline_grid
from skyextract.kernels.psf.model import WHOLE, PsfModel, local_model, render, term_totals
from tests.entry import entry

PLANE = {"x_zero": 100.0, "x_scale": 100.0, "y_zero": 50.0, "y_scale": 50.0}


def rendered(psf: Psf, x: float, y: float, n: int) -> np.ndarray:
    """Value and slopes of the PSF on n x n pixels, by the kernel."""
    model = psf.coefficients[0].copy()
    grid = entry(spline_grid)(n, model.shape[1])
    out = np.empty((3, n, n))
    entry(render)(model, psf.sampling, x, y, 0, 0, n, n, True, grid, out)
    return out


@pytest.mark.parametrize("fwhm", [1.6, 3.5])
def test_slopes_are_the_derivatives_to_the_centre(fwhm):
    psf = Psf.gaussian(fwhm)
    n, x, y, h = 15, 7.2, 6.9, 1e-5
    value, slope_x, slope_y = rendered(psf, x, y, n)
    numeric_x = (rendered(psf, x + h, y, n)[0] - rendered(psf, x - h, y, n)[0]) / (2 * h)
    numeric_y = (rendered(psf, x, y + h, n)[0] - rendered(psf, x, y - h, n)[0]) / (2 * h)
    assert slope_x == pytest.approx(numeric_x, abs=1e-7)
    assert slope_y == pytest.approx(numeric_y, abs=1e-7)
    assert value[4:11, 4:11] == pytest.approx(
        psf.stamps(*np.array([[x], [y], [0.2], [-0.1]]), size=7)[0]
        * value[4:11, 4:11].sum(),
        abs=1e-6,
    )  # fmt: skip


def test_the_local_model_is_the_polynomial_of_unit_sum():
    rng = np.random.default_rng(0)
    coefficients = rng.normal(size=(6, 20, 22)) + 5
    out = np.empty((20, 22))
    totals = entry(term_totals)(coefficients)
    psf = PsfModel(coefficients, 2, 0.7)
    entry(local_model)(psf, totals, 0.3, -0.9, WHOLE, out)
    terms = np.array([1, 0.3, 0.09, -0.9, -0.27, 0.81])
    expected = np.tensordot(terms, coefficients, axes=1)
    assert out == pytest.approx(expected / (expected.sum() * 0.49))

    # Only what pixels within a radius need, which draws the same there.
    part = np.full((20, 22), np.nan)
    entry(local_model)(psf, totals, 0.3, -0.9, 3, part)
    assert np.isnan(part).any()
    for x in (-0.5, 0.2, 0.5):
        assert _drawn(part, 3, x) == pytest.approx(_drawn(out, 3, x))


def _drawn(model, radius, x):
    """Return the pixels within a radius of a source at x, and the derivatives there."""
    size = 2 * radius + 1
    stamp = np.empty((3, size, size))
    grid = entry(spline_grid)(size, model.shape[1])
    entry(render)(model, 0.7, x, 0.3, -radius, -radius, size, size, True, grid, stamp)
    return stamp


@pytest.mark.parametrize("fwhm", [1.3, 1.6, 2.5, 3.5, 8.0])
def test_gaussian_is_the_integral_over_pixels(fwhm):
    galsim = pytest.importorskip("galsim")
    psf = Psf.gaussian(fwhm, PsfSource.MEASURED)
    assert psf.source is PsfSource.MEASURED
    assert psf.basis[0].sum() * psf.sampling**2 == pytest.approx(1, abs=1e-6)
    centre = psf.basis.shape[1] // 2
    half = np.interp(
        -psf.basis[0, centre, centre] / 2,
        -psf.basis[0, centre, centre:],
        np.arange(centre + 1) * psf.sampling,
    )
    assert 2 * half == pytest.approx(fwhm, rel=0.01)  # linear interpolation between samples

    from skyextract.datamodel.psf import pixel_gaussian_sigma

    size = 2 * psf.radius + 1
    for dx, dy in [(0.0, 0.0), (0.3, -0.45), (0.5, 0.5), (-0.17, 0.21)]:
        truth = galsim.Gaussian(sigma=pixel_gaussian_sigma(fwhm)).drawImage(
            nx=size, ny=size, scale=1.0, offset=(dx, dy)
        )
        stamp = psf.stamp(10.0, 20.0, dx, dy)
        assert stamp.dtype == np.float32
        assert stamp.sum() == pytest.approx(1, abs=1e-6)
        assert stamp == pytest.approx(truth.array, abs=0.003 * float(truth.array.max()))


def test_no_centroid_shift():
    psf = Psf.gaussian(4.0)
    stamp = psf.stamp(0, 0, 0.4, -0.3).astype(float)
    y, x = np.indices(stamp.shape) - stamp.shape[0] // 2
    assert (stamp * x).sum() == pytest.approx(0.4, abs=1e-3)
    assert (stamp * y).sum() == pytest.approx(-0.3, abs=1e-3)


def test_polynomial_terms_are_ordered_as_in_psfex():
    base = Psf.gaussian(5.0)
    wide = Psf.gaussian(6.0).basis[0]
    side = wide.shape[0]
    margin = (side - base.basis.shape[1]) // 2
    narrow = np.pad(base.basis[0], margin)
    rng = np.random.default_rng(2)
    weights = rng.uniform(-0.1, 0.1, 6)
    weights[0] = 0.5
    basis = np.array([narrow * (k == 0) + w * (wide - narrow) for k, w in enumerate(weights)])
    psf = Psf(
        basis=basis.astype(np.float32), sampling=1.0, degree=2, **PLANE, fwhm=5.5,
        ellipticity=0.0, source=PsfSource.MEASURED,
    )  # fmt: skip
    x, y = 170.0, 10.0
    u, v = 0.7, -0.8
    a = weights @ [1, u, u * u, v, u * v, v * v]
    assert psf.stamp(x, y) == pytest.approx((1 - a) * narrow + a * wide, abs=1e-6)


def test_stamp_sizes():
    psf = Psf.gaussian(3.0)
    whole = psf.stamp(0, 0)
    assert psf.stamp(0, 0, size=5).shape == (5, 5)
    assert psf.stamp(0, 0, size=5).sum() == pytest.approx(1)
    big = psf.stamp(0, 0, size=whole.shape[0] + 30)
    assert big[15:-15, 15:-15] == pytest.approx(whole, abs=1e-5)
    assert big[0, 0] == 0
    with pytest.raises(ValueError, match="odd"):
        psf.stamp(0, 0, size=4)


@pytest.mark.parametrize("fwhm", [0.0, -1.0, float("nan"), float("inf")])
def test_impossible_gaussian(fwhm):
    with pytest.raises(ValueError, match="FWHM"):
        Psf.gaussian(fwhm)


def test_narrowest_gaussian_has_all_its_light():
    stamp = Psf.gaussian(0.5).stamp(0, 0)
    assert stamp[stamp.shape[0] // 2, stamp.shape[0] // 2] > 0.9
