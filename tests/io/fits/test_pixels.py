"""Pixels of all types, scaled and compressed, as astropy reads them."""

import bz2
import gzip

import numpy as np
import pytest
from astropy.io import fits

from skyextract.datamodel.flags import Mask
from skyextract.io.fits.file import FitsFile
from skyextract.run import Run
from tests.io.reading import pattern, read_one, with_detector

TYPES = ["u1", "i1", "i2", "u2", "i4", "u4", "i8", "f4", "f8"]


@pytest.mark.parametrize("dtype", TYPES)
def test_storage_types(tmp_path, dtype):
    image = pattern(dtype)
    fits.PrimaryHDU(image).writeto(tmp_path / "a.fits")
    exposure = read_one(tmp_path / "a.fits", with_detector(satur_level=0.0))
    np.testing.assert_array_equal(exposure.image, image.astype(np.float32))
    assert not exposure.mask.any()


@pytest.mark.parametrize("dtype", ["u1", "i2", "i4", "f4", "f8"])
def test_scale_and_zero(tmp_path, dtype):
    hdu = fits.PrimaryHDU(pattern(dtype))
    hdu.header["BSCALE"], hdu.header["BZERO"] = 2.92273835509, 3713.66692596
    hdu.writeto(tmp_path / "a.fits")
    with fits.open(tmp_path / "a.fits", do_not_scale_image_data=True) as units:
        stored = units[0].data.astype(float)
    units_value = stored * 2.92273835509 + 3713.66692596
    exposure = read_one(tmp_path / "a.fits", with_detector(satur_level=0.0))
    np.testing.assert_array_equal(exposure.image, units_value.astype(np.float32))


@pytest.mark.parametrize("suffix", ["gz", "bz2"])
def test_compressed_files(tmp_path, suffix):
    image = pattern("i2")
    fits.PrimaryHDU(image).writeto(tmp_path / "a.fits")
    data = (tmp_path / "a.fits").read_bytes()
    pack = gzip.compress if suffix == "gz" else bz2.compress
    (tmp_path / f"a.fits.{suffix}").write_bytes(pack(data))
    exposure = read_one(tmp_path / f"a.fits.{suffix}")
    np.testing.assert_array_equal(exposure.image, image)


@pytest.mark.parametrize("pack", [bytes, gzip.compress, bz2.compress])
def test_numbers_outlive_their_file(tmp_path, pack):
    image = pattern("i2")
    fits.PrimaryHDU(image).writeto(tmp_path / "a.fits")
    path = tmp_path / "packed.fits"
    path.write_bytes(pack((tmp_path / "a.fits").read_bytes()))
    with FitsFile(str(path)) as file:
        numbers = file.numbers(file.units[0])
    np.testing.assert_array_equal(numbers, image)


@pytest.mark.parametrize("compression", ["RICE_1", "GZIP_1", "GZIP_2", "HCOMPRESS_1", "PLIO_1"])
@pytest.mark.parametrize("dtype", ["u1", "i2", "u2", "i4", "f4"])
def test_tile_compression(tmp_path, compression, dtype):
    if compression == "PLIO_1" and dtype != "u1":
        pytest.skip("PLIO holds small positive integers")
    image = np.abs(pattern(dtype) // 2)
    if dtype == "f4":
        image[3, 4] = np.nan
    header = fits.Header({"GAIN": 2.5, "EXTNAME": "SCI", "CRVAL1": 1.0})
    hdu = fits.CompImageHDU(image, header, compression_type=compression)
    hdu.writeto(tmp_path / "a.fits.fz")
    with fits.open(tmp_path / "a.fits.fz") as units:
        expected = units[1].data.astype(np.float32)
    exposure = read_one(tmp_path / "a.fits.fz", with_detector(satur_level=0.0))
    np.testing.assert_array_equal(exposure.image, np.nan_to_num(expected))
    np.testing.assert_array_equal(exposure.mask == Mask.NO_DATA, np.isnan(expected))
    assert exposure.detector.gain == 2.5
    assert exposure.extension_name == "SCI"
    assert exposure.header["NAXIS1"] == 33
    assert not any(k.startswith(("Z", "TFORM", "TTYPE")) for k in exposure.header)


def test_no_data(tmp_path):
    image = pattern("f4")
    image[5] = np.nan
    image[6, :3] = np.inf, -np.inf, 60000.0
    fits.PrimaryHDU(image).writeto(tmp_path / "a.fits")
    exposure = read_one(tmp_path / "a.fits")
    assert (exposure.mask[5] == Mask.NO_DATA).all()
    assert exposure.mask[6, :3].tolist() == [Mask.NO_DATA, Mask.NO_DATA, Mask.SAT]
    assert (exposure.image[5] == 0).all()
    assert (exposure.image[6, :2] == 0).all()
    assert (np.delete(exposure.mask, [5, 6], axis=0) == 0).all()


def test_blank(tmp_path):
    hdu = fits.PrimaryHDU(pattern("i2"))
    hdu.data[2, 3] = -32768
    hdu.header["BLANK"] = -32768
    hdu.writeto(tmp_path / "a.fits")
    exposure = read_one(tmp_path / "a.fits")
    assert exposure.mask[2, 3] == Mask.NO_DATA
    assert exposure.image[2, 3] == 0
    # with BZERO, BLANK is still the stored number
    hdu = fits.PrimaryHDU(pattern("u2"))
    hdu.data[2, 3] = 0
    hdu.header["BLANK"] = -32768
    hdu.writeto(tmp_path / "b.fits")
    assert read_one(tmp_path / "b.fits").mask[2, 3] & Mask.NO_DATA


def test_unsigned_keyword(tmp_path):
    image = pattern("u2")
    fits.PrimaryHDU(image.view("i2")).writeto(tmp_path / "a.fits")
    exposure = read_one(tmp_path / "a.fits", with_detector(fits_unsigned=True))
    np.testing.assert_array_equal(exposure.image, image)


def test_threads_do_not_matter(tmp_path):
    image = pattern("f4", (500, 301))
    image[100:200, 5] = np.nan
    fits.PrimaryHDU(image).writeto(tmp_path / "a.fits")
    one = read_one(tmp_path / "a.fits", run=Run(n_threads=1))
    many = read_one(tmp_path / "a.fits", run=Run(n_threads=5))
    np.testing.assert_array_equal(one.image, many.image)
    np.testing.assert_array_equal(one.mask, many.mask)


def test_the_largest_numbers_stand_for_no_value(tmp_path):
    image = pattern("f4").astype(np.float32)
    image[3, 4], image[5, 6], image[7, 8] = 3.4e38, -3.4e38, 1e30
    fits.PrimaryHDU(image).writeto(tmp_path / "a.fits")
    exposure = read_one(tmp_path / "a.fits", with_detector(satur_level=0.0))
    assert np.argwhere(exposure.mask & Mask.NO_DATA).tolist() == [[3, 4], [5, 6]]
    assert exposure.image[3, 4] == exposure.image[5, 6] == 0.0
    assert exposure.image[7, 8] == np.float32(1e30)
