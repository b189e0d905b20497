"""Rice-coded images beside astropy: the same numbers, and left to it where they are not plain."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.io import fits

from skyextract.io.fits import tiles
from skyextract.io.fits.file import FitsFile
from skyextract.kernels.rice import SPARE
from skyextract.run import Run


def written(path, image, **options):
    fits.HDUList([fits.PrimaryHDU(), fits.CompImageHDU(image, **options)]).writeto(path)
    return path


def own(path):
    """Return what `tiles` alone makes of the image."""
    with FitsFile(str(path)) as file:
        unit = file.units[1]
        return tiles.decompress(unit.header, unit.shape, file._packed(unit))


def images(kind, shape, rng):
    info = np.iinfo(kind)
    middle, room = (info.max + info.min) // 2, float(info.max) - info.min
    steps = rng.integers(-3, 4, shape).cumsum(1)
    yield np.full(shape, info.max, kind)
    yield np.full(shape, info.min, kind)
    yield rng.integers(info.min, info.max, shape, kind, endpoint=True)  # stored as they are
    yield (middle + steps % 50).astype(kind)
    for width in (0.5, 5, 60, 1e4, 1e8):
        if width < room / 8:
            yield np.rint(rng.normal(middle, width, shape)).astype(kind)
    extremes = np.where(rng.random(shape) < 0.1, info.max, info.min)  # differences wrap around
    yield extremes.astype(kind)


@pytest.mark.parametrize("kind", ["u1", "i2", "i4", "u2"])
@pytest.mark.parametrize("shape", [(7, 1), (5, 31), (4, 33), (40, 257)])
def test_numbers_equal_astropy(tmp_path, kind, shape) -> None:
    rng = np.random.default_rng(3)
    for k, image in enumerate(images(kind, shape, rng)):
        path = written(tmp_path / f"{k}.fits", image, compression_type="RICE_1")
        with fits.open(path, do_not_scale_image_data=True) as hdus:
            expected = hdus[1].data
        numbers = own(path)
        assert numbers is not None
        np.testing.assert_array_equal(numbers, expected)
        assert numbers.dtype == expected.dtype.newbyteorder("=")


@pytest.mark.parametrize("n_threads", [1, 2, 3])
def test_threads_decode_the_same_and_tell_of_broken_tiles(tmp_path, n_threads) -> None:
    image = np.random.default_rng(6).normal(100, 9, (300, 40)).astype("i2")
    path = written(tmp_path / "a.fits", image, compression_type="RICE_1")
    with FitsFile(str(path)) as file:
        unit = file.units[1]
        np.testing.assert_array_equal(file.numbers(unit, Run(n_threads)), image)
        data = file._packed(unit)
    for tile in (0, 290):
        short = data.copy()
        short[8 * tile : 8 * tile + 4].view(">i4")[0] //= 2
        assert tiles.decompress(unit.header, unit.shape, short, Run(n_threads)) is None


@pytest.mark.parametrize(
    "options",
    [
        {"compression_type": "GZIP_1"},
        {"compression_type": "PLIO_1"},
        {"compression_type": "RICE_1", "tile_shape": (4, 10)},
    ],
)
def test_other_codings_are_left_to_astropy(tmp_path, options) -> None:
    image = np.random.default_rng(4).integers(0, 9, (20, 30)).astype("i2")
    path = written(tmp_path / "a.fits", image, **options)
    assert own(path) is None
    with FitsFile(str(path)) as file:
        np.testing.assert_array_equal(file.numbers(file.units[1]), image)


def test_quantised_images_are_left_to_astropy(tmp_path) -> None:
    image = np.random.default_rng(4).normal(0, 9, (20, 30)).astype("f4")
    assert own(written(tmp_path / "a.fits", image, compression_type="RICE_1")) is None


def test_broken_tiles_are_left_to_astropy(tmp_path) -> None:
    """Bytes that end too early, or are no code, are neither read nor written beyond."""
    rng = np.random.default_rng(5)
    image = rng.normal(100, 9, (20, 60)).astype("i2")
    path = written(tmp_path / "a.fits", image, compression_type="RICE_1")
    with FitsFile(str(path)) as file:
        unit = file.units[1]
        header, shape = unit.header, unit.shape
        data = file._packed(unit)
    assert tiles.decompress(header, shape, data) is not None
    short = data.copy()
    short[:4].view(">i4")[0] //= 2  # the first tile loses half of its bytes
    assert tiles.decompress(header, shape, short) is None
    far = data.copy()
    far[4:8].view(">i4")[0] = 2**30
    assert tiles.decompress(header, shape, far) is None
    table = 8 * shape[1]
    zeros = data.copy()
    zeros[table + 2 :] = 0x10  # a code of 0 low bits, and then hardly a one
    assert tiles.decompress(header, shape, zeros[: table + SPARE]) is None
    for _ in range(50):
        noise = data.copy()
        noise[table:] = rng.integers(0, 256, len(data) - table)
        numbers = tiles.decompress(header, shape, noise)
        assert numbers is None or numbers.shape == image.shape
