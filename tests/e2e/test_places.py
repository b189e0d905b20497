"""Products that others read by place keep the places of extensions without results."""

from __future__ import annotations

import shutil
import subprocess

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS

from tests.simulate.badframes import good_frame

OTHERWISE = {2: "blank", 3: "without values", 4: "elsewhere"}
"""Chips of the mosaic that have no solution; the others are 1 and 5."""
STEP = 0.1
"""Declination of one chip over that of the one before, degrees."""


@pytest.fixture
def mosaic(tmp_path):
    """Write five chips, the last with wider stars, and their references; return the true WCS."""
    units, references, truth = [fits.PrimaryHDU()], [], {}
    for chip in range(1, 6):
        frame = good_frame(chip, 120, fwhm=4.5 if chip == 5 else 3.2)
        image, header = frame.image, frame.header.copy()
        header["CRVAL2"] += STEP * chip
        truth[chip] = WCS(header)
        header["EXTNAME"] = f"C{chip}"
        if chip in OTHERWISE:
            image = {2: np.zeros_like(image), 3: np.full_like(image, np.nan), 4: image}[chip]
            header["CRVAL1"] += 20.0 if chip == 4 else 0.0
        else:
            references.append(Table(frame.reference))
            references[-1]["dec"] += STEP * chip
        units.append(fits.ImageHDU(image, header))
    fits.HDUList(units).writeto(tmp_path / "m.fits")
    names = references[0].colnames
    joined = np.concatenate([np.column_stack([t[n] for n in names]) for t in references])
    np.savetxt(tmp_path / "ref.csv", joined, "%.9f", ",", header=",".join(names), comments="")
    return truth


@pytest.fixture
def done(skyextract, mosaic):
    """Run the program with all products that have a place for each extension."""
    return skyextract(
        "m.fits", "-ASTREFCAT_NAME", "ref.csv", "-HEAD_NAME", "made.head",
        "-PSFMODEL_NAME", "made.psf", "-MATCH_NAME", "match.fits",
        "-CHECKIMAGE_TYPE", "SEGMENTATION", "-CHECKIMAGE_NAME", "seg.fits",
    )  # fmt: skip


def test_each_extension_has_its_part_of_every_product(done, tmp_path):
    assert done.status == 1
    blocks = (tmp_path / "made.head").read_text().split("END ")[:-1]
    assert ["CRVAL1" in block for block in blocks] == [True, False, False, False, True]
    with fits.open(tmp_path / "made.psf") as models:
        sources = [unit.header["PSFSRC"] for unit in models[1:]]
        assert sources == ["MEASURED", "DEFAULT", "DEFAULT", "MEASURED", "MEASURED"]
        assert models[5].header["PSF_FWHM"] == pytest.approx(4.5, rel=0.1)
    with fits.open(tmp_path / "m.cat") as units:
        assert [unit.name for unit in units[1:]] == ["LDAC_IMHEAD", "LDAC_OBJECTS"] * 5
        for chip, unit in enumerate(units[2::2], 1):
            assert set(np.unique(unit.data["EXT_NUMBER"])) <= {chip}
            assert (len(unit.data) > 50) == (chip not in (2, 3))
    with fits.open(tmp_path / "seg.fits") as units:
        assert [unit.name for unit in units[1:]] == [f"C{chip}" for chip in range(1, 6)]
        assert units[3].data is None
    with fits.open(tmp_path / "match.fits") as units:
        assert {unit.header["EXTVER"] for unit in units[1:]} == {1, 5}


def test_the_head_of_a_mosaic_gives_each_extension_its_own_wcs(done, skyextract, mosaic, tmp_path):
    shutil.move(tmp_path / "made.head", tmp_path / "m.head")
    skyextract("m.fits", "-CATALOG_NAME", "again.cat")
    with fits.open(tmp_path / "again.cat") as units:
        for chip in (1, 5):
            found = units[2 * chip].data
            x, y = mosaic[chip].all_world2pix(found["ALPHA_J2000"], found["DELTA_J2000"], 1)
            assert np.median(np.abs(x - found["X_IMAGE"])) < 0.2
            assert np.median(np.abs(y - found["Y_IMAGE"])) < 0.2


def test_the_psf_of_a_mosaic_is_that_of_each_extension(done, skyextract, tmp_path):
    again = skyextract("m.fits", "-PSF_NAME", "made.psf", "-CATALOG_NAME", "again.cat")
    steps = {entry["extension"]: entry["steps"]["measure"] for entry in again.summary("m.json")}
    assert steps[1]["status"] == steps[4]["status"] == steps[5]["status"] == "complete"
    assert "m.fits[2]: made.psf: image extension 2 has no PSF there, only a guess" in again.stderr
    with fits.open(tmp_path / "m.cat") as first, fits.open(tmp_path / "again.cat") as second:
        ratio = second[10].data["FLUX_PSF"] / first[10].data["FLUX_PSF"]
    assert np.nanmedian(ratio) == pytest.approx(1.0, abs=0.03)


def test_sextractor_reads_them(done, source_extractor, tmp_path):
    columns = "X_IMAGE Y_IMAGE FLUX_PSF ALPHA_J2000 DELTA_J2000 EXT_NUMBER".split()
    (tmp_path / "p.param").write_text("\n".join(columns) + "\n")
    defaults = subprocess.run([source_extractor, "-d"], check=True, capture_output=True)
    (tmp_path / "d.sex").write_bytes(defaults.stdout)
    with fits.open(tmp_path / "m.fits") as units:
        units[3].data[:] = 0.0  # which it does not survive
        units.writeto(tmp_path / "n.fits")
    shutil.copy(tmp_path / "made.head", tmp_path / "n.head")
    subprocess.run(
        [source_extractor, "n.fits", "-c", "d.sex", "-PARAMETERS_NAME", "p.param",
         "-FILTER", "N", "-DETECT_THRESH", "5", "-CATALOG_TYPE", "FITS_LDAC",
         "-CATALOG_NAME", "n.cat", "-PSF_NAME", "made.psf", "-VERBOSE_TYPE", "QUIET"],
        cwd=tmp_path, check=True, capture_output=True,
    )  # fmt: skip
    with fits.open(tmp_path / "m.cat") as ours, fits.open(tmp_path / "n.cat") as theirs:
        for unit in (2, 10):
            own, its = ours[unit].data, theirs[unit].data
            distance = np.hypot(*(own[c][:, None] - its[c] for c in ("X_IMAGE", "Y_IMAGE")))
            both, row = distance.min(1) < 0.5, distance.argmin(1)
            assert both.sum() > 30
            its = its[row][both]
            assert np.median(its["FLUX_PSF"] / own["FLUX_PSF"][both]) == pytest.approx(1, abs=0.05)
            gap = (its["DELTA_J2000"] - own["DELTA_J2000"][both]) * 3600.0
            assert abs(np.median(gap)) < 0.05


def test_a_file_without_any_result_writes_no_pairs(skyextract, tmp_path):
    units = [fits.PrimaryHDU(), *(fits.ImageHDU(np.full((64, 64), np.nan, "f4")) for _ in "ab")]
    fits.HDUList(units).writeto(tmp_path / "none.fits")
    done = skyextract("none.fits", "-MATCH_NAME", "match.fits")
    assert done.status == 1
    assert not (tmp_path / "match.fits").exists()
