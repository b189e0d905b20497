"""The PSF solver against true PSFs, and held-out stars."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest

from skyextract.datamodel.psf import polynomial_terms
from skyextract.datamodel.psfshape import core_ellipticity, effective_fwhm
from skyextract.errors import StepError
from skyextract.run import Run
from skyextract.stages.psf import model as model_of_psf
from skyextract.stages.psf import solver
from skyextract.stages.psf.model import affordable_degree, build_psf
from skyextract.stages.psf.precondition import Preconditioner
from skyextract.stages.psf.sample import StarSample
from skyextract.stages.psf.solver import MAX_STEPS, Solver
from tests.simulate.shapes import SKY, Shape, donut, simulate_shape
from tests.stages.psf.test_degree import field_of_widths


def sample_of(field, rows, fwhm, jitter=0.1):
    random = np.random.default_rng(0)
    shift = random.normal(0, jitter, (2, len(rows)))
    order = np.argsort(field.y[rows])
    peaks = np.stack([field.x[rows], field.y[rows], field.flux[rows], np.zeros(len(rows))])[
        :, order
    ]
    return StarSample(
        x=field.x[rows] + shift[0],
        y=field.y[rows] + shift[1],
        flux=field.flux[rows] * 1.1,
        fwhm=math.hypot(fwhm, 0.8),
        height=field.flux[rows] / (1.13 * fwhm**2 + 1),
        peaks=np.ascontiguousarray(peaks),
    )


def build(field, rows, fwhm, image=None, **options):
    image = field.image if image is None else image
    data = (image - 1000.0).astype(np.float32)
    variance = np.full(data.shape, field.sky_sigma**2, dtype=np.float32)
    options = {"gain": field.gain, "degree": 2, "run": Run(1), **options}
    return build_psf(data, variance, sample_of(field, rows, fwhm), **options)


def held_out_chi2(field, fit, rows, fwhm):
    """Reduced chi2 within 2 FWHM of stars at their true places, flux and centre fitted."""
    out = np.empty(len(rows))
    half = math.ceil(2 * fwhm) + 2
    for n, k in enumerate(rows):
        i, j = round(field.x[k]), round(field.y[k])
        stamp = field.image[j - half : j + half + 1, i - half : i + half + 1] - 1000.0
        dx, dy = field.x[k] - i, field.y[k] - j
        for _ in range(3):
            at = np.array([dx, dx + 0.01, dx - 0.01, dx, dx])
            up = np.array([dy, dy, dy, dy + 0.01, dy - 0.01])
            models = fit.psf.stamps(
                np.full(5, field.x[k]), np.full(5, field.y[k]), at, up, 2 * fit.psf.radius + 1
            )
            trim = fit.psf.radius - half
            models = models[:, trim : trim + 2 * half + 1, trim : trim + 2 * half + 1]
            model = models[0].astype(float)
            slope_x = (models[1].astype(float) - models[2]) / 0.02
            slope_y = (models[3].astype(float) - models[4]) / 0.02
            variance = field.sky_sigma**2 + field.flux[k] * np.maximum(model, 0) / field.gain
            gy, gx = np.mgrid[-half : half + 1, -half : half + 1]
            inside = np.hypot(gx - dx, gy - dy) < 2 * fwhm
            matrix = np.stack([m[inside] for m in (model, slope_x, slope_y)], axis=1)
            sigma = np.sqrt(variance[inside])
            solution, *_ = np.linalg.lstsq(
                matrix / sigma[:, None], stamp[inside] / sigma, rcond=None
            )
            dx += solution[1] / solution[0]
            dy += solution[2] / solution[0]
        residual = (stamp[inside] - matrix @ solution) / sigma
        out[n] = (residual**2).sum() / (inside.sum() - 3)
    return out


@pytest.mark.parametrize(
    ("fwhm", "n", "options"),
    [
        (1.6, 500, {}),
        (1.6, 600, {"beta": 2.5, "ellipticity": 0.1}),
        (2.5, 800, {"beta": 3.5, "variation": 0.2}),
        (4.0, 900, {"beta": 3.0, "ellipticity": 0.2}),
    ],
)
def test_shape_and_held_out_stars(starfield, fwhm, n, options):
    field = starfield.simulate(n, 240, fwhm, separation=6 * fwhm, snr=(80, 1200), **options)
    rows = np.arange(field.x.size)
    assert rows.size > 220
    fit = build(field, rows[100:], fwhm)
    psf = fit.psf
    centre = (n - 1) / 2
    truth = field.psf_samples(centre, centre, psf.sampling, psf.basis.shape[1])
    width = effective_fwhm(truth, psf.sampling)
    assert psf.fwhm == pytest.approx(width, rel=0.01)
    assert psf.ellipticity == pytest.approx(core_ellipticity(truth), abs=0.005)
    assert psf.basis[0].sum() * psf.sampling**2 == pytest.approx(1.0, abs=1e-5)
    np.testing.assert_allclose(psf.basis[1:].sum(axis=(1, 2)), 0, atol=1e-4)
    assert fit.used.mean() > 0.9

    chi2 = held_out_chi2(field, fit, rows[:100], width)
    snr = field.snr[:100]
    assert 0.9 < np.median(chi2[(snr > 100) & (snr < 500)]) < 1.1
    assert np.median(chi2[snr > 700]) < 1.3


def test_wings_reach_the_reference_aperture(starfield):
    field = starfield.simulate(800, 100, 3.0, beta=2.5, separation=20)
    psf = build(field, np.arange(100), 3.0).psf
    size = psf.basis.shape[1]
    assert psf.radius >= 3 * psf.fwhm
    middle = size // 2
    radius = np.hypot(*(np.mgrid[0:size, 0:size] - middle)) * psf.sampling
    truth = field.psf_samples(400, 400, psf.sampling, size)
    light, expected = psf.basis[0], truth / truth.sum() / psf.sampling**2
    for inner, outer in ((1.0, 2.0), (2.0, 3.0)):
        ring = (radius > inner * psf.fwhm) & (radius < outer * psf.fwhm)
        assert light[ring].sum() == pytest.approx(expected[ring].sum(), rel=0.03)


def test_contaminants_are_rejected(starfield):
    field = starfield.simulate(700, 60, 3.0, beta=3.5, n_galaxies=6, separation=20, snr=(100, 800))
    fit = build(field, np.arange(66), 3.0)
    assert fit.used[: field.n_stars].mean() > 0.93
    assert fit.used[field.n_stars :].sum() <= 1


def test_undetected_neighbours_and_bad_pixels_do_not_leave_a_trace(starfield):
    field = starfield.simulate(500, 60, 3.0, beta=3.5, separation=20, snr=(200, 800))
    clean = build(field, np.arange(60), 3.0).psf
    image = field.image.copy()
    for k in range(0, 60, 3):
        image[round(field.y[k]) + 5, round(field.x[k]) + 4] += 2000.0
    dirty = build(field, np.arange(60), 3.0, image).psf
    assert dirty.fwhm == pytest.approx(clean.fwhm, rel=2e-3)
    assert abs(dirty.basis[0] - clean.basis[0]).max() < 3e-3 * clean.basis[0].max()


def test_the_middle_of_skewed_stars_is_where_their_windowed_position_is():
    """Stars of a stack of two frames that are displaced: sky positions of both kinds agree."""
    random = np.random.default_rng(4)
    grid = np.mgrid[25:240:36, 25:240:36].reshape(2, -1).astype(float)
    x, y = grid + random.uniform(-0.5, 0.5, grid.shape)
    flux = 10 ** random.uniform(4.0, 5.0, x.size)
    row, column = np.mgrid[:256, :256]
    image = random.normal(1000.0, 5.0, (256, 256))
    for cx, cy, f in zip(x, y, flux, strict=True):
        for dx, dy, part in ((0.0, 0.0, 0.6), (3.5, 2.0, 0.4)):
            light = np.exp(-0.5 * ((column - cx - dx) ** 2 + (row - cy - dy) ** 2) / 1.4**2)
            image += f * part / (2.0 * np.pi * 1.4**2) * light
    field = SimpleNamespace(image=image, x=x + 1.4, y=y + 0.8, flux=flux, gain=1e6, sky_sigma=5.0)
    stamp = build(field, np.arange(x.size), 5.0, degree=0).psf.stamp(128.0, 128.0).astype(float)
    axis = np.arange(len(stamp)) - len(stamp) // 2
    wx, wy = np.meshgrid(axis, axis)
    half_light = np.sqrt(
        np.sort((wx**2 + wy**2).ravel())[
            (
                np.cumsum(stamp.ravel()[np.argsort((wx**2 + wy**2).ravel(), kind="stable")]) < 0.5
            ).sum()
        ]
    )
    centre = np.zeros(2)
    for _ in range(50):
        r2 = (wx - centre[0]) ** 2 + (wy - centre[1]) ** 2
        light = stamp * np.exp(-0.5 * r2 / (2.0 * half_light / 2.35) ** 2)
        away = [(light * (axis_ - at)).sum() for axis_, at in zip((wx, wy), centre, strict=True)]
        centre += 2.0 * np.array(away) / light.sum()
    assert np.abs(centre).max() < 0.02


def test_threads_do_not_change_the_model(starfield):
    field = starfield.simulate(400, 40, 2.5, separation=20)
    one, three = (build(field, np.arange(40), 2.5, run=Run(n)) for n in (1, 3))
    np.testing.assert_array_equal(one.psf.basis, three.psf.basis)
    np.testing.assert_array_equal(one.flux, three.flux)


def test_the_equations_of_donuts_are_solved(monkeypatch):
    # 24 pixels: the ring is much finer than the whole, thousands of numbers are determined.
    frame = simulate_shape(Shape(440, 24.0, donut(24.0), separation=2.3), seed=4, most=40)
    bright = np.flatnonzero(frame.snr > 60)
    data = frame.image - np.float32(SKY)
    peaks = np.stack([frame.x, frame.y, frame.flux, np.zeros(frame.x.size)])
    sample = StarSample(
        x=frame.x[bright], y=frame.y[bright], flux=frame.flux[bright], fwhm=24.0,
        height=frame.flux[bright] / 600.0, peaks=peaks[:, np.argsort(frame.y)],
    )  # fmt: skip
    steps, ends = [], []

    def counted(self, right):
        steps.append(1)
        return call(self, right)

    def ended(self, *problem):
        before = len(steps)
        found = solve(self, *problem)
        ends.append(len(steps) - before)
        return found

    call, solve = Preconditioner.__call__, Solver.solve
    monkeypatch.setattr(Preconditioner, "__call__", counted)
    monkeypatch.setattr(Solver, "solve", ended)
    fit = build_psf(
        data, np.full(data.shape, 225.0, np.float32), sample, gain=2.0, degree=0, run=Run(1)
    )
    # By their accuracy, not because the steps are over.
    assert max(ends) < MAX_STEPS
    # A disc has no wings: what is beyond, out to 3.3 FWHM, would be noise.
    assert 20 < fit.psf.radius < 60
    assert fit.flux[fit.used] == pytest.approx(frame.flux[bright][fit.used], rel=0.03)


def test_a_trail_that_is_brighter_at_one_end_has_a_middle():
    # A spectrum without a slit: a round window would walk to its bright end.
    data = np.random.default_rng(2).normal(0.0, 10.0, (240, 360))
    row, column = (v.ravel() for v in np.meshgrid(np.arange(30.0, 240, 45), [100.0, 270.0]))
    along = np.arange(-40, 41)
    for at_y, at_x in zip(row, column, strict=True):
        offset = np.arange(360) - at_x - along[:, None]
        line = (1 + along / 60) @ np.exp(-0.25 * offset**2)
        data += 300.0 * np.outer(np.exp(-0.25 * (np.arange(240) - at_y) ** 2), line)
    sample = StarSample(
        x=column + 8.0, y=row, flux=np.full(row.size, 3e5), fwhm=17.0,
        height=np.full(row.size, 1e3), peaks=np.zeros((4, 0)), narrow=4.0, shape=(0.05, 20.0, 0.0),
    )  # fmt: skip
    variance = np.full(data.shape, 100.0, np.float32)
    fit = build_psf(
        data.astype(np.float32), variance, sample, gain=1.0, degree=0, size=121, run=Run(1)
    )
    assert fit.used.all()
    assert np.ptp(fit.x - column) < 0.5


def test_settings_of_sampling_and_size(starfield):
    field = starfield.simulate(400, 40, 3.0, separation=20)
    psf = build(field, np.arange(40), 3.0, sampling=0.5, size=40).psf
    assert psf.sampling == 0.5
    assert psf.basis.shape[1:] == (41, 41)
    assert psf.degree == 2


@pytest.mark.parametrize("sampling", [1e-300, 1e-30, 0.01])
def test_a_sampling_that_is_too_fine_is_an_error(starfield, sampling):
    field = starfield.simulate(400, 40, 3.0, separation=20)
    with pytest.raises(StepError, match="finer than 1/20 of the FWHM"):
        build(field, np.arange(40), 3.0, sampling=sampling)


def test_too_few_stars_are_an_error(starfield):
    field = starfield.simulate(300, 10, 3.0, separation=20)
    with pytest.raises(StepError, match="too few"):
        build(field, np.arange(2), 3.0)


def test_noise_gives_an_error_not_a_psf(starfield):
    field = starfield.simulate(300, 10, 3.0, separation=20)
    noise = np.random.default_rng(1).normal(1000.0, 5.0, field.image.shape)
    with pytest.raises(StepError):
        build(field, np.arange(10), 3.0, noise)


def test_polynomial_terms_are_ordered_as_in_psfex():
    terms = polynomial_terms(2, np.array([2.0]), np.array([3.0]))
    np.testing.assert_array_equal(terms[0], [1, 2, 4, 3, 6, 9])


@pytest.mark.parametrize(("n", "degree"), [(3, 0), (17, 0), (18, 1), (35, 1), (36, 2), (500, 2)])
def test_degree_follows_the_number_of_stars(n, degree):
    assert affordable_degree(n, 2) == degree


def test_a_wider_prior_goes_on_from_the_departures_so_far(monkeypatch):
    """Stars three times as wide in the corners: the same model, in fewer steps."""
    size = 700

    def fwhm_at(x, y):
        return 2.6 * (1.0 + 2.0 * ((x - 350) ** 2 + (y - 350) ** 2) / (2 * 350**2))

    image, x, y, flux = field_of_widths(fwhm_at, 60, size, 1)
    field = SimpleNamespace(x=x, y=y, flux=flux)
    sample = sample_of(field, np.arange(60), 3.5)
    steps: list[int] = []
    solve, adapt = Preconditioner.__call__, Solver.adapt
    monkeypatch.setattr(
        Preconditioner, "__call__", lambda self, right: (steps.append(1), solve(self, right))[1]
    )

    def model():
        steps.clear()
        data, variance = image - np.float32(200.0), np.full(image.shape, 133.0, np.float32)
        fit = build_psf(data, variance, sample, gain=1.5, degree=2, run=Run(1))
        return fit.psf.stamps(*np.array([[350.0, 600.0]] * 2), *np.zeros((2, 2)), 21), len(steps)

    def without_start(*arguments):
        other = adapt(*arguments)
        return other if other is None else (other[0], None)

    def models():
        with monkeypatch.context() as patch:
            first = model()
            patch.setattr(Solver, "adapt", without_start)
            return first, model()

    (_, n), (_, n_without) = models()
    assert n < 0.85 * n_without
    # What is left of the errors where steps end differs, and with the machine.
    monkeypatch.setattr(model_of_psf, "LEFT", 1e-4)
    monkeypatch.setattr(model_of_psf, "FIRST_LEFT", 1e-3)
    monkeypatch.setattr(solver, "MAX_STEPS", 2000)
    (stamps, _), (other, _) = models()
    for one, two in zip(stamps, other, strict=True):
        assert np.abs(one - two).max() < 0.005 * one.max()
