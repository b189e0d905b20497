"""Weight maps and flag maps."""

from dataclasses import replace

import numpy as np
import pytest
from astropy.io import fits

from skyextract.datamodel.exposure import Exposure
from skyextract.datamodel.flags import Mask
from skyextract.errors import ConfigError, ImageError
from skyextract.io.images.images import read_exposures
from skyextract.io.images.weights import read_flag_maps, read_weights, with_weight
from skyextract.io.names import ImageSpec
from skyextract.run import Run
from skyextract.settings.keywords import Config, Weights

BAD = np.float32(1e30)
SHAPE = (40, 30)


def exposure(**changes):
    plain = Exposure(np.zeros(SHAPE, np.float32), np.zeros(SHAPE, np.uint16), path="im.fits")
    return replace(plain, **changes)


def weights(tmp_path, image, kinds=("MAP_WEIGHT",), threshold=(), **changes):
    fits.PrimaryHDU(image).writeto(tmp_path / "w.fits", overwrite=True)
    config = Weights(
        weight_type=kinds, weight_image=(str(tmp_path / "w.fits"),), weight_thresh=threshold
    )
    return read_weights(config, exposure(**changes), 0, Run(n_threads=2))


def ramp():
    image = np.linspace(0.5, 20.0, SHAPE[0] * SHAPE[1], dtype=np.float32).reshape(SHAPE)
    image[0, :5] = 0.0, -3.0, np.nan, np.inf, 1e-39
    return image


def test_weight(tmp_path):
    image = ramp()
    maps = weights(tmp_path, image)
    assert maps.detection is maps.measurement
    assert maps.detection.dtype == np.float32
    assert (maps.detection[0, :5] == BAD).all()
    np.testing.assert_array_equal(maps.detection[1:], np.float32(1.0) / image[1:])


def test_weight_threshold(tmp_path):
    image = ramp()
    maps = weights(tmp_path, image, threshold=(10.0,))
    np.testing.assert_array_equal(maps.detection == BAD, ~(image > 10.0) | np.isinf(image))


@pytest.mark.parametrize("kind", ["MAP_RMS", "MAP_VAR"])
@pytest.mark.parametrize("threshold", [(), (10.0,)])
def test_rms_and_variance(tmp_path, kind, threshold):
    image = ramp()
    variance = weights(tmp_path, image, (kind,), threshold).detection
    bad = ~((image > 0) & (image < (threshold or (1e30,))[0]))
    np.testing.assert_array_equal(variance == BAD, bad)
    expected = image**2 if kind == "MAP_RMS" else image
    np.testing.assert_array_equal(variance[~bad], expected[~bad])


@pytest.mark.parametrize("dtype", ["u1", "i2", "u2", "i4", "f8"])
def test_types(tmp_path, dtype):
    image = (np.arange(SHAPE[0] * SHAPE[1]).reshape(SHAPE) % 200).astype(dtype)
    variance = weights(tmp_path, image).detection
    np.testing.assert_array_equal(variance == BAD, image == 0)
    np.testing.assert_array_equal(
        variance[image > 0], np.float32(1) / image[image > 0].astype("f4")
    )


def test_pairs(tmp_path):
    one, two = np.full(SHAPE, 4.0, np.float32), np.full(SHAPE, 9.0, np.float32)
    names = []
    for k, image in enumerate((one, two)):
        fits.PrimaryHDU(image).writeto(tmp_path / f"{k}.fits")
        names.append(str(tmp_path / f"{k}.fits"))
    config = Weights(weight_type=("MAP_WEIGHT", "MAP_RMS"), weight_image=tuple(names))
    maps = read_weights(config, exposure(), 0, Run())
    assert maps.detection[0, 0] == 0.25
    assert maps.measurement[0, 0] == 81.0
    config = replace(config, weight_type=("BACKGROUND", "MAP_VAR"))
    maps = read_weights(config, exposure(), 0, Run())
    assert maps.detection is None
    assert maps.measurement[0, 0] == 9.0
    nothing = read_weights(Weights(), exposure(), 0, Run())
    assert nothing.detection is None
    assert nothing.measurement is None


