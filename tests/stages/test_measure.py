"""Measurement of whole frames: truth, noise, bad pixels, threads, SExtractor."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from skyextract.datamodel.exposure import Detector, Exposure
from skyextract.datamodel.flags import FlagsSky, Mask
from skyextract.datamodel.mosaic import MosaicPlane
from skyextract.datamodel.psf import Psf
from skyextract.errors import ConfigError, ImageError
from skyextract.run import Run
from skyextract.settings.keywords import Background, Config, Measurement, Weights
from skyextract.settings.steps import Status
from skyextract.stages.measure import MeasureInputs, measure
from skyextract.stages.measured import Measured
from skyextract.stages.measurement.isophotal import combine_flags
from tests.compare import parity

SIGMA, GAIN, SKY = 5.0, 2.0, 200.0
POSITIONS = frozenset({"X_IMAGE", "Y_IMAGE", "XWIN_IMAGE", "YWIN_IMAGE"})
FLUXES = POSITIONS | {
    "FLUX_ISO", "FLUX_AUTO", "FLUXERR_AUTO", "FLUX_APER", "FLUXERR_APER", "FLUX_RADIUS",
    "ERRX2WIN_IMAGE", "ERRY2WIN_IMAGE", "KRON_RADIUS", "FLUX_PETRO", "BACKGROUND",
}  # fmt: skip
BASIC = replace(
    Config(),
    extraction=replace(
        Config().extraction, filter_name="default", detect_thresh=(2.0,), detect_minarea=5,
        detect_niter=1,
    ),
    measurement=replace(Measurement(), phot_apertures=(8.0, 14.0)),
)  # fmt: skip


def frame(
    size: int = 400, spacing: float = 40.0, flux: float = 4000.0, seed: int = 1
) -> tuple[Exposure, np.ndarray, np.ndarray]:
    """A grid of isolated Gaussian stars (sigma 1.8) with Poisson and sky noise."""
    rng = np.random.default_rng(seed)
    nodes = np.arange(spacing / 2, size - spacing / 4, spacing)
    px, py = (c.ravel() + rng.uniform(-3, 3, c.size) for c in np.meshgrid(nodes, nodes))
    y, x = np.mgrid[:size, :size].astype(float)
    signal = np.zeros((size, size))
    for a, b in zip(px, py, strict=True):
        u, v = slice(max(int(b) - 15, 0), int(b) + 16), slice(max(int(a) - 15, 0), int(a) + 16)
        r2 = (x[u, v] - a) ** 2 + (y[u, v] - b) ** 2
        signal[u, v] += flux / (2 * np.pi * 1.8**2) * np.exp(-r2 / (2 * 1.8**2))
    image = SKY + rng.normal(0, SIGMA, signal.shape) + rng.poisson(signal * GAIN) / GAIN
    exposure = Exposure(
        image.astype(np.float32),
        np.zeros(image.shape, dtype=np.uint16),
        detector=Detector(gain=GAIN, saturation=50000.0),
    )
    return exposure, px, py


def run_measure(
    exposure: Exposure, wanted: frozenset[str] = FLUXES, config: Config = BASIC,
    inputs: MeasureInputs | None = None, threads: int = 1, detection: Exposure | None = None,
) -> Measured:  # fmt: skip
    run = Run(n_threads=threads)
    return measure(exposure, config, wanted, inputs or MeasureInputs(), run, detection=detection)


def test_a_constant_background_is_that_of_the_image_that_is_measured() -> None:
    """Of one image that is the first value; a level that is given needs no sky to rest on."""
    exposure, _, _ = frame(size=200, spacing=20.0)
    background = replace(
        Background(), back_type=("MANUAL", "AUTO"), back_value=(SKY - 2.5 * SIGMA,)
    )
    measured = run_measure(exposure, config=replace(BASIC, background=background))
    assert measured.metrics["sky_share"] < 0.15
    assert measured.status is Status.COMPLETE


def nearest(measured: Measured, px: np.ndarray, py: np.ndarray) -> np.ndarray:
    """Row of the source nearest to each position, within a pixel."""
    x, y = measured.sources["X_IMAGE"] - 1.0, measured.sources["Y_IMAGE"] - 1.0
    distance2 = (px[:, None] - x) ** 2 + (py[:, None] - y) ** 2
    assert (distance2.min(axis=1) < 1.0).all()
    return distance2.argmin(axis=1)


def width(pulls: np.ndarray) -> float:
    low, high = np.percentile(pulls, (15.87, 84.13))
    return float(high - low) / 2.0


def test_pulls_of_isolated_stars_have_unit_width() -> None:
    apertures, positions = [], []
    for seed in range(6):
        exposure, px, py = frame(seed=seed)
        measured = run_measure(exposure)
        s = measured.sources.take(nearest(measured, px, py))
        inside = 1.0 - np.exp(-(4.0**2) / (2 * 1.8**2))
        apertures.append((s["FLUX_APER"][:, 0] - 4000.0 * inside) / s["FLUXERR_APER"][:, 0])
        for axis, truth in (("X", px), ("Y", py)):
            error = np.sqrt(s[f"ERR{axis}2WIN_IMAGE"])
            positions.append((s[f"{axis}WIN_IMAGE"] - 1.0 - truth) / error)
    assert 0.9 < width(np.concatenate(apertures)) < 1.1
    assert 0.9 < width(np.concatenate(positions)) < 1.1


def test_the_segmentation_is_that_of_the_detection_after_fits_have_used_its_memory() -> None:
    exposure, _, _ = frame(size=200)
    exposure = replace(exposure, psf=Psf.gaussian(4.2))
    config = replace(BASIC, extraction=replace(BASIC.extraction, crowd_niter=0))
    plain = run_measure(exposure, config=config)
    fitted = run_measure(exposure, FLUXES | {"FLUX_PSF", "FLUX_MODEL"}, config)
    labels = fitted.detections.segmentation
    np.testing.assert_array_equal(labels, plain.detections.segmentation)
    assert labels.max() == fitted.sources.n_rows
    for name in ("FLUX_ISO", "FLUX_AUTO"):
        np.testing.assert_array_equal(fitted.sources[name], plain.sources[name])


@pytest.mark.parametrize("kind", ["row", "block"])
def test_bad_pixels_change_no_source_that_does_not_touch_them(kind: str) -> None:
    exposure, px, py = frame(flux=20000.0)
    before = run_measure(exposure)
    image, mask = exposure.image.copy(), exposure.mask.copy()
    bad = np.zeros(image.shape, dtype=bool)
    if kind == "row":
        bad[203] = True
    else:
        bad[150:215, 90:170] = True
    image[bad] = 0.0
    mask[bad] = int(Mask.NO_DATA)
    after = run_measure(replace(exposure, image=image, mask=mask))
    by, bx = np.nonzero(bad)
    distance = np.array([np.hypot(bx - a, by - b).min() for a, b in zip(px, py, strict=True)])
    far = distance > 18.0
    assert far.sum() > 50
    rows = nearest(before, px[far], py[far]), nearest(after, px[far], py[far])
    for name in ("FLUX_APER", "FLUX_AUTO"):
        old, new = before.sources[name][rows[0]], after.sources[name][rows[1]]
        assert np.abs(new / old - 1.0).max() < 1e-3, name
    for name in ("XWIN_IMAGE", "YWIN_IMAGE"):
        old, new = before.sources[name][rows[0]], after.sources[name][rows[1]]
        assert np.abs(new - old).max() < 1e-3, name
    # No phantom: every source is near a star.
    x, y = after.sources["X_IMAGE"] - 1, after.sources["Y_IMAGE"] - 1
    near = np.hypot(x[:, None] - px, y[:, None] - py).min(axis=1)
    assert (near < 4.0).all()


def test_a_bad_row_through_a_star_costs_it_little_and_is_flagged() -> None:
    exposure, px, py = frame()
    clean = run_measure(exposure)
    i = 44
    row = int(np.rint(py[i])) + 2
    image, mask = exposure.image.copy(), exposure.mask.copy()
    image[row], mask[row] = 0.0, int(Mask.NO_DATA)
    measured = run_measure(replace(exposure, image=image, mask=mask))
    old = clean.sources.take(nearest(clean, px[i : i + 1], py[i : i + 1]))
    new = measured.sources.take(nearest(measured, px[i : i + 1], py[i : i + 1]))
    assert new["FLUX_APER"][0, 0] == pytest.approx(old["FLUX_APER"][0, 0], rel=0.05)
    assert new["FLUX_AUTO"][0] == pytest.approx(old["FLUX_AUTO"][0], rel=0.05)
    assert new["FLAGS_SKY"][0] & FlagsSky.BAD_PIXEL
    assert not old["FLAGS_SKY"][0] & FlagsSky.BAD_PIXEL


@pytest.mark.parametrize(
    ("away", "kind", "flagged"),
    [(0, "CORRECT", True), (3, "CORRECT", True), (8, "CORRECT", False), (8, "BLANK", True)],
)
def test_bad_pixels_count_where_the_source_is(away: int, kind: str, flagged: bool) -> None:
    """In the footprint, or in the hole that they make in it; in wings where they are replaced."""
    exposure, px, py = frame()
    i = 44
    x, y = int(np.rint(px[i])) + away, int(np.rint(py[i]))
    image, mask = exposure.image.copy(), exposure.mask.copy()
    image[y, x], mask[y, x] = np.nan, int(Mask.NO_DATA)
    config = replace(BASIC, measurement=replace(BASIC.measurement, mask_type=kind))
    measured = run_measure(replace(exposure, image=image, mask=mask), config=config)
    row = nearest(measured, px[i : i + 1], py[i : i + 1])[0]
    assert bool(measured.sources["FLAGS_SKY"][row] & FlagsSky.BAD_PIXEL) is flagged
    others = np.delete(measured.sources["FLAGS_SKY"], row)
    assert not (others & FlagsSky.BAD_PIXEL).any()


def test_flags_of_saturated_cosmic_and_unknown_noise() -> None:
    exposure, px, py = frame()
    peak = float(exposure.image.max())
    saturated = replace(exposure, detector=Detector(gain=GAIN, saturation=peak - 1e-3))
    sources = run_measure(saturated).sources
    assert (sources["FLAGS"] & 4 > 0).sum() == 1
    mask = exposure.mask.copy()
    y, x = int(py[5]), int(px[5])
    mask[y, x] = int(Mask.CR | Mask.INTRP)
    mask[int(py[6]), int(px[6])] = int(Mask.SAT)
    measured = run_measure(replace(exposure, mask=mask))
    rows = nearest(measured, px[5:7], py[5:7])
    ours = measured.sources["FLAGS_SKY"][rows]
    assert ours[0] & FlagsSky.COSMIC_RAY
    assert ours[0] & FlagsSky.BAD_PIXEL
    assert ours[1] == 0
    assert measured.sources["FLAGS"][rows[1]] & 4
    unknown = run_measure(replace(exposure, detector=Detector()))
    assert (unknown.sources["FLAGS_SKY"] & FlagsSky.NO_VARIANCE > 0).all()


def test_threads_do_not_matter_and_inputs_are_left_alone() -> None:
    exposure, _, _ = frame(size=300)
    image, mask = exposure.image.copy(), exposure.mask.copy()
    one, three = run_measure(exposure), run_measure(exposure, threads=3)
    for name in one.sources:
        np.testing.assert_array_equal(one.sources[name], three.sources[name])
    np.testing.assert_array_equal(exposure.image, image)
    np.testing.assert_array_equal(exposure.mask, mask)


@pytest.mark.parametrize("n_passes", [1, 2])
def test_pixels_that_are_given_up_change_no_number(n_passes: int) -> None:
    exposure, _, _ = frame(size=300)
    exposure.image[100:104, 50:60] = 70000.0
    config = replace(BASIC, extraction=replace(BASIC.extraction, detect_niter=n_passes))
    expected = run_measure(exposure, config=config)
    lent = replace(exposure, image=exposure.image.copy())
    run = Run(2)
    found = measure(lent, config, FLUXES, MeasureInputs(), run, keep_image=False)
    assert (expected.sources["FLAGS"] & 4).any()
    for name in expected.sources.columns:
        np.testing.assert_array_equal(found.sources[name], expected.sources[name])
    assert found.plane.subtracted is lent.image
    assert np.isnan(found.exposure.image).all()
    assert found.exposure.shape == exposure.shape
    assert np.shares_memory(expected.exposure.image, exposure.image)


def test_models_in_the_memory_of_point_source_fits_change_no_number() -> None:
    """Nor what else is wanted: the light between sources is measured for fluxes alone."""
    exposure, _, _ = frame(size=300)
    exposure = replace(exposure, psf=Psf.gaussian(4.2))
    wanted = frozenset({"SPREAD_MODEL", "SPREADERR_MODEL", "FLUX_MODEL", "CHI2_MODEL"})
    expected = run_measure(exposure, wanted, BASIC)
    more = run_measure(exposure, wanted | {"FLUX_PSF"}, BASIC)
    lent = replace(exposure, image=exposure.image.copy())
    found = measure(lent, BASIC, wanted, MeasureInputs(), Run(2), keep_image=False)
    for name in expected.sources.columns:
        np.testing.assert_array_equal(found.sources[name], expected.sources[name])
        np.testing.assert_array_equal(more.sources[name], expected.sources[name])
    assert expected.residual is not None
    assert found.residual is None


def test_only_what_is_wanted_is_there() -> None:
    exposure, _, _ = frame(size=120)
    sources = run_measure(exposure, frozenset({"FLUX_AUTO", "MAG_AUTO"})).sources
    assert set(sources) == {"NUMBER", "FLAGS", "FLAGS_SKY", "FLUX_AUTO"}


def test_dual_mode_measures_at_the_detections() -> None:
    exposure, px, py = frame()
    other, _, _ = frame(flux=300.0)
    single, dual = run_measure(exposure), run_measure(other, detection=exposure)
    assert dual.detections.n == single.detections.n
    np.testing.assert_array_equal(dual.sources["X_IMAGE"], single.sources["X_IMAGE"])
    np.testing.assert_array_equal(dual.sources["KRON_RADIUS"], single.sources["KRON_RADIUS"])
    flux = dual.sources["FLUX_APER"][nearest(dual, px, py), 0]
    assert np.median(flux) == pytest.approx(300.0 * 0.915, rel=0.1)


@pytest.mark.parametrize("of_sources", [True, False])
def test_variance_plane_gives_the_errors_of_the_noise_model(of_sources: bool) -> None:
    """With the photons of the sources in it, or of the sky alone."""
    exposure, px, py = frame(flux=8000.0)
    plain = run_measure(exposure)
    signal = np.maximum(exposure.image - SKY, 0.0) if of_sources else 0.0 * exposure.image
    variance = (SIGMA**2 + signal / GAIN).astype(np.float32)
    known = run_measure(replace(exposure, variance=variance))
    rows = nearest(plain, px, py), nearest(known, px, py)
    ratio = known.sources["FLUXERR_APER"][rows[1]] / plain.sources["FLUXERR_APER"][rows[0]]
    assert np.abs(ratio - 1.0).max() < 0.05


@pytest.mark.parametrize("level", [0.6, 1.0, 1.15])
def test_a_flat_field_in_the_variance_moves_no_source(level: float) -> None:
    """Photons of a pixel are by its own gain: what that of the frame leaves is no noise of the sky.

    The right values are those of the same pixels without the plane.
    """
    exposure, px, py = frame(flux=60000.0)
    flat = level * np.random.default_rng(3).normal(1.0, 0.01, exposure.image.shape)
    signal = np.maximum(exposure.image - SKY, 0.0)
    variance = (SIGMA**2 + signal / GAIN / flat + (0.002 * signal) ** 2).astype(np.float32)
    config = replace(Config(), extraction=replace(Config().extraction, detect_niter=1))
    exposure = replace(exposure, psf=Psf.gaussian(4.2))
    wanted = POSITIONS | {"FLUX_APER"}
    plain = run_measure(exposure, wanted, config)
    found = run_measure(replace(exposure, variance=variance), wanted, config)
    assert found.sources.n_rows == plain.sources.n_rows == len(px)
    rows, others = nearest(found, px, py), nearest(plain, px, py)
    own, right = found.shapes.take(rows), plain.shapes.take(others)
    for name in ("X_IMAGE", "Y_IMAGE"):
        np.testing.assert_allclose(own[name], right[name], atol=0.01, rtol=0.0)
    for name in ("A_IMAGE", "B_IMAGE"):
        np.testing.assert_allclose(own[name], right[name], rtol=0.02)
    flux = found.sources["FLUX_APER"][rows] / plain.sources["FLUX_APER"][others]
    # Apertures weigh 5 x 5 parts of a pixel, which makes steps of this size.
    np.testing.assert_allclose(flux, 1.0, atol=0.004)


@pytest.mark.parametrize("with_photons", [False, True])
def test_steps_of_a_weight_map_move_no_source(with_photons: bool) -> None:
    """Where exposures end, in the middle of bright stars; the weight may be that of their photons.

    The right values are those of the same pixels without the map.
    """
    exposure, px, py = frame(flux=60000.0, spacing=50.0)
    depth = np.ones(exposure.shape)
    for x in px[:8]:
        depth[:, round(x) :] = np.where(depth[:, round(x) :] > 1.0, 1.0, 2.0)
    variance = SIGMA**2 / depth
    if with_photons:
        variance += np.maximum(exposure.image - SKY, 0.0) / GAIN
    config = replace(
        Config(), extraction=replace(Config().extraction, detect_niter=1),
        weights=replace(Weights(), weight_type=("MAP_VAR",)),
    )  # fmt: skip
    exposure = replace(exposure, psf=Psf.gaussian(4.2))
    plain = run_measure(exposure, POSITIONS, replace(config, weights=Weights()))
    found = run_measure(replace(exposure, weight=variance.astype(np.float32)), POSITIONS, config)
    assert found.sources.n_rows == plain.sources.n_rows == len(px)
    rows, others = nearest(found, px, py), nearest(plain, px, py)
    for name in ("X_IMAGE", "Y_IMAGE"):
        own, right = found.shapes[name][rows], plain.shapes[name][others]
        # With weights pixel by pixel it is 0.2 pixel.
        np.testing.assert_allclose(own, right, atol=0.05, rtol=0.0)


def test_association_selects_and_renumbers() -> None:
    exposure, px, py = frame()
    table = np.column_stack([np.arange(20), px[:20] + 1.2, py[:20] + 1.1, np.arange(20) + 15.0])
    config = replace(BASIC, assoc=replace(BASIC.assoc, assoc_data=(1, 4)))
    wanted = POSITIONS | {"VECTOR_ASSOC", "NUMBER_ASSOC"}
    inputs = MeasureInputs(associates=table)
    measured = run_measure(exposure, wanted, config, inputs)
    sources = measured.sources
    assert sources["NUMBER"].tolist() == list(range(1, 21))
    assert sorted(sources["VECTOR_ASSOC"][:, 0].astype(int)) == list(range(20))
    np.testing.assert_allclose(sources["VECTOR_ASSOC"][:, 1], sources["VECTOR_ASSOC"][:, 0] + 15)
    np.testing.assert_array_equal(measured.detections.x[measured.rows] + 1.0, sources["X_IMAGE"])
    with pytest.raises(ConfigError, match="ASSOC"):
        run_measure(exposure, wanted, config, MeasureInputs(associates=table[:, :2]))


def test_the_list_of_a_mosaic_is_in_pixels_of_the_full_frame() -> None:
    exposure, px, py = frame()
    mosaic = MosaicPlane("GREEN", 1.0, 0.0)
    table = np.column_stack([2.0 * px + 2.0, 2.0 * py + 1.0])[:20]
    config = replace(BASIC, assoc=replace(BASIC.assoc, assoc_params=(1, 2), assoc_data=(1, 2)))
    wanted = POSITIONS | {"VECTOR_ASSOC", "NUMBER_ASSOC"}
    found = run_measure(exposure, wanted, config, MeasureInputs(associates=table, mosaic=mosaic))
    assert found.sources.n_rows == 20
    whole = mosaic.on_full_frame(found.sources, {"X_IMAGE": "pixel", "Y_IMAGE": "pixel"})
    np.testing.assert_allclose(whole["VECTOR_ASSOC"][:, 0], whole["X_IMAGE"], atol=1.0)
    np.testing.assert_allclose(whole["VECTOR_ASSOC"][:, 1], whole["Y_IMAGE"], atol=1.0)


def test_flag_maps() -> None:
    exposure, _, _ = frame(size=120)
    d = run_measure(exposure).detections
    rng = np.random.default_rng(0)
    flag_map = rng.integers(0, 9, exposure.shape) * (rng.random(exposure.shape) < 0.5)
    for kind, combine in (
        ("OR", np.bitwise_or.reduce), ("AND", np.bitwise_and.reduce), ("MIN", np.min),
        ("MAX", np.max), ("MOST", lambda v: np.bincount(v).argmax()),
    ):  # fmt: skip
        flags, counts = combine_flags(flag_map, kind, d)
        for i in range(d.n):
            values = flag_map.ravel()[d.pixel[d.first[i] : d.first[i + 1]]]
            values = values[values > 0]
            if kind == "MOST":
                assert (values == flags[i]).sum() == np.bincount(values).max()
            else:
                assert flags[i] == combine(values)
            expected = values.size if kind in ("OR", "AND") else (values == flags[i]).sum()
            assert counts[i] == expected


def test_weight_counts() -> None:
    exposure, px, py = frame(size=200)
    weight = np.full(exposure.shape, 25.0, dtype=np.float32)
    x, y = int(np.rint(px[3])), int(np.rint(py[3]))
    weight[y, x + 1] = 1e30
    mask = np.where(weight > 1e29, np.uint16(Mask.BAD), np.uint16(0))
    config = replace(BASIC, weights=replace(Weights(), weight_type=("MAP_VAR",)))
    config = replace(config, weights=replace(config.weights, interp_type=("NONE",)))
    wanted = POSITIONS | {"NLOWWEIGHT_ISO", "NLOWDWEIGHT_ISO", "FLAGS_WEIGHT"}
    measured = run_measure(replace(exposure, weight=weight, mask=mask), wanted, config)
    row = nearest(measured, px[3:4], py[3:4])[0]
    assert measured.sources["NLOWDWEIGHT_ISO"][row] >= 3
    assert measured.sources["FLAGS_WEIGHT"][row] & 2
    assert (measured.sources["FLAGS_WEIGHT"] > 0).sum() == 1


@pytest.mark.parametrize("what", ["empty", "constant", "masked", "tiny"])
def test_frames_without_sources(what: str) -> None:
    shape = (5, 5) if what == "tiny" else (100, 90)
    image = np.random.default_rng(5).normal(0, 1, shape).astype(np.float32)
    mask = np.zeros(shape, dtype=np.uint16)
    if what == "constant":
        image[:] = 3.0
    if what == "masked":
        image[:], mask[:] = 0.0, int(Mask.NO_DATA)
    config = replace(BASIC, extraction=replace(BASIC.extraction, detect_thresh=(20.0,)))
    wanted = FLUXES | {"VIGNET", "FLUX_GROWTH", "CLASS_STAR", "IMAFLAGS_ISO", "FLAGS_WEIGHT"}
    measured = run_measure(Exposure(image, mask), wanted, config)
    assert measured.sources.n_rows == 0
    assert measured.metrics["n_sources"] == 0


def test_photographic_fluxes_are_sums_of_intensities() -> None:
    exposure, px, py = frame(size=160)
    density = replace(exposure, image=(exposure.image - SKY) / 100.0 + 1.0)
    config = replace(BASIC, extraction=replace(BASIC.extraction, detect_type="PHOTO"))
    measured = run_measure(density, config=config)
    rows = nearest(measured, px, py)
    gamma = 4.0 / np.log(10.0)
    pixels = measured.plane.subtracted.astype(float)
    y, x = np.mgrid[:160, :160]
    expected = [
        (gamma * np.expm1(pixels / gamma))[np.hypot(x - a, y - b) < 7.0].sum()
        for a, b in zip(px, py, strict=True)
    ]
    np.testing.assert_allclose(measured.sources["FLUX_APER"][rows, 1], expected, rtol=0.05)


def test_photographic_mode_refuses_linear_images() -> None:
    exposure, _, _ = frame(size=120)
    config = replace(BASIC, extraction=replace(BASIC.extraction, detect_type="PHOTO"))
    with pytest.raises(ImageError, match="PHOTO"):
        run_measure(exposure, config=config)


@pytest.mark.parametrize(
    "options",
    [
        ["-GAIN", "4.7"],
        ["-WEIGHT_TYPE", "BACKGROUND", "-GAIN", "4.7", "-MASK_TYPE", "BLANK"],
        ["-ANALYSIS_THRESH", "4", "-PHOT_AUTOAPERS", "20,25", "-FILTER", "N", "-CLEAN", "N"],
    ],
)
def test_sextractor_finds_and_measures_the_same(
    tmp_path: Path,
    shared_data: Path,
    source_extractor: str,
    monkeypatch: pytest.MonkeyPatch,
    options: list[str],
) -> None:
    from astropy.io import fits

    configs = shared_data / "sextractor_configs/source-extractor"
    for name in ("default.sex", "default.conv", "default.nnw"):
        shutil.copy(configs / name, tmp_path)
    with fits.open(shared_data / "sdss_stripe82/fpC-004192-r4-0300.fit.gz") as hdus:
        fits.writeto(tmp_path / "image.fits", hdus[0].data[:700, :900], hdus[0].header)
    columns = (
        "NUMBER X_IMAGE Y_IMAGE X2_IMAGE ERRX2_IMAGE FLUX_ISO MAG_ISO MAG_ISOCOR MAG_AUTO "
        "MAG_PETRO MAG_BEST MAG_APER(3) FLUXERR_APER(3) FLUXERR_AUTO FLUX_RADIUS(2) XWIN_IMAGE "
        "YWIN_IMAGE X2WIN_IMAGE ERRX2WIN_IMAGE FWHM_IMAGE CLASS_STAR FLAGS"
    ).split()
    common = ["-DETECT_MINAREA", "5", "-PHOT_APERTURES", "5,10,20", "-PHOT_FLUXFRAC", "0.3,0.7"]
    monkeypatch.chdir(tmp_path)
    tables = parity.run_both(
        "image.fits", [*common, *options], tmp_path, Path("default.sex"), columns
    )
    assert parity.report(*tables, radius=0.5, strict=True) == 0
