"""The noise of filtered images: scales that are known, thresholds that are in sigma."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import skyextract as sky
from skyextract.datamodel.psf import Psf
from skyextract.run import Run
from skyextract.settings.keywords import Extraction
from skyextract.stages.background.coarse import skewed_quantile
from skyextract.stages.detection import noise as noise_stage
from skyextract.stages.detection.matched import filter_matched, matched_filter
from skyextract.stages.detection.noise import in_sigma, measure_scale, scale_at
from skyextract.stages.detection.withpsf import PixelNoise, detect_with_psf

SHAPE = (512, 512)
PSF = Psf.gaussian(3.0)


def smoothed(noise):
    """Noise of variance 1 that 2 x 2 pixels share, as in a frame resampled by half a pixel."""
    return sum(np.roll(noise, (j, i), (0, 1)) for j in (0, 1) for i in (0, 1)) / 2


def noise_of(kind):
    rng = np.random.default_rng(4)
    noise = rng.normal(size=SHAPE)
    if kind == "smoothed":
        return smoothed(noise)
    if kind == "rows":  # of a CMOS camera
        return (noise + 0.5 * rng.normal(size=(SHAPE[0], 1))) / np.sqrt(1.25)
    return noise


def filtered_noise(image):
    psf = matched_filter(PSF, image.shape)
    plane = filter_matched(image.astype(np.float32), psf, Run(1), sigma=1.0)
    return plane, psf


@pytest.mark.parametrize("kind", ["white", "smoothed", "rows"])
def test_scale_is_the_measured_over_the_expected_noise(kind):
    plane, psf = filtered_noise(noise_of(kind))
    scale = measure_scale(plane, psf.unit(1.0), 1.0 / psf.square, None, Run(2))
    expected = plane[8:-8, 8:-8].std() / psf.unit(1.0)
    assert scale.shape == (1, 1)
    assert scale[0, 0] == pytest.approx(expected, rel=0.06)
    assert (scale[0, 0] == 1.0) == (kind == "white")


def test_every_second_pixel_of_a_large_frame_tells_the_same(monkeypatch):
    """One of four is looked at where the filter joins these."""
    steps = []
    quantiles = noise_stage.cell_quantiles
    monkeypatch.setattr(
        noise_stage, "cell_quantiles", lambda *given: (steps.append(given[6]), quantiles(*given))
    )
    plane, psf = filtered_noise(noise_of("smoothed"))
    plane *= np.geomspace(1.0, 2.0, SHAPE[1], dtype=np.float32)
    scales = []
    for least in (1 << 20, 1 << 14):
        monkeypatch.setattr(noise_stage, "MIN_FRAME_SAMPLE", least)
        scales.append(measure_scale(plane, psf.unit(1.0), 1.0 / psf.square, None, Run(1)))
    assert steps == [1] * scales[0].shape[0] + [2] * scales[1].shape[0]
    assert scales[0].size > 1
    np.testing.assert_allclose(scales[1], scales[0], rtol=0.03)


def test_scale_follows_the_noise_over_the_frame():
    x = np.linspace(1, 3, 1024)
    plane, psf = filtered_noise(np.random.default_rng(1).normal(size=(512, 1024)) * x)
    scale = measure_scale(plane, psf.unit(1.0), 1.0 / psf.square, None, Run(1))
    at = scale_at(scale, plane.shape, np.arange(64, 960), np.full(896, 300.0))
    np.testing.assert_allclose(at, x[64:960], rtol=0.15)
    before = plane.copy()
    in_sigma(plane, scale, Run(2))
    np.testing.assert_allclose(plane[300, 64:960] * at, before[300, 64:960], rtol=1e-5)


def test_known_sources_do_not_count():
    plane, psf = filtered_noise(noise_of("white"))
    claimed = np.zeros(SHAPE, np.uint8)
    claimed[:, ::3] = 1
    plane[:, ::3] -= 100
    scale = measure_scale(plane, psf.unit(1.0), 1.0 / psf.square, claimed, Run(1))
    assert scale[0, 0] == 1.0


def test_without_free_pixels_the_frame_says_so():
    claimed = np.ones(SHAPE, np.uint8)
    run = Run(1)
    image = noise_of("white").astype(np.float32)
    psf = matched_filter(PSF, SHAPE)
    found = detect_with_psf(image, psf, PixelNoise(1.0), Extraction(), run, claimed=claimed)
    assert len(run.warnings) == 1
    assert "DETECT_THRESH is in sigma of independent pixels" in run.warnings[0]
    assert found.noise_scale == 1.0


@pytest.mark.parametrize("kind", ["white", "smoothed", "rows"])
def test_threshold_is_in_sigma_whatever_the_noise(kind):
    """At 4 sigma: the false detections of a normal distribution."""
    noise = noise_of(kind).astype(np.float32)
    noise -= noise.mean()
    psf = matched_filter(PSF, SHAPE)
    config = replace(Extraction(), detect_thresh=(4.0,))
    run = Run(1)
    sigma = float(noise.std())
    found = detect_with_psf(noise, psf, PixelNoise(sigma), config, run)
    # maxima of a smooth Gaussian field above 4 sigma (Adler 1981)
    fwhm = 3.0 * np.sqrt(2)
    expected = noise.size / fwhm**2 * 4 * np.log(2) * (2 * np.pi) ** -1.5 * 4.0 * np.exp(-8.0)
    assert found.n <= 4 * expected + 4
    assert run.warnings == []
    independent = detect_with_psf(
        noise, psf, PixelNoise(sigma), replace(config, noise_type="INDEPENDENT"), run
    )
    if kind == "smoothed":
        assert independent.n > 20 * found.n + 20


@pytest.mark.parametrize(
    "noise",
    [
        lambda rng: rng.gamma(2.0, 20.0, SHAPE),
        lambda rng: 100.0 * np.exp(rng.normal(0.0, 0.5, SHAPE)),
        lambda rng: rng.poisson(1.0, SHAPE) / rng.normal(1.0, 0.03, SHAPE),
        lambda rng: rng.poisson(15.0, SHAPE) / rng.normal(1.0, 0.03, SHAPE),
    ],
)
def test_skewed_noise_gives_no_more_false_detections_than_normal_noise(noise):
    rng = np.random.default_rng(8)
    normal, skewed = (
        sky.measure(
            sky.exposure(image.astype(np.float32)), DETECT_THRESH=4.0, VERBOSE_TYPE="QUIET"
        ).table
        for image in (rng.normal(100.0, 10.0, SHAPE), noise(rng))
    )
    assert len(skewed) <= 2 * len(normal) + 4 * np.sqrt(len(normal) + 1.0)


@pytest.mark.parametrize("skewness", [0.0, 0.3, 1.0])
def test_quantiles_of_skewed_noise(skewness):
    rng = np.random.default_rng(0)
    n = 2_000_000
    if skewness:
        k = 4 / skewness**2
        sample = (rng.gamma(k, size=n) - k) / np.sqrt(k)
    else:
        sample = rng.normal(size=n)
    for z, share in ((-1.0, 15.8655), (0.0, 50.0), (3.0, 99.865), (4.0, 99.99683)):
        expected = np.percentile(sample, share)
        assert skewed_quantile(z, skewness) == pytest.approx(expected, abs=0.02 + 0.04 * abs(z))
