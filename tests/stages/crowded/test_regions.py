"""A cluster, and the halo of a saturated star, in a wide frame: they are taken apart there."""

from dataclasses import dataclass, replace

import numpy as np
import pytest

from skyextract.datamodel.exposure import Detector, Exposure
from skyextract.datamodel.flags import Mask
from skyextract.datamodel.psf import Psf, PsfSource
from skyextract.run import Run
from skyextract.settings.keywords import Config
from skyextract.stages.crowded.cells import CELL
from skyextract.stages.crowded.regions import crowded_regions
from skyextract.stages.crowded.window import cut_detections
from skyextract.stages.find import find_sources
from skyextract.stages.measure import measure
from skyextract.stages.measurement.sources import MeasureInputs

SIZE, CROP, FWHM, SKY, GAIN = 768, 320, 3.0, 200.0, 2.0
LOW, HIGH = (SIZE - CROP) // 2, (SIZE + CROP) // 2
PSF = Psf.gaussian(FWHM, PsfSource.FILE)
WANTED = frozenset("X_IMAGE FLUX_PSF FLUXERR_PSF XPSF_IMAGE YPSF_IMAGE FLUX_AUTO".split())


@dataclass(frozen=True)
class Field:
    """Pixels and true stars."""

    image: np.ndarray
    x: np.ndarray
    y: np.ndarray
    flux: np.ndarray
    saturation: float = np.inf

    @property
    def radius(self):
        """Distance from the middle."""
        return np.hypot(self.x - SIZE / 2, self.y - SIZE / 2)


def stars(rng, n, n_cluster, core=35.0):
    """Stars of an even field, and of a cluster whose density falls as Plummer's."""
    share = rng.uniform(0.0, 0.85, n_cluster)
    radius, angle = core * np.sqrt(share / (1.0 - share)), rng.uniform(0, 2 * np.pi, n_cluster)
    x = np.append(rng.uniform(3, SIZE - 4, n), SIZE / 2 + radius * np.cos(angle))
    y = np.append(rng.uniform(3, SIZE - 4, n), SIZE / 2 + radius * np.sin(angle))
    return x, y, np.minimum(300.0 * rng.uniform(size=x.size) ** (-1 / 0.8), 1e5)


def field(seed, n=150, n_cluster=0, halo=0.0):
    rng = np.random.default_rng(seed)
    x, y, flux = stars(rng, n, n_cluster)
    padded = np.full((SIZE + 2 * PSF.radius, SIZE + 2 * PSF.radius), SKY)
    row, column = np.rint(y).astype(int), np.rint(x).astype(int)
    side = 2 * PSF.radius + 1
    for stamp, j, i, f in zip(
        PSF.stamps(x, y, x - column, y - row), row, column, flux, strict=True
    ):
        padded[j : j + side, i : i + side] += f * stamp
    image = padded[PSF.radius : -PSF.radius, PSF.radius : -PSF.radius]
    yy, xx = np.mgrid[:SIZE, :SIZE] - SIZE / 2
    image = image + halo * (1.0 + (xx**2 + yy**2) / 9.0) ** -1.3
    image = rng.poisson(image * GAIN) / GAIN + rng.normal(0.0, 2.0, image.shape)
    level = 60_000.0 if halo else np.inf
    return Field(np.minimum(image, level).astype(np.float32), x, y, flux, level)


def exposure_of(image, saturation=np.inf):
    mask = np.where(image >= saturation, np.uint16(Mask.SAT), np.uint16(0))
    detector = Detector(gain=GAIN, saturation=saturation)
    return Exposure(image=image, mask=mask, detector=detector, psf=PSF)


def measured(image, niter=8, threads=2, saturation=np.inf):
    config = Config()
    config = replace(config, extraction=replace(config.extraction, crowd_niter=niter))
    exposure = exposure_of(image, saturation)
    return measure(exposure, config, WANTED, MeasureInputs(pixel_scale=1.0), Run(threads)).sources


def places(sources, corner=0):
    return (np.asarray(sources[f"{v}PSF_IMAGE"]) - 1.0 + corner for v in "XY")


def hits(field, sources, corner=0):
    """Tell which stars have a row within half a FWHM and 0.75 mag, and which rows such a star."""
    x, y = places(sources, corner)
    with np.errstate(divide="ignore", invalid="ignore"):
        offset = 2.5 * np.log10(np.asarray(sources["FLUX_PSF"])[:, None] / field.flux)
    near = np.hypot(x[:, None] - field.x, y[:, None] - field.y) < 0.5 * FWHM
    right = near & (np.abs(offset) < 0.75)
    return right.any(axis=0), right.any(axis=1)


@pytest.fixture(scope="module")
def cluster():
    frame = field(1, n_cluster=1500)
    return frame, measured(frame.image), measured(frame.image, niter=0)


