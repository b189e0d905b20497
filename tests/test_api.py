"""The Python API: the numbers of the command line, any array, clear errors."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table

import skyextract as sky
from skyextract.cli import main
from skyextract.errors import ConfigError, ImageError

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
FIELD, REFERENCE = EXAMPLES / "field.fits.fz", EXAMPLES / "field_refcat.fits"


def assert_same(table, path):
    """Compare a table with a catalogue file, bit for bit."""
    with fits.open(path) as units:
        rows = units["LDAC_OBJECTS"].data
        assert rows.dtype.names == tuple(table.colnames)
        for name in rows.dtype.names:
            ours = np.asarray(table[name])
            assert ours.tobytes() == rows[name].astype(ours.dtype).tobytes(), name


@pytest.fixture(scope="module")
def stars():
    """A small frame of stars, its header, and where they are."""
    rng = np.random.default_rng(5)
    y, x = np.mgrid[:160, :200]
    image = rng.normal(100.0, 5.0, x.shape)
    places = [(20.0 + 32 * i, 22.0 + 30 * j) for i in range(6) for j in range(5)]
    for a, b in places:
        image += 900.0 * np.exp(-0.5 * ((x - a) ** 2 + (y - b) ** 2) / 1.6**2)
    return image.astype(np.float32), places


def test_import_is_light():
    code = (
        "import sys, skyextract; assert 'read' in dir(skyextract); "
        "print(sorted({'numpy', 'astropy', 'numba', 'click'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_names():
    assert len(sky.__all__) == 8
    for name in sky.__all__:
        assert callable(getattr(sky, name))
    with pytest.raises(AttributeError, match="no attribute 'reed'"):
        sky.reed  # noqa: B018


def test_columns_in_a_list(stars):
    image, places = stars
    names = ["NUMBER", "X_IMAGE", "FLUX_APER(2)"]
    sources = sky.measure(sky.exposure(image), PARAMETERS_NAME=names, PHOT_APERTURES=(4, 8))
    assert sources.table.colnames == ["NUMBER", "X_IMAGE", "FLUX_APER"]
    assert sources.table["FLUX_APER"].shape == (len(places), 2)
    with pytest.raises(ConfigError, match="PARAMETERS_NAME:2: X_IMGE: unknown"):
        sky.measure(sky.exposure(image), PARAMETERS_NAME=("NUMBER", "X_IMGE"))


def test_the_numbers_of_the_command_line(tmp_path):
    arguments = [str(FIELD), "-ASTREFCAT_NAME", str(REFERENCE), "-o", str(tmp_path)]
    assert main([*arguments, "-PHOT_APERTURES", "4,8", "-q"]) == 0
    given = {"ASTREFCAT_NAME": REFERENCE, "PHOT_APERTURES": (4, 8.0)}
    one = sky.process(FIELD, **given)
    assert isinstance(one.table, Table)
    assert_same(one.table, tmp_path / "field.cat")
    exposure = sky.characterize(sky.read(FIELD), phot_apertures=(4, 8))
    steps = sky.measure(exposure, phot_apertures=[4, 8])
    steps = sky.photometry(sky.astrometry(steps, ASTREFCAT_NAME=str(REFERENCE)))
    assert_same(steps.table, tmp_path / "field.cat")
    assert steps.metrics["photometry"] == one.metrics["photometry"]
    assert steps.table["MAG_AUTO"].unit == "mag"
    for thing in (one, exposure, exposure.psf, exposure.background, exposure.psf_stars):
        assert "\n" not in repr(thing)
        assert len(repr(thing)) < 150
    stamp = exposure.psf.stamp(100, 200)
    assert stamp.sum() == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize("dtype", [">f4", ">f8", "<f8", ">i4", "u2", "i8"])
def test_any_type_and_byte_order(stars, dtype):
    image = np.rint(stars[0]).astype(dtype)
    expected = sky.exposure(image.astype("f4"), gain=2.0)
    given = image.copy()
    exposure = sky.exposure(given, gain=2.0)
    np.testing.assert_array_equal(exposure.image, expected.image)
    assert exposure.image.dtype == np.float32
    assert exposure.image.flags.c_contiguous
    assert given.tobytes() == image.tobytes()
    exposure.image[0, 0] = -1.0
    assert given.tobytes() == image.tobytes()


def test_planes_of_an_exposure(stars):
    image = stars[0].copy()
    image[3, 4] = np.nan
    mask = np.zeros(image.shape, bool)
    mask[10, 11] = True
    variance = np.full(image.shape, 25.0)
    variance[5, 6] = 0.0
    header = {"GAIN": 3.0, "FILTER": "r"}
    exposure = sky.exposure(np.asfortranarray(image), header, mask, variance)
    assert exposure.detector.gain == 3.0
    assert exposure.image[3, 4] == 0.0
    assert (exposure.mask != 0).sum() == 3
    assert np.isinf(exposure.variance[5, 6])
    with pytest.raises(ValueError, match="variance says nothing of 100 %"):
        sky.exposure(image, variance=np.full(image.shape, np.inf))
    hidden = np.ma.MaskedArray(stars[0], mask)
    assert sky.exposure(hidden).mask[10, 11] != 0
    assert sky.exposure(image, header, gain=1.5).detector.gain == 1.5
    assert header == {"GAIN": 3.0, "FILTER": "r"}


def test_inputs_are_not_changed(stars):
    exposure = sky.exposure(stars[0], gain=2.0)
    before = exposure.image.copy(), exposure.mask.copy()
    sources = sky.measure(sky.characterize(exposure), DETECT_THRESH=5)
    assert len(sources) == len(stars[1])
    assert exposure.psf is None
    np.testing.assert_array_equal(exposure.image, before[0])
    np.testing.assert_array_equal(exposure.mask, before[1])
    found = np.sort(np.asarray(sources.table["XWIN_IMAGE"]))
    np.testing.assert_allclose(found, np.sort([x + 1 for x, _ in stars[1]]), atol=0.05)


def test_wrong_arguments(stars, tmp_path):
    exposure = sky.exposure(stars[0])
    with pytest.raises(
        TypeError, match=r"measure\(\) .*'DETECT_TRESH': did you mean DETECT_THRESH"
    ):
        sky.measure(exposure, DETECT_TRESH=3)
    with pytest.raises(ConfigError, match=r"measure\(\): DETECT_MINAREA = 0: must be"):
        sky.measure(exposure, DETECT_MINAREA=0)
    with pytest.raises(TypeError, match="writes no files"):
        sky.measure(exposure, CATALOG_NAME="a.cat")
    with pytest.raises(TypeError, match="is one step"):
        sky.measure(exposure, STEPS="characterize")
    with pytest.raises(TypeError, match=r"real numbers, not complex[0-9]+$"):
        sky.exposure(stars[0] * 1j)
    with pytest.raises(ValueError, match="must be 2-D"):
        sky.exposure(stars[0][0])
    with pytest.raises(ValueError, match="mask has shape"):
        sky.exposure(stars[0], mask=np.zeros((3, 3)))
    with pytest.raises(TypeError, match="DETECT_THRESH twice"):
        sky.measure(exposure, DETECT_THRESH=3, detect_thresh=4)
    for value in (b"3", object(), 0.2j):
        with pytest.raises(TypeError, match=r"measure\(\): DETECT_THRESH must be text, a number"):
            sky.measure(exposure, DETECT_THRESH=value)
    for gain in ("x", [1, 2], True):
        with pytest.raises(TypeError, match="gain must be a number"):
            sky.exposure(stars[0], gain=gain)
    with pytest.raises(TypeError, match="header must be a Header or a mapping"):
        sky.exposure(stars[0], "GAIN")
    with pytest.raises(ValueError, match="header card 'GAIN'"):
        sky.exposure(stars[0], {"GAIN": [1, 2]})
    for function, wrong in (
        (sky.measure, stars[0]), (sky.characterize, stars[0]), (sky.process, stars[0]),
        (sky.astrometry, exposure),
    ):  # fmt: skip
        with pytest.raises(TypeError, match=rf"{function.__name__}\(\) takes"):
            function(wrong)
    psf = sky.characterize(exposure).psf
    for x, error in (([1, 2], TypeError), ("a", TypeError), (np.nan, ValueError)):
        with pytest.raises(error, match="x must be"):
            psf.stamp(x, 1)
    units = [fits.PrimaryHDU(), fits.ImageHDU(stars[0]), fits.ImageHDU(stars[0])]
    fits.HDUList(units).writeto(tmp_path / "two.fits")
    with pytest.raises(ImageError, match="several images"):
        sky.read(tmp_path / "two.fits")
    assert sky.read(f"{tmp_path}/two.fits[2]").shape == stars[0].shape
