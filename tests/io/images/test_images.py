"""Reading images: every storage type against astropy, and everything that can be wrong."""

import gzip
import logging
import lzma
import math
import warnings
from dataclasses import replace

import numpy as np
import pytest
from astropy.io import fits

from skyextract.datamodel.exposure import Exposure
from skyextract.datamodel.flags import Mask
from skyextract.datamodel.header import header_number
from skyextract.errors import ImageError
from skyextract.io.images.scale import pixel_scale
from skyextract.run import Run
from tests.io.reading import CONFIG, pattern, read, read_one, with_detector

TYPES = ["u1", "i1", "i2", "u2", "i4", "u4", "i8", "f4", "f8"]


def test_multi_extension_and_inheritance(tmp_path):
    primary = fits.PrimaryHDU()
    primary.header.update(
        {"EXPTIME": "53.907", "FILTER": "r", "GAIN": 1.0, "CTYPE1": "RA---TAN", "CD1_1": 9.0}
    )
    primary.header["HISTORY"] = "made by hand"
    own = fits.Header({"GAIN": "2.1 e-/ADU", "EXTNAME": "SCI", "EXTVER": 1})
    closed = fits.Header({"INHERIT": False, "EXTNAME": "CHIP2"})
    with_wcs = fits.Header({"CRPIX1": 5.0, "EXTNAME": "SCI", "EXTVER": 2})
    image = np.ones((4, 5), np.float32)
    table = fits.BinTableHDU.from_columns([fits.Column("A", "E", array=[1.0])])
    units = [primary]
    units += [fits.ImageHDU(image * k, h) for k, h in enumerate((own, closed, with_wcs))]
    fits.HDUList([*units, table]).writeto(tmp_path / "m.fits")
    first, second, third = read(tmp_path / "m.fits")
    assert [e.extension for e in (first, second, third)] == [1, 2, 3]
    assert first.detector.gain == 2.1
    assert first.detector.exposure_time == 53.907
    assert first.header["FILTER"] == "r"
    assert first.header["CD1_1"] == 9.0
    assert "HISTORY" in first.header
    assert "FILTER" not in second.header
    assert math.isnan(second.detector.exposure_time)
    assert third.header["FILTER"] == "r"
    assert "CD1_1" not in third.header  # a WCS is inherited whole or not at all
    assert read_one(f"{tmp_path}/m.fits[3]").extension == 3
    assert read_one(f"{tmp_path}/m.fits[chip2]").extension == 2
    assert [e.extension for e in read(f"{tmp_path}/m.fits[SCI]")] == [1, 3]
    for wrong in ("4", "5", "0", "NONE"):
        with pytest.raises(ImageError, match=r"no image|no such extension"):
            read(f"{tmp_path}/m.fits[{wrong}]")


def test_dimensions(tmp_path):
    plane = np.ones((1, 4, 5), np.float32)
    fits.HDUList(
        [
            fits.PrimaryHDU(plane),
            fits.ImageHDU(np.ones((2, 4, 5), np.float32)),
            fits.ImageHDU(np.ones(7, np.float32)),
            fits.ImageHDU(np.ones((5, 5), np.float32) * np.nan),
            fits.ImageHDU(np.ones((1, 1), np.int16)),
        ]
    ).writeto(tmp_path / "d.fits")
    good, first, second, blank, pixel = read(tmp_path / "d.fits")
    assert good.shape == (4, 5)
    assert [plane.plane for plane in (first, second)] == [1, 2]
    assert pixel.shape == (1, 1)
    assert "no pixel has a value" in str(blank.error)
    assert f"d.fits[{blank.extension}]: " in str(blank)
    (line,) = read(f"{tmp_path}/d.fits[2]")  # a spectrum is no image, but if it is asked for
    assert "1 axes" in str(line.error)


def test_zero_size(tmp_path):
    empty = b"".join(
        card.ljust(80)
        for card in (b"SIMPLE  = T", b"BITPIX  = 16", b"NAXIS   = 2", b"NAXIS1  = 0",
                     b"NAXIS2  = 7", b"END")
    ).ljust(2880)  # fmt: skip
    (tmp_path / "z.fits").write_bytes(empty)
    (failed,) = read(tmp_path / "z.fits")
    assert failed.extension == 0
    assert "no pixels" in str(failed)


