"""Rows come in SExtractor's order: its catalogue and ours can be joined by row."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from scipy.ndimage import gaussian_filter

from tests.compare import parity

pytestmark = pytest.mark.skipif(shutil.which("source-extractor") is None, reason="no SExtractor")

COLUMNS = "NUMBER X_IMAGE Y_IMAGE FLUX_ISO FLUX_AUTO ISOAREAF_IMAGE FLAGS ID_PARENT".split()


def crowd(path: Path, shape: tuple[int, int], n: int, seed: int, wings: float = 0.0) -> None:
    """Write a frame of stars and noise, many of them blended, with a share of light in wings."""
    rng = np.random.default_rng(seed)
    image = np.zeros(shape)
    place = rng.integers(0, shape[0], n), rng.integers(0, shape[1], n)
    np.add.at(image, place, 10 ** rng.uniform(2.5, 5.0, n))
    light = (1.0 - wings) * gaussian_filter(image, 1.6) + wings * gaussian_filter(image, 8.0)
    image = light + rng.normal(100.0, 5.0, shape)
    fits.writeto(path, image.astype(np.float32))


@pytest.mark.parametrize(
    ("shape", "options", "more"),
    [
        ((400, 300), [], []),
        ((1030, 200), [], []),
        ((1500, 200), ["-FILTER", "N"], []),
        ((1500, 200), ["-CLEAN", "N"], []),
        ((1500, 200), ["-PHOT_APERTURES", "90"], ["FLUX_APER"]),
        ((1500, 200), [], ["VIGNET(5,121)"]),
        ((1500, 200), ["-BACKPHOTO_TYPE", "LOCAL"], []),
        ((700, 300), ["-MEMORY_BUFSIZE", "200", "-MEMORY_OBJSTACK", "50"], []),
    ],
)
def test_same_rows(
    shape: tuple[int, int],
    options: list[str],
    more: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    crowd(tmp_path / "crowd.fits", shape, shape[0] * shape[1] // 200, sum(shape))
    (tmp_path / "a.sex").write_text(
        "FILTER_NAME default.conv\nSATUR_LEVEL 1e9\nCATALOG_TYPE FITS_1.0\n"
    )
    (tmp_path / "default.conv").write_text("CONV NORM\n1 2 1\n2 4 2\n1 2 1\n")
    monkeypatch.chdir(tmp_path)
    theirs, ours, _ = parity.run_both(
        "crowd.fits", options, tmp_path, Path("a.sex"), [*COLUMNS, *more]
    )
    assert len(theirs) == len(ours) > 200
    for name in ("NUMBER", "ID_PARENT", "ISOAREAF_IMAGE"):
        np.testing.assert_array_equal(ours[name], theirs[name])
    np.testing.assert_allclose(ours["X_IMAGE"], theirs["X_IMAGE"], atol=2e-3)
    np.testing.assert_allclose(ours["Y_IMAGE"], theirs["Y_IMAGE"], atol=2e-3)


def test_pixels_of_cleaned_detections(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last rows of a detection that was cleaned away stay blank in others' apertures."""
    crowd(tmp_path / "crowd.fits", (900, 900), 500, 4, wings=0.3)
    (tmp_path / "a.sex").write_text("SATUR_LEVEL 1e9\nCATALOG_TYPE FITS_1.0\n")
    (tmp_path / "default.conv").write_text("CONV NORM\n1 2 1\n2 4 2\n1 2 1\n")
    monkeypatch.chdir(tmp_path)
    theirs, ours, _ = parity.run_both("crowd.fits", [], tmp_path, Path("a.sex"), COLUMNS)
    np.testing.assert_array_equal(ours["NUMBER"], theirs["NUMBER"])
    off = np.abs(ours["FLUX_AUTO"] - theirs["FLUX_AUTO"]) > 1e-4 * np.abs(theirs["FLUX_AUTO"])
    assert off.mean() < 0.003


def test_a_small_frame_of_faint_sources(
    shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A detection takes in several others; none lies on the last row."""
    (tmp_path / "a.sex").write_text("CATALOG_TYPE FITS_1.0\n")
    (tmp_path / "default.conv").write_text("CONV NORM\n1 2 1\n2 4 2\n1 2 1\n")
    monkeypatch.chdir(tmp_path)
    image = str(shared_data / "ntt_emmi/sep/image.fits")
    theirs, ours, _ = parity.run_both(image, [], tmp_path, Path("a.sex"), COLUMNS)
    np.testing.assert_array_equal(ours["NUMBER"], theirs["NUMBER"])
    for name in ("X_IMAGE", "Y_IMAGE", "FLUX_ISO", "FLUX_AUTO"):
        np.testing.assert_allclose(ours[name], theirs[name], rtol=3e-4)