def test_a_cluster_has_the_rows_of_a_crop_around_it(cluster):
    frame, wide, before = cluster
    crop = measured(np.ascontiguousarray(frame.image[LOW:HIGH, LOW:HIGH]))
    inner = (np.abs(frame.x - SIZE / 2) < CROP / 2 - 10) & (
        np.abs(frame.y - SIZE / 2) < CROP / 2 - 10
    )
    found, was, of_crop = (
        (hits(frame, sources, corner)[0] & inner).sum()
        for sources, corner in ((wide, 0), (before, 0), (crop, LOW))
    )
    assert found > 0.97 * of_crop
    assert found > 1.5 * was
    assert hits(frame, wide)[1].mean() > 0.9


def test_the_rest_of_the_frame_stays_as_it_was(cluster):
    _, wide, before = cluster
    x, y = places(before)
    far = np.hypot(x - SIZE / 2, y - SIZE / 2) > 4.0 * CELL * FWHM + 120.0
    assert far.sum() > 40
    rows = np.flatnonzero(far)
    was, now = ({name: np.asarray(c[name])[rows] for name in WANTED} for c in (before, wide))
    for name in ("XPSF_IMAGE", "YPSF_IMAGE", "FLUX_AUTO"):
        assert np.array_equal(now[name], was[name])
    # All fluxes share the aperture correction and the light that no source has: those of the
    # crowd have a part in both.
    factor = np.median(now["FLUXERR_PSF"] / was["FLUXERR_PSF"])
    assert abs(factor - 1.0) < 0.001
    change = now["FLUX_PSF"] / factor - was["FLUX_PSF"]
    assert np.all(np.abs(change) < 0.01 * was["FLUXERR_PSF"])
    assert np.allclose(now["FLUXERR_PSF"] / factor, was["FLUXERR_PSF"])


def test_threads_change_nothing(cluster):
    frame, wide, _ = cluster
    one = measured(frame.image, threads=1)
    for name in WANTED:
        assert np.array_equal(one[name], wide[name], equal_nan=True)


def test_stars_upon_the_halo_of_a_saturated_star():
    frame = field(2, n=500, halo=2e6)
    bright = frame.flux > 3000.0
    for niter in (8, 0):  # detection tells them from the halo, with the search and without
        sources = measured(frame.image, niter=niter, saturation=frame.saturation)
        found, is_star = hits(frame, sources)
        share = [
            found[bright & (frame.radius > low) & (frame.radius < high)].mean()
            for low, high in ((100.0, 160.0), (160.0, 260.0))
        ]
        assert share[0] > 0.9
        assert share[1] > 0.95
        assert niter == 0 or (~is_star).sum() < 4


def detections(image):
    config, inputs = Config(), MeasureInputs(pixel_scale=1.0)
    return find_sources(exposure_of(image), config, inputs, Run(2)).detections


def test_no_region_where_stars_are_apart():
    assert not crowded_regions(detections(field(3, n=300).image), FWHM, PSF.radius)


def test_regions_hold_the_cluster_and_little_else(cluster):
    (region,) = crowded_regions(detections(cluster[0].image), FWHM, PSF.radius)
    middle, side = np.array([SIZE / 2]), 4 * CELL * FWHM
    assert region.contains(middle, middle).all()
    assert not region.contains(middle - 3 * side, middle).any()
    assert not region.contains(np.array([5.0]), np.array([5.0])).any()
    assert region.columns.start % 8 == 0
    # The sky goes over into that of the frame: no steps.
    assert np.abs(np.diff(region.share, axis=0)).max() < 0.06
    assert np.abs(np.diff(region.share, axis=1)).max() < 0.06
    for edge in (region.share[0], region.share[-1], region.share[:, 0], region.share[:, -1]):
        assert not edge.any()


def test_detections_of_a_window_have_its_pixels(cluster):
    found = detections(cluster[0].image)
    (region,) = crowded_regions(found, FWHM, PSF.radius)
    part, rows = cut_detections(found, region.window)
    top, left = region.rows.start, region.columns.start
    for k, row in list(enumerate(rows))[::7]:
        y, x = np.divmod(part.pixel[part.first[k] : part.first[k + 1]], region.share.shape[1])
        of_frame = found.pixel[found.first[row] : found.first[row + 1]]
        there = np.isin((y + top) * SIZE + x + left, of_frame)
        assert there.all()
        assert np.all(part.segmentation[y, x] == k + 1)
        assert part.x[k] + left == found.x[row]
        assert part.xpeak[k] + left == found.xpeak[row]
        assert part.ymax[k] + top == found.ymax[row]
    assert part.segmentation.max() == part.n == rows.size
