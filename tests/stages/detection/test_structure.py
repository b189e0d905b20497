"""Skies that are not smooth: structure is told from noise and from stars."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from skyextract.run import Run
from skyextract.settings.keywords import Config
from skyextract.stages.detection import structure, withpsf
from skyextract.stages.detection.localmeans import local_noise, without_mean
from skyextract.stages.detection.matched import filter_matched
from skyextract.stages.detection.noise import measure_scale
from skyextract.stages.detection.structure import BLOCK, share_uneven, without_structure
from tests.compare.lights import measured, places_by_sep, scores
from tests.simulate.lights import LIGHTS, filaments, make, mottled, pupil
from tests.simulate.noises import KINDS
from tests.simulate.noises import make as make_noise
from tests.stages.detection.test_noise import filtered_noise, noise_of

CONFIG = Config()
SINGLE = replace(CONFIG, extraction=replace(CONFIG.extraction, crowd_niter=0))
"""Without a search beneath sources."""


@pytest.fixture
def without(monkeypatch):
    """Detection as it is without a look at structure."""
    monkeypatch.setattr(withpsf, "sky_structure", lambda *_: None)


@pytest.mark.parametrize(
    ("kind", "complete", "pure"),
    [("mottled .3", 0.87, 0.98), ("dust rings", 0.9, 0.98), ("nebula", 0.75, 0.9)],
)
def test_stars_on_structure_are_found_and_it_is_not(kind, complete, pure):
    frame = make(LIGHTS[kind], 11)
    found = measured(frame, SINGLE).detections
    assert found.around is not None
    completeness, purity = scores(frame, found.x, found.y)
    theirs, their_purity = scores(frame, *places_by_sep(frame))
    assert completeness > max(complete, theirs - 0.05)
    assert purity > max(pure, their_purity - 0.01)


@pytest.mark.usefixtures("without")
@pytest.mark.parametrize("kind", ["mottled .3", "dust rings"])
def test_the_threshold_alone_loses_them(kind):
    frame = make(LIGHTS[kind], 11)
    found = measured(frame, SINGLE).detections
    theirs, _ = scores(frame, *places_by_sep(frame))
    assert scores(frame, found.x, found.y)[0] < theirs - 0.08


def test_light_that_hardly_raises_the_noise_has_no_sources_on_its_edges():
    frame = make(pupil(3.0), 1, size=768, n=300)
    result = measured(frame, SINGLE)
    assert any("does not follow the sky" in text for text in result.run.warnings)
    found = result.detections
    assert np.max(found.full_noise_scale) < 1.2
    assert found.around is not None
    completeness, purity = scores(frame, found.x, found.y)
    even = make(LIGHTS["dark"], 1, size=768, n=300)
    known = measured(even, SINGLE).detections
    assert known.around is None
    assert purity > 0.98
    assert completeness > scores(even, known.x, known.y)[0] - 0.03


@pytest.mark.parametrize("seed", [11, 12])
def test_stars_upon_bright_uneven_clouds(seed):
    """Upon clouds 40 times as bright as noise: .25 and .42 of the stars with one width for all."""
    frame = make(filaments(40.0, 1.5), seed, size=384, n=100)
    found = measured(frame, SINGLE).detections
    completeness, purity = scores(frame, found.x, found.y)
    theirs, their_purity = scores(frame, *places_by_sep(frame))
    assert completeness > theirs + 0.2
    assert purity > their_purity + 0.15


def test_noise_about_a_place_is_that_of_the_place():
    """Noise of 1 beside noise of 6, and a bright star in each."""
    rng = np.random.default_rng(3)
    noise = np.where(np.arange(256) < 128, 1.0, 6.0) * rng.normal(size=(256, 256))
    noise[60, 60] = noise[60, 200] = 1e4
    local = local_noise(noise.astype(np.float32), 4.0, Run(1))
    n = local.shape[1]
    np.testing.assert_allclose(np.median(local[:, : n // 3]), 1.0, rtol=0.05)
    np.testing.assert_allclose(np.median(local[:, -n // 3 :]), 6.0, rtol=0.05)
    assert local.max() < 7.5


def test_the_mean_about_a_place_takes_slopes_and_curvature_off_and_no_edge_stays():
    y, x = np.indices((90, 100)) - 45.0
    bowl = (300.0 + 5.0 * x - 3.0 * y + 0.05 * x * y + 0.04 * x**2).astype(np.float32)
    rest = without_mean(bowl, 6.0, partial(without_structure, run=Run(1)))
    assert np.abs(rest[30:-30, 30:-30]).max() < 0.05
    assert np.abs(rest).max() < 12.0


def test_what_is_subtracted_is_the_structure(monkeypatch):
    """Of the mean of what is no source; the filters that are sharper take a part of the noise."""
    monkeypatch.setattr(structure, "best_means", lambda *_: None)
    frame = make(LIGHTS["mottled .6"], 3)
    result = measured(frame, SINGLE)
    plain = replace(result, detections=replace(result.detections, around=None))
    subtracted = plain.filtered() - result.filtered()
    plane = result.plane
    light = filter_matched(
        frame.light.astype(np.float32), result.matched, Run(1), sigma=plane.background.sigma
    )
    assert (
        np.corrcoef(subtracted[20:-20, 20:-20].ravel(), light[20:-20, 20:-20].ravel())[0, 1] > 0.9
    )


def test_the_filtered_image_is_that_of_detection():
    result = measured(make(LIGHTS["dust rings"], 4), SINGLE)
    found = result.detections
    np.testing.assert_array_equal(result.filtered().ravel()[found.pixel], found.filtered)


def test_errors_are_those_with_the_structure():
    pulls = []
    for seed in (5, 6):
        frame = make(LIGHTS["mottled .3"], seed)
        result = measured(frame, SINGLE)
        assert result.metrics["noise_scale"] > 1.5 * result.metrics["detection_scale"]
        x, y, flux, error = (
            np.asarray(result.sources[name])
            for name in ("XPSF_IMAGE", "YPSF_IMAGE", "FLUX_PSF", "FLUXERR_PSF")
        )
        distance = np.hypot(x[:, None] - 1 - frame.x, y[:, None] - 1 - frame.y)
        star = distance.argmin(axis=1)
        apart = np.hypot(frame.x[:, None] - frame.x, frame.y[:, None] - frame.y)
        alone = np.sort(apart, axis=1)[:, 1] > 20.0
        good = (distance.min(axis=1) < 2.0) & (frame.snr[star] > 12) & (frame.snr[star] < 80)
        good &= alone[star]
        pulls.append(((flux - frame.flux[star]) / error)[good])
    low, high = np.percentile(np.concatenate(pulls), (15.87, 84.13))
    assert np.concatenate(pulls).size > 40
    assert 0.7 < (high - low) / 2 < 1.2


@pytest.fixture(scope="module")
def lit():
    return make(LIGHTS["dark"], 1)


@pytest.mark.parametrize("kind", list(KINDS))
def test_noise_of_pixels_is_no_structure(kind, lit):
    """Few photons, steps, rows, and resampled, drizzled detectors."""
    frame = make_noise(KINDS[kind], 2, size=512)
    found = measured(replace(lit, image=frame.image), SINGLE).detections
    assert found.around is None
    assert found.noise_scale is found.full_noise_scale


@pytest.mark.parametrize("kind", ["white", "smoothed", "rows"])
def test_noise_that_is_not_raised_is_not_looked_at(kind):
    plane, psf = filtered_noise(noise_of(kind))
    claimed = np.zeros(plane.shape, np.uint8)
    unit = psf.unit(1.0)

    def never(_):
        raise AssertionError

    for scale in (1.0, 1.2):
        whole = np.full((1, 1), scale, np.float32)
        assert withpsf.sky_structure(plane, claimed, whole, psf, unit, never, never, Run(1)) is None


def test_frames_that_are_clean_in_a_part_keep_that_part():
    """Structure in the left half; the right half has the same filtered pixels as without."""
    half = make(LIGHTS["dark"], 7, size=768, n=350)
    rng = np.random.default_rng(7)
    light = 12.0 * LIGHTS["mottled .6"](rng, 768)
    light[:, 384:] = 0.0
    result = measured(replace(half, image=half.image + light.astype(np.float32)), SINGLE)
    around = result.detections.around
    assert around is not None
    assert (around.level[:, : around.level.shape[1] // 4] != 0.0).mean() > 0.8
    assert (around.level[:, -around.level.shape[1] // 4 :] == 0.0).all()


def test_an_image_of_sources_and_defects_alone():
    frame = make(LIGHTS["mottled .6"], 8, size=128, n=30)
    result = measured(frame, SINGLE)
    assert np.isfinite(result.filtered()).all()


def test_smooth_light_without_noise_of_pixels():
    """What is left of a sky without noise is no threshold: that of independent pixels holds."""
    _, psf = filtered_noise(noise_of("white"))
    unit, area = psf.unit(1.0), 1.0 / psf.square
    smooth = mottled(4.0 * unit, 60.0, 120.0)(np.random.default_rng(9), 512).astype(np.float32)
    claimed = np.zeros(smooth.shape, np.uint8)

    def scale(image):
        return measure_scale(image, unit, area, claimed, Run(1))

    def ones(_):
        return np.ones((1, 1), np.float32)

    found = withpsf.sky_structure(smooth, claimed, scale(smooth), psf, unit, scale, ones, Run(1))
    assert found is not None
    left = without_structure(smooth, found.around, Run(1))
    assert scale(left).max() < 0.5
    assert found.scale.min() > 0.7


@pytest.mark.parametrize("n_threads", [1, 2, 5])
def test_blocks_that_are_high_or_low_are_counted_by_any_number_of_threads(n_threads):
    """Three blocks that are high, in an L: of its pairs one is along each axis."""
    noise = np.random.default_rng(2).normal(0.0, 1.0, (20 * BLOCK + 3, 12 * BLOCK + 1))
    for row, column in ((5, 4), (6, 4), (6, 5)):
        noise[row * BLOCK : (row + 1) * BLOCK, column * BLOCK : (column + 1) * BLOCK] += 1.5
    filtered = noise.astype(np.float32)
    claimed = np.zeros(filtered.shape, np.uint8)
    claimed[:BLOCK, :] = 1  # a row of blocks of which nothing is known
    share, middle = share_uneven(filtered, claimed, 1.0, 1.0, Run(n_threads))
    assert share == pytest.approx(2.0 / (19 * 12))
    usual = filtered[BLOCK : 20 * BLOCK, : 12 * BLOCK]
    assert middle == pytest.approx(float(np.median(usual)), abs=0.05)