@pytest.mark.parametrize("dtype", ["i2", "f8"])
@pytest.mark.parametrize("keep", [0, 1, 2880, 4000])
def test_truncated_data(tmp_path, dtype, keep):
    fits.PrimaryHDU(pattern(dtype)).writeto(tmp_path / "a.fits")
    data = (tmp_path / "a.fits").read_bytes()
    cut = 2880 + keep if keep >= 0 else len(data) + keep
    (tmp_path / "t.fits").write_bytes(data[:cut])
    (failed,) = read(tmp_path / "t.fits")
    assert "truncated" in str(failed)


def test_missing_filling_is_no_truncation(tmp_path):
    image = pattern("i2")
    fits.PrimaryHDU(image).writeto(tmp_path / "a.fits")
    data = (tmp_path / "a.fits").read_bytes()
    (tmp_path / "t.fits").write_bytes(data[: 2880 + image.nbytes])
    np.testing.assert_array_equal(read_one(tmp_path / "t.fits").image, image)


def test_truncated_extension_leaves_the_others(tmp_path):
    image = pattern("i2")
    units = [fits.PrimaryHDU(), fits.ImageHDU(image), fits.ImageHDU(image)]
    fits.HDUList(units).writeto(tmp_path / "a.fits")
    data = (tmp_path / "a.fits").read_bytes()
    (tmp_path / "t.fits").write_bytes(data[:-3000])
    good, failed = read(tmp_path / "t.fits")
    assert good.extension == 1
    assert failed.extension == 2
    assert "truncated" in str(failed)
    # in the middle of the second header
    size = -(-image.nbytes // 2880) * 2880
    (tmp_path / "h.fits").write_bytes(data[: 2880 * 2 + size + 160])
    good, failed = read(tmp_path / "h.fits")
    assert good.extension == 1
    assert failed.extension == 2
    assert "END" in str(failed)


def test_what_follows_the_last_header_unit(tmp_path):
    """Bytes of another program cost nothing; a header that is damaged may be that of an image."""
    noise = np.random.default_rng(1).normal(100, 10, (40, 50)).astype(np.int16)
    units = fits.HDUList([fits.PrimaryHDU(noise), fits.ImageHDU(noise), fits.ImageHDU(noise)])
    units.writeto(tmp_path / "a.fits")
    data = (tmp_path / "a.fits").read_bytes()
    (tmp_path / "b.fits").write_bytes(data + b"JUNK" * 2000)
    run = Run()
    assert len(read(tmp_path / "b.fits", run=run)) == 3
    (warning,) = run.warnings
    assert "the 8000 bytes after the last header unit" in warning
    starts = [place for place in range(0, len(data), 2880) if data[place:].startswith(b"XTENSION")]
    for start in starts:
        (tmp_path / "c.fits").write_bytes(data[:start] + b"\xff" + data[start + 1 :])
        *_, failed = read(tmp_path / "c.fits")
        assert "unknown data" in str(failed)


def test_truncated_compressed(tmp_path):
    rng = np.random.default_rng(1)
    noise = rng.normal(100, 10, (200, 200)).astype(np.int16)
    fits.PrimaryHDU(noise).writeto(tmp_path / "a.fits")
    packed = gzip.compress((tmp_path / "a.fits").read_bytes())
    (tmp_path / "a.fits.gz").write_bytes(packed[: len(packed) // 2])
    with pytest.raises(ImageError, match="truncated"):
        read(tmp_path / "a.fits.gz")
    fits.CompImageHDU(noise).writeto(tmp_path / "b.fits")
    data = (tmp_path / "b.fits").read_bytes()
    (tmp_path / "c.fits").write_bytes(data[:-12000])
    (failed,) = read(tmp_path / "c.fits")
    assert "truncated" in str(failed)
    damaged = bytearray(data)
    damaged[-9000:-3000] = b"\xff" * 6000
    (tmp_path / "d.fits").write_bytes(damaged)
    results = read(tmp_path / "d.fits")  # noise in the bit stream: an error or other pixels
    assert len(results) == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty"),
        (b"just a text\n" * 100, "not a FITS file"),
        (lzma.compress(b"SIMPLE"), "a .xz file: only .gz, .bz2 and .fz are unpacked"),
        (b"PK\x03\x04" + bytes(100), "a .zip file"),
        (b"\x1f\x8bnot gzip at all", "compressed"),
        (b"BZhnot bzip2", "compressed"),
        (b"SIMPLE  =                    T".ljust(80), "END"),
        (b"SIMPLE  =                    T".ljust(80) + b"END".ljust(2800), "NAXIS"),
    ],
)
def test_not_fits(tmp_path, content, message):
    path = tmp_path / "x.fits"
    path.write_bytes(content)
    with pytest.raises(ImageError, match=message) as caught:
        read(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_directory_unreadable(tmp_path):
    with pytest.raises(ImageError, match="no such file"):
        read(tmp_path / "none.fits")
    with pytest.raises(ImageError, match="directory"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (2, 2.0), ("53.907", 53.907), ("2.1 e-/ADU", 2.1), (" 1.5D+02", 150.0), ("-3", -3.0),
        ("abc", None), ("", None), (None, None), (True, None), (math.nan, None),
        ("1.5 [e-/ADU]", 1.5), ("5 W m-2", 5.0), ("60.0 / seconds", 60.0), ('0.4"', 0.4),
        ("1:40", None), ("1,5", None), ("2026-01-02", None), ("10/20", None), ("1.2.3", None),
    ],
)  # fmt: skip
def test_header_number(value, number):
    assert header_number(value) == number


def test_detector_keywords(tmp_path):
    header = fits.Header(
        {"GAIN": 0.0, "EGAIN": "1.7 e/adu", "SATURATE": 900.0, "RDNOISE": "?", "READNOIS": 6.0}
    )
    fits.PrimaryHDU(pattern("f4"), header).writeto(tmp_path / "a.fits")
    run = Run()
    config = with_detector(gain=9.0, gain_key=("GAIN", "EGAIN"))
    exposure = read_one(tmp_path / "a.fits", config, run)
    assert exposure.detector.gain == 1.7
    assert exposure.detector.read_noise == 6.0
    assert exposure.detector.saturation == 900.0
    assert math.isnan(exposure.detector.exposure_time)
    np.testing.assert_array_equal(exposure.mask & Mask.SAT > 0, exposure.image >= 900.0)
    assert [w for w in run.warnings if "RDNOISE" in w]
    off = with_detector(gain=9.0, gain_key=("NONE",), satur_key=("NONE",), satur_level=1e9)
    exposure = read_one(tmp_path / "a.fits", off)
    assert exposure.detector.gain == 9.0
    assert exposure.detector.saturation == 1e9
    assert not exposure.mask.any()


WCS_CARDS = {
    "CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRPIX1": 10.0, "CRPIX2": 10.0, "CRVAL1": 10.0,
    "CRVAL2": 20.0, "CD1_1": -1e-4, "CD1_2": 0.0, "CD2_1": 0.0, "CD2_2": 1e-4,
}  # fmt: skip


def test_additional_header(tmp_path, caplog):
    primary = fits.PrimaryHDU()
    units = [fits.ImageHDU(pattern("i2"), fits.Header({**WCS_CARDS, "A_ORDER": 2})) for _ in "ab"]
    fits.HDUList([primary, *units]).writeto(tmp_path / "a.fits")
    blocks = []
    for value in (111.0, 222.0):
        cards = fits.Header({**WCS_CARDS, "CRVAL1": value, "NAXIS1": 3, "GAIN": 4.0})
        cards["HISTORY"] = "solved"
        blocks.append("\n".join(str(card).rstrip() for card in cards.cards) + "\nEND     \n")
    (tmp_path / "a.head").write_text("".join(blocks))
    with caplog.at_level(logging.INFO, "skyextract"):
        first, second = read(tmp_path / "a.fits")
    assert first.wcs.to_header()["CRVAL1"] == first.header["CRVAL1"] == 111.0
    assert second.wcs.to_header()["CRVAL1"] == 222.0
    assert "A_ORDER" not in first.header
    assert first.header["NAXIS1"] == 33
    assert first.detector.gain == 4.0
    assert sum("a.head" in message for message in caplog.messages) == 1
    assert read_one(f"{tmp_path}/a.fits[2]").header["CRVAL1"] == 222.0
    none = with_detector(header_suffix="")
    assert read(tmp_path / "a.fits", none)[0].header["CRVAL1"] == 10.0
    fits.HDUList([primary, units[0]]).writeto(tmp_path / "a.fits", overwrite=True)
    caplog.clear()
    assert read(tmp_path / "a.fits")[0].header["CRVAL1"] == 111.0
    assert "2 parts for 1 images" in caplog.text
    for content in (b"nothing useful\n", b"\x7fELF\0 = \n\0\0"):
        (tmp_path / "a.head").write_bytes(content)
        with pytest.raises(ImageError, match=r"a\.head"):
            read(tmp_path / "a.fits")


def test_pixel_scale(tmp_path):
    fits.PrimaryHDU(pattern("i2"), fits.Header(WCS_CARDS)).writeto(tmp_path / "a.fits")
    exposure = read_one(tmp_path / "a.fits")
    assert pixel_scale(exposure, CONFIG.detector) == pytest.approx(0.36)
    assert pixel_scale(exposure, with_detector(pixel_scale=2.0).detector) == 2.0
    assert math.isnan(pixel_scale(replace(exposure, wcs=None), CONFIG.detector))


def test_unusable_wcs_is_a_warning(tmp_path):
    cards = {**WCS_CARDS, "CD1_1": 0.0, "CD2_2": 0.0}
    fits.PrimaryHDU(pattern("i2"), fits.Header(cards)).writeto(tmp_path / "a.fits")
    run = Run()
    assert read_one(tmp_path / "a.fits", run=run).wcs is None
    assert len(run.warnings) == 1
    assert "\n" not in run.warnings[0]


def expected_planes(path):
    """Return astropy's view of the images of a file, by number of the header unit."""
    planes = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            units = fits.open(path)
        except OSError:
            return planes
        with units:
            for k, unit in enumerate(units):
                if unit.is_image and unit.header.get("NAXIS", 0) >= 2 and unit.data is not None:
                    planes[k] = np.asarray(unit.data)
    return planes


def test_all_shared_images(shared_data, capfd):
    """Every file of the shared data: astropy's pixels, or a clear error; and no noise."""
    paths = [p for p in sorted(shared_data.rglob("*")) if p.is_file()]
    assert paths
    n_images = 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for path in paths:
            is_fits = any(s in path.name.lower() for s in (".fit", ".mt", ".psf", ".ldac"))
            theirs = expected_planes(path) if is_fits else {}
            if not theirs:
                with pytest.raises(ImageError) as caught:
                    read(path)
                assert "\n" not in str(caught.value)
                continue
            results = read(path, with_detector(satur_level=0.0))
            for result in results:
                if isinstance(result, Exposure):
                    expected = theirs[result.extension]
                    if expected.ndim > 2:
                        flat = expected.reshape(-1, *expected.shape[-2:])
                        expected = flat[(result.plane or 1) - 1]
                    good = np.isfinite(expected)
                    np.testing.assert_allclose(
                        result.image[good], expected[good].astype(np.float32), rtol=1e-6
                    )
                    if "planes" not in result.history:
                        assert ((result.mask == Mask.NO_DATA) == ~good).all()
                    n_images += 1
                else:
                    assert "\n" not in str(result)
                    assert result.extension not in theirs
    assert n_images > 50
    out, err = capfd.readouterr()
    assert out == err == ""


@pytest.mark.parametrize(
    ("trimsec", "told"),
    [("[1:30,1:40]", True), ("[1:40,1:40]", False), ("[11:50,1:40]", False), ("", False)],
)
def test_an_overscan_that_stays_is_told(tmp_path, trimsec, told):
    header = fits.Header({"BIASSEC": "[31:40,1:40]", "TRIMSEC": trimsec})
    fits.writeto(tmp_path / "raw.fits", np.ones((40, 40), np.float32), header)
    run = Run()
    read_one(tmp_path / "raw.fits", run=run)
    assert any("tells of an overscan" in text for text in run.warnings) == told


@pytest.mark.parametrize(
    ("unit", "beam"),
    [("JY/BEAM", "6.0 x 5.0"), ("Jy beam-1", "6.0 x 5.0"), ("mJy/bm", "6.0 x 5.0"), ("Jy", "")],
)
def test_radio_maps(tmp_path, unit, beam):
    """BMAJ and BMIN are in degrees; pixels here have 0.4 arcsec."""
    cards = {
        "CTYPE1": "RA---SIN", "CTYPE2": "DEC--SIN", "CRVAL1": 150.0, "CRVAL2": 2.0,
        "CRPIX1": 20.0, "CRPIX2": 20.0, "CDELT1": -0.4 / 3600, "CDELT2": 0.4 / 3600,
        "BUNIT": unit, "BMAJ": 2.4 / 3600, "BMIN": 2.0 / 3600, "BPA": 30.0,
    }  # fmt: skip
    noise = np.random.default_rng(1).normal(0.0, 1e-5, (40, 40)).astype(np.float32)
    fits.writeto(tmp_path / "a.fits", noise, fits.Header(cards))
    run = Run()
    told = []
    run.tell = told.append
    read_one(tmp_path / "a.fits", run=run)
    assert len(told) == bool(beam)
    assert all(f"radio map, beam of {beam} pixels" in line for line in told)
