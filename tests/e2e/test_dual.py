"""Dual-image mode: what is a list for the two images, against SExtractor with the same lists."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table

from tests.e2e.conftest import Outcome

SIZE = 260
FWHM = {"det": 2.5, "meas": 4.0}
FLUX_RATIO = 0.5
SIGMA = 10.0
BOTH = "det.fits,meas.fits -DETECT_THRESH 3 -ANALYSIS_THRESH 3 -PHOT_APERTURES 6 -FILTER N"
WEIGHT = "-WEIGHT_IMAGE det.weight.fits,meas.weight.fits -WEIGHT_TYPE MAP_WEIGHT"
COLUMNS = """NUMBER X_IMAGE Y_IMAGE XWIN_IMAGE FLUX_AUTO FLUXERR_AUTO FLUX_APER FLUXERR_APER
MAGERR_AUTO ERRA_IMAGE FLUX_RADIUS KRON_RADIUS A_IMAGE BACKGROUND
THRESHOLD FLAGS NLOWWEIGHT_ISO NLOWDWEIGHT_ISO""".split()

LISTS = {
    "INTERP_TYPE": f"{WEIGHT} -INTERP_TYPE ALL",
    "INTERP_TYPE of the second": f"{WEIGHT} -INTERP_TYPE NONE,ALL",
    "INTERP_TYPE of both": f"{WEIGHT} -INTERP_TYPE VAR_ONLY,ALL -INTERP_MAXXLAG 2,16 "
    "-INTERP_MAXYLAG 2,16",
    "RESCALE_WEIGHTS": f"{WEIGHT} -RESCALE_WEIGHTS Y,N",
    "RESCALE_WEIGHTS of both": f"{WEIGHT} -RESCALE_WEIGHTS N -GAIN 2 -DETECT_THRESH 30",
    "WEIGHT_TYPE": "-WEIGHT_IMAGE det.variance.fits,meas.rms.fits -WEIGHT_TYPE MAP_VAR,MAP_RMS",
    "WEIGHT_TYPE of the first": "-WEIGHT_IMAGE det.weight.fits,none -WEIGHT_TYPE MAP_WEIGHT,NONE",
    "WEIGHT_TYPE without maps": "-WEIGHT_TYPE NONE,BACKGROUND",
    "BACK_TYPE": "-BACK_TYPE MANUAL,AUTO -BACK_VALUE 990",
    "THRESH_TYPE": "-THRESH_TYPE ABSOLUTE,RELATIVE -DETECT_THRESH 40",
}


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Stars through two PSFs, in noise that the maps of weight, variance and rms describe."""
    folder = tmp_path_factory.mktemp("dual")
    rng = np.random.default_rng(3)
    y, x = np.mgrid[:SIZE, :SIZE].astype(float)
    grid = np.arange(20.0, SIZE - 19.0, 24.0)
    px, py = (v.ravel() + rng.uniform(-4, 4, v.size) for v in np.meshgrid(grid, grid))
    flux = 10 ** rng.uniform(3.2, 5.0, px.size)
    Table({"x": px + 1.0, "y": py + 1.0, "flux": flux}).write(folder / "truth.fits")
    for k, (name, fwhm) in enumerate(FWHM.items()):
        s2 = (fwhm / 2.3548) ** 2
        light = sum(
            f / (2 * np.pi * s2) * np.exp(-((x - a) ** 2 + (y - b) ** 2) / (2 * s2))
            for a, b, f in zip(px, py, flux * FLUX_RATIO**k, strict=True)
        )
        weight = np.where(x < SIZE // 2, 1.0, 0.25)
        rms = SIGMA / np.sqrt(weight)
        image = 1000.0 + light + rng.normal(0.0, rms)
        # Lines without weight: of the detection image across rows, of the other across columns.
        weight[(slice(99, 103), slice(None)) if k == 0 else (slice(None), slice(79, 82))] = 0.0
        fits.PrimaryHDU(image.astype(np.float32)).writeto(folder / f"{name}.fits")
        for kind, values in (
            ("weight", weight), ("rms", rms),
            ("variance", np.where(weight > 0.0, rms**2, 1e30)),
        ):  # fmt: skip
            fits.PrimaryHDU(values.astype(np.float32)).writeto(folder / f"{name}.{kind}.fits")
    (folder / "list.param").write_text("\n".join(COLUMNS) + "\n")
    (folder / "psf.param").write_text("X_IMAGE\nY_IMAGE\nFLUX_APER\nFLUX_PSF\n")
    return folder


def catalog(path: Path) -> np.ndarray:
    with fits.open(path) as units:
        table = np.array(units[2].data)
    return table[np.argsort(table["X_IMAGE"], kind="stable")]


@pytest.mark.parametrize("options", LISTS.values(), ids=LISTS)
def test_lists_mean_what_they_mean_in_sextractor(
    images: Path, source_extractor: str, skyextract: Callable[..., Outcome],
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, options: str,
) -> None:  # fmt: skip
    arguments = [
        *BOTH.split(), *options.split(), "-PARAMETERS_NAME", "list.param",
        "-CATALOG_TYPE", "FITS_LDAC", "-VERBOSE_TYPE", "QUIET",
    ]  # fmt: skip
    theirs, ours = tmp_path / "theirs.ldac", tmp_path / "ours.ldac"
    subprocess.run(
        [source_extractor, *arguments, "-CATALOG_NAME", theirs],
        cwd=images, check=True, capture_output=True, timeout=60,
    )  # fmt: skip
    monkeypatch.chdir(images)
    done = skyextract(
        *arguments, "-BASE_DEFAULTS", "SEXTRACTOR", "-CATALOG_NAME", ours, "-SUMMARY_NAME", ""
    )
    assert done.status == 0, done.stderr
    one, two = catalog(theirs), catalog(ours)
    assert len(one) == len(two) > 80
    for name in COLUMNS[1:]:
        np.testing.assert_allclose(two[name], one[name], rtol=2e-3, atol=1e-6, err_msg=name)


def test_each_image_has_its_psf(
    images: Path, skyextract: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first model is the filter of the detection image, the second is fitted to the other."""
    for name in FWHM:
        model = images / f"{name}.psf"
        monkeypatch.chdir(images)
        done = skyextract(f"{name}.fits", "--steps", "characterize", "-PSFMODEL_NAME", model)
        assert done.status == 0, done.stderr

    def run(models: str) -> np.ndarray:
        done = skyextract(
            "det.fits,meas.fits", "-PSF_NAME", models, "-PARAMETERS_NAME", "psf.param",
            "-CATALOG_NAME", "out.ldac",
        )  # fmt: skip
        assert done.status == 0, done.stderr
        return catalog(images / "out.ldac")

    both, filtered, fitted = run("det.psf,meas.psf"), run("det.psf"), run("meas.psf")
    np.testing.assert_array_equal(both["X_IMAGE"], filtered["X_IMAGE"])
    assert not np.array_equal(both["X_IMAGE"], fitted["X_IMAGE"])
    truth = Table.read(images / "truth.fits")
    distance = np.hypot(
        both["X_IMAGE"][:, None] - truth["x"].data, both["Y_IMAGE"][:, None] - truth["y"].data
    )
    star, near = distance.argmin(axis=1), distance.min(axis=1) < 1.0
    true = truth["flux"].data[star[near]] * FLUX_RATIO
    assert near.sum() > 80
    assert np.median(both["FLUX_PSF"][near] / true) == pytest.approx(1.0, abs=0.02)
    # A model that is too sharp, which SExtractor fits here.
    assert np.median(filtered["FLUX_PSF"] / both["FLUX_PSF"]) < 0.8


def test_models_that_are_missing_are_named(
    images: Path, skyextract: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(images)
    done = skyextract("det.fits,meas.fits", "-PSF_NAME", "none1.psf,none2.psf")
    assert done.status == 2
    assert "none1.psf,none2.psf: no such file" in done.stderr


@pytest.mark.parametrize("shift", [0, 1, 5])
def test_an_image_that_is_displaced_is_told_of(
    images: Path, skyextract: Callable[..., Outcome], tmp_path: Path, shift: int
) -> None:
    for name, moved in (("det", 0), ("meas", shift)):
        image = np.roll(fits.getdata(images / f"{name}.fits"), moved, axis=1)
        fits.writeto(tmp_path / f"{name}.fits", image, overwrite=True)
    done = skyextract("det.fits,meas.fits", "--steps", "characterize,measure")
    assert (f"is displaced by (+{shift}.0, " in done.stderr) == (shift > 0)
    [summary] = done.summary("meas.json")
    status = "fallback" if shift else "complete"
    assert summary["steps"]["measure"]["status"] == status


def test_headers_of_two_skies_are_told_of(
    images: Path, skyextract: Callable[..., Outcome], tmp_path: Path
) -> None:
    """Where pixels cannot be compared; registered ones are told of, not doubted.

    What pixels show themselves, a displacement of any size, is not left to headers.
    """
    cards = {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 150.0, "CRVAL2": 2.0,
             "CRPIX2": SIZE / 2, "CDELT1": -1e-4, "CDELT2": 1e-4}  # fmt: skip
    detected, measured = (fits.getdata(images / f"{name}.fits") for name in ("det", "meas"))
    moved, mirrored = np.roll(measured, 50, 1), measured[::-1, ::-1]
    for name, image in zip(
        ("det", "moved", "meas", "alike"), (detected, moved, mirrored, measured), strict=True
    ):
        header = fits.Header(cards | {"CRPIX1": SIZE / 2 + (50 if name != "det" else 0)})
        fits.writeto(tmp_path / f"{name}.fits", image, header)
    weights = np.ones((SIZE, SIZE), np.float32)
    maps = ("-WEIGHT_TYPE", "NONE,MAP_WEIGHT", "-WEIGHT_IMAGE", "none,det.weight.fits")
    fits.writeto(tmp_path / "det.weight.fits", weights, fits.Header(cards | {"CRPIX1": SIZE / 2}))
    steps = ("--steps", "measure")
    for name, status in (("meas", "fallback"), ("alike", "complete")):
        done = skyextract(f"det.fits,{name}.fits", *steps, *(maps if name == "alike" else ()))
        assert "the image to measure lies (+50.0, +0.0) pixels from the image to" in done.stderr
        [summary] = done.summary(f"{name}.json")
        assert summary["steps"]["measure"]["status"] == status
    assert "(+50.0, +0.0) pixels from its map det.weight.fits" in done.stderr
    done = skyextract("det.fits,moved.fits", *steps)
    assert "is displaced by (+50.0, " in done.stderr
    assert "by their headers" not in done.stderr
