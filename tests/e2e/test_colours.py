"""Colours and rows of dual-image mode, one command per band, of frames through different seeing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import galsim
import numpy as np
import pytest
from astropy.io import fits

from tests.e2e.conftest import Outcome

SIDE, STEP = 14, 38
GAIN, SKY = 2.0, 300.0
BANDS = {"det": (3.3, 1.0), "g": (4.4, 0.5)}
"""FWHM of the PSF in pixels, and brightness."""
FRAMES = 3
"""Of each band: an aperture correction has an error of 0.004 in the faintest one."""


def draw(fwhm: float, brightness: float) -> np.ndarray:
    """Draw stars and galaxies, one by one on a grid, the same whatever the band is."""
    rng = np.random.default_rng(11)
    psf = galsim.Moffat(beta=3.5, fwhm=fwhm).shear(g1=0.02)
    size = SIDE * STEP
    image = galsim.ImageF(size, size)
    for k in range(SIDE * SIDE):
        x, y = (STEP * (i + 0.5) + rng.uniform(-3, 3) for i in (k % SIDE, k // SIDE))
        flux = 10 ** rng.uniform(3.9, 4.8) * brightness
        profile = galsim.DeltaFunction()
        if k % 2:
            n = (0.7, 1.0, 2.0, 4.0)[rng.integers(4)]
            profile = galsim.Sersic(n=n, half_light_radius=rng.uniform(1.2, 3.5))
            profile = profile.shear(
                q=rng.uniform(0.4, 1.0), beta=rng.uniform(0, 3) * galsim.radians
            )
        seen = galsim.Convolve(profile, psf).withFlux(flux)
        reach = 40
        bounds = galsim.BoundsI(*(round(c) + d for c in (x, y) for d in (-reach, reach)))
        stamp = galsim.ImageF(bounds)
        seen.drawImage(stamp, scale=1, center=galsim.PositionD(x + 1, y + 1))
        both = stamp.bounds & image.bounds
        image[both] += stamp[both]
    return np.maximum(image.array.astype(np.float64), 0.0) + SKY


def expose(light: np.ndarray, seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed)
    return (noise.poisson(light * GAIN) / GAIN).astype(np.float32)


@pytest.fixture(scope="module")
def bands(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bands")
    for band, (name, (fwhm, brightness)) in enumerate(BANDS.items()):
        header = fits.Header({"GAIN": GAIN, "SATURATE": 1e7})
        light = draw(fwhm, brightness)
        for k in range(FRAMES):
            image = expose(light, seed=band + 10 * k)
            fits.PrimaryHDU(image, header).writeto(folder / f"{name}{k or ''}.fits")
    columns = "X_IMAGE Y_IMAGE FLUX_DETMODEL FLUXERR_DETMODEL FLUX_PSF SPREAD_MODEL"
    (folder / "p.param").write_text("\n".join(columns.split()))
    (folder / "rows.param").write_text("X_IMAGE\nY_IMAGE\nNUMBER\n")
    return folder


@pytest.fixture
def measured(
    bands: Path, skyextract: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[np.ndarray, Outcome]]:
    monkeypatch.chdir(bands)

    def run(band: str, *options: str, detection: str = "det") -> tuple[np.ndarray, Outcome]:
        done = skyextract(
            f"{detection}.fits,{band}.fits", "-PARAMETERS_NAME", "p.param",
            "-CATALOG_NAME", "o.cat",
            "-SUMMARY_NAME", "o.json", *options,
        )  # fmt: skip
        assert done.status == 0, done.stderr
        with fits.open(bands / "o.cat") as units:
            return np.array(units[2].data), Outcome(0, "", done.stderr, bands)

    return run


def test_colours_are_right_with_one_command_per_band(measured: Callable[..., tuple]) -> None:
    """No PSF is named: those of both images are measured."""
    medians = []
    for k in range(FRAMES):
        detection = f"det{k or ''}"
        tables = {name: measured(f"{name}{k or ''}", detection=detection) for name in BANDS}
        for name, (table, done) in tables.items():
            np.testing.assert_array_equal(table["X_IMAGE"], tables["det"][0]["X_IMAGE"])
            assert len(table) > 0.98 * SIDE * SIDE
            step = done.summary("o.json")[0]["steps"]["characterize"]
            assert step["detection_psf_source"] == "MEASURED", name
            assert step["detection_fwhm_pix"] == pytest.approx(BANDS["det"][0], rel=0.06)
            assert "DETMODEL" not in done.stderr
        star = tables["det"][0]["SPREAD_MODEL"] < 0.004
        assert 0.3 < star.mean() < 0.7
        ratio = tables["g"][0]["FLUX_DETMODEL"] / tables["det"][0]["FLUX_DETMODEL"]
        colour = -2.5 * np.log10(ratio / (BANDS["g"][1] / BANDS["det"][1]))
        medians.append([float(np.median(colour[kind])) for kind in (star, ~star)])
        for kind in (star, ~star):
            assert np.diff(np.percentile(colour[kind], (16, 84)))[0] < 0.06
    assert np.all(np.abs(np.mean(medians, axis=0)) < 0.01), medians


def test_fluxes_of_a_difference_have_signs(bands: Path, measured: Callable[..., tuple]) -> None:
    """What is fainter than before is fitted as well as what is brighter, and is no failed fit."""
    straight, _ = measured("g")
    with fits.open(bands / "g.fits") as units:
        image = units[0].data
        middle = image.shape[1] // 2
        image[:, middle:] = 2 * SKY - image[:, middle:]
        units.writeto(bands / "half.fits")
    columns = "X_IMAGE FLUX_PSF FLUXERR_PSF FLAGS_SKY"
    (bands / "signs.param").write_text("\n".join(columns.split()))
    table, _ = measured("half", "-PARAMETERS_NAME", "signs.param")
    star = (straight["SPREAD_MODEL"] < 0.004) & (np.abs(table["X_IMAGE"] - middle) > 10)
    sign = np.where(table["X_IMAGE"] > middle, -1.0, 1.0)[star]
    assert np.mean((table["FLAGS_SKY"][star] & 8) == 0) > 0.98
    ratio = sign * table["FLUX_PSF"][star] / straight["FLUX_PSF"][star]
    assert np.median(ratio[sign < 0]) == pytest.approx(np.median(ratio[sign > 0]), abs=0.02)


def test_a_psf_that_is_not_measured_is_told(measured: Callable[..., tuple]) -> None:
    """Without it, colours of galaxies are wrong: this is what the measurement mends."""
    table, done = measured("g", "--steps", "measure")
    assert "det.fits was not characterized" in done.stderr
    assert "the PSF of the detection image is not known" in done.stderr
    assert len(table) > 0.9 * SIDE * SIDE


def test_rows_do_not_depend_on_the_image_that_is_measured(measured: Callable[..., tuple]) -> None:
    """Faint sources are found by the PSF of the image that they are found on."""
    rows = [
        measured(name, "-PARAMETERS_NAME", "rows.param", "-DETECT_THRESH", "3")[0] for name in BANDS
    ]
    assert len(rows[0]) > SIDE * SIDE
    for name in ("X_IMAGE", "Y_IMAGE", "NUMBER"):
        np.testing.assert_array_equal(rows[1][name], rows[0][name])


def test_rows_of_a_detection_image_without_stars(
    bands: Path, measured: Callable[..., tuple]
) -> None:
    """A default stands in for the filter, whatever is measured, and the summary says so."""
    noise = np.random.default_rng(5)
    image = noise.normal(SKY, (SKY / GAIN) ** 0.5, (SIDE * STEP, SIDE * STEP))
    image[99:103, 200:204] += 300.0
    header = fits.Header({"GAIN": GAIN, "SATURATE": 1e7})
    fits.PrimaryHDU(image.astype(np.float32), header).writeto(bands / "few.fits")
    rows = [measured(name, "-PARAMETERS_NAME", "rows.param", detection="few") for name in BANDS]
    step = rows[1][1].summary("o.json")[0]["steps"]["characterize"]
    assert step["status"] == "fallback"
    assert step["reason"].startswith("few.fits: ")
    assert (step["detection_psf_source"], step["detection_fwhm_pix"]) == ("DEFAULT", None)
    assert len(rows[0][0]) > 0
    for table, _ in rows[1:]:
        np.testing.assert_array_equal(table["X_IMAGE"], rows[0][0]["X_IMAGE"])


def test_the_measurement_image_is_fitted_only_where_its_models_are_asked_for(
    bands: Path, measured: Callable[..., tuple]
) -> None:
    (bands / "both.param").write_text("X_IMAGE\nFLUX_DETMODEL\nFLUXERR_DETMODEL\nFLUX_MODEL\n")
    (bands / "alone.param").write_text("X_IMAGE\nFLUX_DETMODEL\nFLUXERR_DETMODEL\n")
    alone, told = measured("g", "-VERBOSE_TYPE", "FULL", "-PARAMETERS_NAME", "alone.param")
    both, told_both = measured("g", "-VERBOSE_TYPE", "FULL", "-PARAMETERS_NAME", "both.param")
    assert told.stderr.count("galaxy models:") == 1
    assert told_both.stderr.count("galaxy models:") == 2
    for name in ("FLUX_DETMODEL", "FLUXERR_DETMODEL"):
        np.testing.assert_array_equal(alone[name], both[name])
