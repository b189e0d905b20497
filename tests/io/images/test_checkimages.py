"""Check images."""

import warnings

import numpy as np
import pytest
from astropy.io import fits

from skyextract.datamodel.catalog import Catalog
from skyextract.datamodel.exposure import Exposure
from skyextract.datamodel.header import Header
from skyextract.io.images.checkimages import CheckImageWriter, aperture_plane, object_planes

CARDS = {
    "CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRPIX1": 10.0, "CRPIX2": 10.0, "CRVAL1": 1.0,
    "CRVAL2": 20.0, "CD1_1": -1e-4, "CD2_2": 1e-4, "BSCALE": 2.0, "BZERO": 5.0, "OBJECT": "m31",
}  # fmt: skip


def exposure(extension=0, name=""):
    image = np.arange(20.0, dtype=np.float32).reshape(4, 5)
    return Exposure(
        image, np.zeros((4, 5), np.uint16), header=Header(CARDS), extension=extension,
        extension_name=name,
    )  # fmt: skip


def test_single_image(tmp_path):
    files = {k: tmp_path / f"{k}.fits" for k in ("BACKGROUND", "SEGMENTATION", "MASK", "PSF")}
    planes = {
        "BACKGROUND": np.full((4, 5), 1.5),
        "SEGMENTATION": np.arange(-5, 15).reshape(4, 5),
        "MASK": np.full((4, 5), 0x8021, np.uint16),
        "PSF": np.ones((7, 7), np.float32),
        "OBJECTS": None,
    }
    with CheckImageWriter(files, extensions=False) as writer:
        assert writer.types == set(files)
        writer.add(exposure(), planes, {"SKYVERS": "0.1"})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for kind, path in files.items():
            with fits.open(path) as units:
                units.verify("exception")
                assert len(units) == 1
                np.testing.assert_array_equal(units[0].data, planes[kind])
                header = units[0].header
                assert header["OBJECT"] == "m31"
                assert header["SKYVERS"] == "0.1"
                assert header.get("BZERO", 0) in (0, 32768)
                assert ("CRVAL1" in header) == (kind != "PSF")
    assert fits.getheader(files["BACKGROUND"])["BITPIX"] == -32
    assert fits.getheader(files["SEGMENTATION"])["BITPIX"] == 32
    assert fits.getheader(files["MASK"])["MP_CR"] == 3


def test_multi_extension(tmp_path):
    files = {"OBJECTS": tmp_path / "o.fits"}
    with CheckImageWriter(files, extensions=True) as writer:
        for k, name in enumerate(("CHIP1", "CHIP2"), start=1):
            planes = {"OBJECTS": np.full((4, 5), float(k))}
            writer.add(exposure(k, name), planes, {"SKYVERS": "0.1"})
    with fits.open(files["OBJECTS"]) as units:
        assert [u.name for u in units] == ["PRIMARY", "CHIP1", "CHIP2"]
        assert units[0].header["SKYVERS"] == units[1].header["SKYVERS"] == "0.1"
        assert units[2].data[0, 0] == 2.0
        assert units[1].header["CRVAL1"] == 1.0


def test_failure_leaves_nothing(tmp_path):
    files = {"OBJECTS": tmp_path / "o.fits", "BACKGROUND": tmp_path / "b.fits"}
    with pytest.raises(KeyError), CheckImageWriter(files, extensions=False) as writer:
        writer.add(exposure(), {"OBJECTS": np.zeros((4, 5))})
    assert list(tmp_path.iterdir()) == []


def test_objects():
    image = np.arange(6.0, dtype=np.float32).reshape(2, 3)
    segmentation = np.array([[0, 1, -1], [2, 0, 0]], np.int32)
    inside, outside = object_planes(image, segmentation)
    assert inside.tolist() == [[0, 1, 2], [3, 0, 0]]
    assert outside.tolist() == [[0, 0, 0], [0, 4, 5]]
    assert inside.dtype == outside.dtype == np.float32


def sources(**columns):
    base = {
        "X_IMAGE": [31.0], "Y_IMAGE": [21.0], "A_IMAGE": [4.0], "B_IMAGE": [2.0],
        "THETA_IMAGE": [30.0], "KRON_RADIUS": [3.0], "FLAGS": [0],
    }  # fmt: skip
    return Catalog({k: np.array(v) for k, v in {**base, **columns}.items()})


def test_apertures():
    sky = np.full((60, 70), 2.0, np.float32)
    circle = aperture_plane(sky, sources(KRON_RADIUS=[0.0]), [20.0], sigma=0.5)
    y, x = np.nonzero(circle != 2.0)
    assert set(circle[y, x]) == {17.0}
    radius = np.hypot(x - 30.0, y - 20.0)
    assert np.abs(radius - 10.0).max() < 0.72
    assert len(x) >= 56  # closed: no gap along a circle of radius 10
    ellipse = aperture_plane(sky, sources(), [], sigma=0.5)
    y, x = np.nonzero(ellipse != 2.0)
    c, s = np.cos(np.radians(30.0)), np.sin(np.radians(30.0))
    u, v = (x - 30.0) * c + (y - 20.0) * s, -(x - 30.0) * s + (y - 20.0) * c
    distance = np.hypot(u / 12.0, v / 6.0)
    assert np.abs(distance - 1.0).max() < 0.13
    assert u.max() == pytest.approx(12.0, abs=0.75)
    crowded = aperture_plane(sky, sources(FLAGS=[1]), [], sigma=0.5)
    assert 0.3 < np.count_nonzero(crowded != 2.0) / len(x) < 0.75
    assert (sky == 2.0).all()


def test_apertures_of_odd_sources():
    sky = np.zeros((20, 20), np.float32)
    odd = sources(
        X_IMAGE=[-50.0, np.nan, 5.0, 5.0, 1.0], Y_IMAGE=[5.0] * 5, THETA_IMAGE=[0.0] * 5,
        A_IMAGE=[1.0, 1.0, np.nan, 1e30, 3.0], B_IMAGE=[1.0] * 5, KRON_RADIUS=[3.5] * 5,
        FLAGS=[0] * 5,
    )  # fmt: skip
    drawn = aperture_plane(sky, odd, [5.0], sigma=1.0)
    assert np.isfinite(drawn).all()
    empty = Catalog({name: values[:0] for name, values in odd.items()})
    assert not aperture_plane(sky, empty, [5.0], sigma=1.0).any()
