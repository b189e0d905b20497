"""SCAMP and PSFEx on our catalogue and on SExtractor's of the same frame."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

COLUMNS = """NUMBER X_IMAGE Y_IMAGE XWIN_IMAGE YWIN_IMAGE ERRAWIN_IMAGE ERRBWIN_IMAGE
ERRTHETAWIN_IMAGE FLUX_AUTO FLUXERR_AUTO MAG_AUTO MAGERR_AUTO FLUX_APER FLUXERR_APER FLUX_RADIUS
ELONGATION SNR_WIN FLAGS VIGNET(35,35)"""


@pytest.fixture(scope="module")
def catalogues(real_frame_folder: Callable[[], Path], source_extractor: str) -> dict[str, Path]:
    """The catalogues of the SDSS r frame by both programs, with the same file and options."""
    folder = real_frame_folder()
    (folder / "run.param").write_text("\n".join(COLUMNS.split()) + "\n")
    options = [
        "image.fits", "-c", "default.sex", "-PARAMETERS_NAME", "run.param",
        "-CATALOG_TYPE", "FITS_LDAC", "-PIXEL_SCALE", "0", "-GAIN", "4.7",
        "-PHOT_APERTURES", "15", "-DETECT_THRESH", "3", "-SATUR_LEVEL", "40000",
    ]  # fmt: skip
    programs = {"ours": [sys.executable, "-m", "skyextract"], "peer": [source_extractor]}
    for name, program in programs.items():
        subprocess.run(
            [*program, *options, "-CATALOG_NAME", f"{name}.cat"],
            cwd=folder, check=True, capture_output=True,
        )  # fmt: skip
    return {name: folder / f"{name}.cat" for name in programs}


def run(program: str, catalogue: Path, *options: str) -> None:
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed")
    subprocess.run(
        [program, catalogue.name, "-CHECKPLOT_DEV", "NULL", "-WRITE_XML", "N",
         "-VERBOSE_TYPE", "QUIET", *options],
        cwd=catalogue.parent, check=True, capture_output=True,
    )  # fmt: skip


@pytest.fixture(scope="module")
def models(catalogues: dict[str, Path]) -> dict[str, Path]:
    """PSFEx's models of both."""
    for catalogue in catalogues.values():
        run(
            "psfex", catalogue, "-CHECKIMAGE_TYPE", "NONE", "-PSF_SUFFIX", ".psf",
            "-PSFVAR_DEGREES", "0",
        )  # fmt: skip
    return {name: catalogue.with_suffix(".psf") for name, catalogue in catalogues.items()}


def test_psfex_finds_the_same_psf(models: dict[str, Path]) -> None:
    fwhm = {}
    for name, model in models.items():
        header = fits.getheader(model, 1)
        assert header["ACCEPTED"] > 50
        fwhm[name] = header["PSF_FWHM"]
    assert fwhm["ours"] == pytest.approx(fwhm["peer"], rel=0.01)


def test_spread_model_and_magnitudes_are_on_the_scale_of_sextractor(
    models: dict[str, Path], source_extractor: str
) -> None:
    """With one PSF file, of a real PSF with wings."""
    folder = models["peer"].parent
    columns = ("X_IMAGE", "Y_IMAGE", "SPREAD_MODEL", "SPREADERR_MODEL", "MAG_PSF", "MAGERR_PSF")
    (folder / "spread.param").write_text("\n".join(columns) + "\n")
    tables = []
    programs = {"ours": [sys.executable, "-m", "skyextract"], "peer": [source_extractor]}
    for name, program in programs.items():
        subprocess.run(
            [*program, "image.fits", "-c", "default.sex", "-PARAMETERS_NAME", "spread.param",
             "-CATALOG_TYPE", "FITS_LDAC", "-CATALOG_NAME", f"{name}.spread", "-PIXEL_SCALE", "0",
             "-GAIN", "4.7", "-SATUR_LEVEL", "40000", "-DETECT_THRESH", "15",
             "-PSF_NAME", "peer.psf"],
            cwd=folder, check=True, capture_output=True,
        )  # fmt: skip
        tables.append(fits.getdata(folder / f"{name}.spread", 2))
    own, its = tables
    distance = np.hypot(*(own[c][:, None] - its[c] for c in columns[:2]))
    both, row = distance.min(axis=1) < 0.5, distance.argmin(axis=1)
    # Magnitudes, too: PSFEx's unit is the light within PHOTFLUX_KEY, not the sum of the model.
    pairs = own[both], its[row[both]]
    points = (pairs[0]["MAGERR_PSF"] < 0.05) & (pairs[1]["MAG_PSF"] < 90.0)
    points &= np.abs(pairs[1]["SPREAD_MODEL"]) < 0.003
    assert points.sum() > 20
    assert abs(np.median(pairs[0]["MAG_PSF"][points] - pairs[1]["MAG_PSF"][points])) < 0.005
    own, its = (table["SPREAD_MODEL"] for table in pairs)
    known = (its > 0.01) & (pairs[1]["SPREADERR_MODEL"] < 0.05 * its) & np.isfinite(own)
    assert known.sum() > 10
    assert np.median(own[known] / its[known]) == pytest.approx(1.0, abs=0.03)


def test_scamp_finds_the_same_solution(catalogues: dict[str, Path], shared_data: Path) -> None:
    reference = shared_data / "sdss_stripe82/refcat/sdss_stars_field.ldac"
    rms = {}
    for name, catalogue in catalogues.items():
        run(
            "scamp", catalogue, "-ASTREF_CATALOG", "FILE", "-ASTREFCAT_NAME", str(reference),
            "-SOLVE_PHOTOM", "N",
        )  # fmt: skip
        text = catalogue.with_suffix(".head").read_text()
        rms[name] = [float(re.search(rf"ASTRRMS{i}= *(\S+)", text)[1]) for i in (1, 2)]
    assert rms["ours"] == pytest.approx(rms["peer"], rel=0.1)
    assert max(rms["ours"]) < 0.05 / 3600
