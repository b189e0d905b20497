"""Cosmic-ray repair against simulated truth, real frames and bad input."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from skyextract.datamodel.flags import Mask
from skyextract.datamodel.psf import Psf, PsfSource
from skyextract.run import Run
from skyextract.settings.keywords import Cosmics
from skyextract.stages.repair import NO_INFORMATION, contrast_limits, repair
from tests.simulate import cosmics as simulated

SKY, NOISE = 200.0, 10.0


def cosmic(repaired):
    return (repaired.mask & int(Mask.CR)) != 0


def blank(shape=(80, 90), seed=3):
    return np.random.default_rng(seed).normal(SKY, NOISE, shape).astype(np.float32)


def run_repair(image, mask=None, psf=None, cosmics=None, gain=1.0, threads=1, sky=SKY, noise=NOISE):
    return repair(
        image,
        np.zeros(image.shape, np.uint16) if mask is None else mask,
        np.full(image.shape, sky, np.float32),
        np.full(image.shape, noise**2, np.float32),
        gain,
        psf or Psf.gaussian(2.5, PsfSource.MEASURED),
        cosmics or Cosmics(),
        Run(n_threads=threads),
    )


@pytest.mark.parametrize(("fwhm", "beta", "seed"), [(1.9, 0.0, 11), (1.9, 3.5, 12), (4.0, 3.5, 13)])
def test_simulated_tracks_are_found_and_stars_survive(fwhm, beta, seed):
    frame = simulated.simulate(fwhm, beta=beta, seed=seed)
    complete, false, _, cores = simulated.scores(
        frame, cosmic(simulated.repair_simulation(frame, Run(n_threads=2)))
    )
    assert complete >= 0.95
    assert false <= 2e-5
    assert cores <= 2


@pytest.mark.parametrize("fwhm", [1.5, 1.9, 8.0])
def test_a_default_psf_eats_no_star(fwhm):
    frame = simulated.simulate(fwhm, seed=5, size=900, n_stars=300, n_tracks=0)
    repaired = simulated.repair_simulation(frame, Run(), Psf.gaussian(3.5))
    assert repaired.n_pixels <= 2e-5 * frame.image.size


def test_a_model_sharper_or_wider_by_a_tenth_eats_no_star():
    frame = simulated.simulate(1.9, seed=6, size=900, n_stars=300, n_tracks=0)
    for fwhm in (1.7, 2.1):
        psf = Psf.gaussian(fwhm, PsfSource.MEASURED)
        repaired = simulated.repair_simulation(frame, Run(), psf)
        assert repaired.n_pixels <= 2e-5 * frame.image.size


def test_known_tracks_of_real_frames(shared_data):
    folder = shared_data / "cosmic_rays"
    gmos = simulated.gmos_frame(folder)
    found = cosmic(simulated.repair_real(gmos, Run()))
    for truth in gmos.truths.values():
        assert found[truth].mean() >= 0.95
    every = np.logical_or.reduce(list(gmos.truths.values()))
    assert (found & ~every).sum() < 20
    decam = simulated.decam_frame(folder)
    found = cosmic(simulated.repair_real(decam, Run()))
    marked = decam.truths["DQ plane"]
    assert not (found & ~marked).any()
    sigma = np.sqrt(decam.variance[0, 0])
    bright = marked & (decam.image - decam.background > 6 * sigma)
    assert found[bright].mean() >= 0.95


def test_threads_do_not_change_the_result():
    frame = simulated.simulate(2.5, seed=7, size=500, n_stars=60, n_tracks=60)
    one, two, three = (simulated.repair_simulation(frame, Run(n_threads=n)) for n in (1, 2, 3))
    for other in (two, three):
        np.testing.assert_array_equal(one.image, other.image)
        np.testing.assert_array_equal(one.mask, other.mask)


def test_repaired_pixels_are_marked_and_without_weight():
    image = blank()
    image[40, 30:40] += 500
    image[10, 10] += 500
    before = image.copy()
    repaired = run_repair(image)
    np.testing.assert_array_equal(image, before)
    found = cosmic(repaired)
    assert found[40, 30:40].all()
    assert found[10, 10]
    assert repaired.n_cosmic_rays == 2
    assert repaired.n_pixels == found.sum()
    assert (repaired.mask[found] == int(Mask.CR | Mask.INTRP)).all()
    assert (repaired.variance[found] == NO_INFORMATION).all()
    assert (repaired.variance[~found] == NOISE**2).all()
    assert np.abs(repaired.image[found] - SKY).max() < 5 * NOISE
    np.testing.assert_array_equal(repaired.image[~found], image[~found])


def test_no_repair_when_told_so():
    image = blank()
    image[40, 30:40] += 500
    repaired = run_repair(image, cosmics=Cosmics(cr_repair=False))
    assert repaired.n_pixels == 0
    np.testing.assert_array_equal(repaired.image, image)


def test_higher_minsigma_finds_fewer():
    image = blank()
    image[40, 30:40] += np.linspace(70, 160, 10, dtype=np.float32)
    counts = [run_repair(image, cosmics=Cosmics(cr_minsigma=k)).n_pixels for k in (4.0, 9.0, 30.0)]
    assert counts[0] > counts[1] >= counts[2] == 0


@pytest.mark.parametrize("fwhm", [2.0, 3.0, 5.0])
def test_a_star_under_a_bad_column_keeps_its_light(fwhm):
    psf = Psf.gaussian(fwhm, PsfSource.MEASURED)
    size = 21
    star = 20000.0 * psf.stamp(40.0, 40.0, 0.3, -0.2, size)
    image = np.full((80, 80), SKY, np.float32)
    image[30 : 30 + size, 30 : 30 + size] += star
    mask = np.zeros(image.shape, np.uint16)
    mask[:, 41] = int(Mask.BAD)
    broken = np.where(mask != 0, np.float32(-999.0), image)
    repaired = run_repair(broken, mask=mask, psf=psf)
    assert repaired.n_interpolated == 80
    assert repaired.n_pixels == 0
    assert abs((repaired.image - image).sum()) < 0.02 * star.sum()
    assert (repaired.mask[:, 41] == int(Mask.BAD | Mask.INTRP)).all()
    assert (repaired.variance[:, 41] == NO_INFORMATION).all()


def test_wide_defects_and_saturated_cores_stay():
    image = blank()
    mask = np.zeros(image.shape, np.uint16)
    mask[10:30, 10:30] = int(Mask.BAD)
    mask[50:53, 50:53] = int(Mask.SAT)
    mask[:, 0] = int(Mask.BAD)
    mask[60, 70] = int(Mask.NO_DATA)
    repaired = run_repair(image, mask=mask)
    assert repaired.n_interpolated == 1
    assert repaired.mask[60, 70] & int(Mask.INTRP)


def test_bleed_trails_are_filled_outside_the_core():
    image = blank()
    mask = np.zeros(image.shape, np.uint16)
    mask[5:75, 40:42] = int(Mask.SAT)
    mask[36:45, 36:46] = int(Mask.SAT)
    image[mask != 0] = 60000
    repaired = run_repair(image, mask=mask)
    filled = (repaired.mask & int(Mask.INTRP)) != 0
    assert filled[5:30, 40:42].all()
    assert not filled[36:45, 36:46].any()
    assert repaired.n_pixels == 0


def test_unknown_gain_takes_photon_noise_from_the_sky():
    frame = simulated.simulate(1.9, seed=8, size=900, n_stars=300, n_tracks=0)
    flat = np.full(frame.image.shape, simulated.SKY, np.float32)
    variance = np.full(flat.shape, simulated.SKY + simulated.READ_NOISE**2, np.float32)
    mask = np.zeros(flat.shape, np.uint16)
    result = repair(frame.image, mask, flat, variance, 0.0, frame.psf, Cosmics(), Run())
    assert result.n_pixels <= 2e-5 * frame.image.size


@pytest.mark.parametrize("shape", [(1, 1), (2, 5), (5, 5), (1, 300)])
def test_tiny_frames(shape):
    assert run_repair(blank(shape)).image.shape == shape


def test_bad_frames_do_no_harm():
    for value in (np.nan, np.inf, 0.0, 1e30):
        repaired = run_repair(np.full((30, 30), value, np.float32))
        assert repaired.n_interpolated == 0
    masked = run_repair(blank(), mask=np.full((80, 90), int(Mask.BAD), np.uint16))
    assert masked.n_pixels == masked.n_interpolated == 0
    image = blank()
    image[20, 20] = np.nan
    image[20, 21] += 3000
    repaired = run_repair(image)
    assert np.isfinite(repaired.image).all()
    assert cosmic(repaired)[20, 21]
    no_noise = run_repair(np.full((30, 30), SKY, np.float32), noise=0.0)
    assert no_noise.n_pixels == 0


def test_limits_follow_the_sharpest_psf_of_the_field():
    psf = Psf.gaussian(3.0, PsfSource.MEASURED)
    narrow = Psf.gaussian(2.5, PsfSource.MEASURED)
    same = contrast_limits(psf, (100, 100))
    sigma2 = (3.0 / 2.3548) ** 2
    np.testing.assert_allclose(same[:2], np.exp(-0.5 / sigma2), rtol=0.02)
    np.testing.assert_allclose(same[2:4], np.exp(-1.0 / sigma2), rtol=0.03)
    assert (contrast_limits(narrow, (100, 100)) < same).all()
    varying = replace(
        psf,
        basis=np.stack([psf.basis[0], 0.3 * np.gradient(psf.basis[0], axis=1), 0 * psf.basis[0]]),
        degree=1,
        x_scale=50.0,
        x_zero=50.0,
        y_scale=50.0,
        y_zero=50.0,
    )
    assert contrast_limits(varying, (100, 100)).min() <= same.min()