def test_mask(tmp_path):
    variance = weights(tmp_path, ramp()).detection
    marked = with_weight(exposure(), variance)
    np.testing.assert_array_equal(marked.mask == Mask.BAD, variance == BAD)
    assert marked.weight is variance
    assert with_weight(marked, None) is marked


def test_extensions(tmp_path):
    units = [fits.PrimaryHDU()]
    for k, name in enumerate(("A", "B", "B")):
        unit = fits.ImageHDU(np.full(SHAPE, k + 1.0, np.float32), name=name)
        unit.header["EXTVER"] = k
        units.append(unit)
    fits.HDUList(units).writeto(tmp_path / "w.fits")
    path = str(tmp_path / "w.fits")
    config = Weights(weight_type=("MAP_VAR",), weight_image=(path,))

    def value(number, config=config, **changes):
        maps = read_weights(config, exposure(**changes), number, Run())
        return maps.detection[0, 0]

    assert [value(k) for k in range(3)] == [1.0, 2.0, 3.0]
    assert value(2, extension_name="A") == 1.0
    assert value(0, extension_name="B", header={"EXTVER": 2}) == 3.0
    assert value(1, replace(config, weight_image=(path + "[3]",))) == 3.0
    with pytest.raises(ImageError, match="3 images, none for image 4"):
        value(3)


def test_errors(tmp_path):
    with pytest.raises(ImageError, match="20 x 40 pixels, but the image has 30 x 40"):
        weights(tmp_path, np.ones((40, 20), np.float32))
    with pytest.raises(ImageError, match="cube"):
        weights(tmp_path, np.ones((2, 40, 30), np.float32))
    missing = Weights(weight_type=("MAP_RMS",), weight_image=("none.fits",))
    with pytest.raises(ConfigError, match=r"WEIGHT_IMAGE none\.fits: no such file"):
        read_weights(missing, exposure(), 0, Run())
    with pytest.raises(ConfigError, match="needs a WEIGHT_IMAGE"):
        read_weights(Weights(weight_type=("MAP_RMS",)), exposure(), 0, Run())


@pytest.mark.parametrize("dtype", ["u1", "i2", "u2", "i4", "u4", "i8", "f4"])
def test_flag_maps(tmp_path, dtype):
    image = (np.arange(SHAPE[0] * SHAPE[1]).reshape(SHAPE) % 120).astype(dtype)
    if dtype == "u4":
        image[0, 0] = 2**32 - 1
    fits.PrimaryHDU(image).writeto(tmp_path / "f.fits")
    config = Weights(flag_image=(str(tmp_path / "f.fits"),) * 2)
    maps = read_flag_maps(config, exposure(), 0, Run())
    assert len(maps) == 2
    assert maps[0].dtype == np.int32
    np.testing.assert_array_equal(maps[0], image.astype(np.uint32).view(np.int32))


@pytest.mark.parametrize(
    ("value", "text"), [(0.5, "integers"), (np.nan, "integers"), (1e12, "32 bits")]
)
def test_bad_flag_maps(tmp_path, value, text):
    fits.PrimaryHDU(np.full(SHAPE, value)).writeto(tmp_path / "f.fits")
    config = Weights(flag_image=(str(tmp_path / "f.fits"),))
    with pytest.raises(ImageError, match=text):
        read_flag_maps(config, exposure(), 0, Run())
    with pytest.raises(ConfigError, match="FLAG_IMAGE"):
        read_flag_maps(Weights(flag_image=("none.fits",)), exposure(), 0, Run())


def test_real_triplet(shared_data):
    """DECam: the weight and quality maps are compressed and match by EXTNAME."""
    folder = next(shared_data.glob("decam_tpv/images/**/CP20171112"))
    image, weight, quality = (
        str(folder / f"c4d_171113_060340_{kind}_r_ls9.N6.fits") for kind in ("ooi", "oow", "ood")
    )
    (sky,) = read_exposures(ImageSpec(image), Config(), Run())
    config = Weights(weight_type=("MAP_WEIGHT",), weight_image=(weight,), flag_image=(quality,))
    variance = read_weights(config, sky, 0, Run()).measurement
    expected = fits.getdata(weight, 1)
    np.testing.assert_array_equal(variance == BAD, expected <= 0)
    (flags,) = read_flag_maps(config, sky, 0, Run())
    np.testing.assert_array_equal(flags, fits.getdata(quality, 1))
