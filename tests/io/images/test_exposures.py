"""Exposure files: what is written comes back bit by bit."""

import math
import warnings
from dataclasses import fields, replace

import numpy as np
import pytest
from astropy.io import fits

from skyextract.datamodel.background import BackgroundMap
from skyextract.datamodel.catalog import Catalog
from skyextract.datamodel.exposure import Detector, Exposure, FailedExtension
from skyextract.datamodel.flags import Mask
from skyextract.datamodel.header import Header, set_cards
from skyextract.datamodel.photocal import PhotoCal, PhotSource
from skyextract.datamodel.psf import Psf, PsfSource
from skyextract.datamodel.wcs import SkyWcs
from skyextract.errors import ImageError
from skyextract.io.images.exposures import ExposureWriter
from skyextract.io.images.images import read_exposures
from skyextract.io.names import ImageSpec
from skyextract.io.psf.psfdata import psf_from_table, psf_table
from skyextract.run import Run
from skyextract.settings.keywords import Config

CONFIG = Config()
CARDS = {"SKYVERS": ("0.1.0", "version"), "SKYISR": "COMPLETE", "FWHMPIX": math.nan}
WCS_CARDS = {
    "CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRPIX1": 10.0, "CRPIX2": 10.0,
    "CRVAL1": 10.0 / 3.0, "CRVAL2": 20.0, "CD1_1": -1e-4, "CD1_2": 0.0, "CD2_1": 0.0,
    "CD2_2": 1e-4 / 3.0,
}  # fmt: skip


def header(number=0):
    cards = set_cards(
        Header(),
        {
            "SIMPLE": True, "BITPIX": 16, "NAXIS": 2, "NAXIS1": 41, "NAXIS2": 52, "BSCALE": 1.0,
            "BZERO": 32768.0, "BLANK": -32768, "EXTEND": True, "CHECKSUM": "x", "DATASUM": "1",
            "OBJECT": ("O'Neill", "target"), "GAIN": 4.0, **WCS_CARDS,
        },
    )  # fmt: skip
    if number:
        cards["EXTNAME"], cards["EXTVER"] = "SCI", number + 6
    cards["HIERARCH ESO DET OUT1 NAME"] = "chip"
    cards["LONGTEXT"] = "words and words " * 20
    cards["HISTORY"] = "made by hand"
    return cards


def exposure(number=0, seed=3, full=True):
    rng = np.random.default_rng(seed)
    shape = (52, 41)
    image = rng.normal(100.0, 10.0, shape).astype(np.float32)
    image[0, :3] = -0.0, 1e-42, 3e38
    plain = Exposure(
        image=image,
        mask=rng.integers(0, 512, shape).astype(np.uint16),
        detector=Detector(2.0 / 3.0, 5.1, 61000.0, 30.0),
        header=header(number),
        wcs=SkyWcs.from_header(WCS_CARDS),
        path="in.fits",
        extension=number,
        extension_name="SCI" if number else "",
    )
    if not full:
        return plain
    variance = rng.uniform(1.0, 9.0, shape).astype(np.float32)
    variance[4] = np.inf
    weight = variance.copy()
    weight[4] = 1e30
    level, rms = rng.normal(100.0, 1.0, (2, 3, 4)).astype(np.float32)
    basis = rng.normal(0.0, 1.0, (6, 15, 17)).astype(np.float32)
    psf = Psf(basis, 0.7, 2, 19.1 / 3.0, 20.3, 24.7 / 7.0, 26.1, 2.0 / 0.7, 0.01 / 3.0,
              PsfSource.MEASURED, 42, 1.07 / 3.0)  # fmt: skip
    stars = Catalog(
        {
            "X_IMAGE": rng.uniform(0.0, 40.0, 9),
            "NUMBER": np.arange(9, dtype=np.int64),
            "FLUX_APER": rng.normal(0.0, 1.0, (9, 2)).astype(np.float32),
            "STAMP": rng.normal(0.0, 1.0, (9, 3, 5)),
            "NAME": np.array([f"star {k}" for k in range(9)]),
        }
    )
    return replace(
        plain,
        variance=variance,
        weight=weight,
        psf=psf,
        photocal=PhotoCal(25.0 / 3.0, 0.01, PhotSource.FITTED, (0.1, 0.2 / 3.0)),
        background=BackgroundMap(level, rms, 16, 19, shape, 100.0 / 3.0, 9.9 / 7.0),
        psf_stars=stars,
        aperture_corrections=Catalog({"DIAMETER": np.array([5.0]), "COEFF": np.ones((1, 3))}),
        history={"version": "0.1.0", "config": {"GAIN": {"value": [1.5, None], "origin": "x"}}},
    )


def write(path, exposures, cards=CARDS):
    with ExposureWriter(path) as writer:
        for item in exposures:
            writer.add(item, cards)


def read(path, config=CONFIG):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return list(read_exposures(ImageSpec(str(path)), config, Run(n_threads=2)))


def assert_same(ours, theirs):
    """Compare two values of the exposure, arrays by their bits."""
    assert type(ours) is type(theirs)
    if isinstance(ours, np.ndarray):
        assert ours.dtype == theirs.dtype
        assert ours.dtype.isnative
        assert ours.shape == theirs.shape
        assert ours.tobytes() == theirs.tobytes()
    elif isinstance(ours, Catalog):
        assert list(ours) == list(theirs)
        for name in ours:
            assert_same(ours[name], theirs[name])
    elif hasattr(ours, "__dataclass_fields__"):
        for item in fields(ours):
            assert_same(getattr(ours, item.name), getattr(theirs, item.name))
    elif isinstance(ours, SkyWcs):
        assert ours.to_header() == theirs.to_header()
    elif isinstance(ours, float) and math.isnan(ours):
        assert math.isnan(theirs)
    else:
        assert ours == theirs


@pytest.mark.parametrize("full", [True, False])
def test_round_trip(tmp_path, full):
    written = exposure(full=full)
    write(tmp_path / "a.fits", [written])
    (back,) = read(tmp_path / "a.fits")
    for item in fields(Exposure):
        if item.name not in ("header", "path"):
            assert_same(getattr(back, item.name), getattr(written, item.name))
    assert back.path == str(tmp_path / "a.fits")


def plain_cards(header):
    return [(card.keyword, str(card.value), card.comment) for card in header.cards]


def test_header_is_kept(tmp_path):
    written = exposure()
    write(tmp_path / "a.fits", [written])
    (back,) = read(tmp_path / "a.fits")
    storage = {
        "NAXIS",
        "BITPIX",
        "BSCALE",
        "BZERO",
        "BLANK",
        "SIMPLE",
        "EXTEND",
        "CHECKSUM",
        "DATASUM",
    }
    kept = [card for card in plain_cards(written.header) if card[0] not in storage]
    now = plain_cards(back.header)
    assert [card for card in kept if card not in now] == []
    assert back.header["SKYISR"] == "COMPLETE"
    assert back.header["FWHMPIX"] is None
    assert not any(k.startswith("MP_") for k in back.header)
    again = tmp_path / "b.fits"
    write(again, [back])
    (second,) = read(again)
    assert plain_cards(second.header) == plain_cards(back.header)


def test_structure_for_other_programs(tmp_path):
    written = exposure()
    write(tmp_path / "a.fits", [written])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with fits.open(tmp_path / "a.fits") as units:
            units.verify("exception")
            names = [unit.name for unit in units[1:]]
            assert names == [
                "IMAGE", "MASK", "VARIANCE", "WEIGHT", "BACKGROUND", "PSF_DATA", "PSF_STARS",
                "APCORR", "PROVENANCE",
            ]  # fmt: skip
            assert units[0].header["SKYVERS"] == "0.1.0"
            keys = [k for k in units[1].header if k not in ("HISTORY", "COMMENT", "")]
            assert len(keys) == len(set(keys))
            np.testing.assert_array_equal(units["IMAGE"].data, written.image)
            np.testing.assert_array_equal(units["MASK"].data, written.mask)
            assert units["MASK"].data.dtype == np.uint16
            assert {p.name: 1 << units["MASK"].header[f"MP_{p.name}"] for p in Mask} == {
                p.name: p.value for p in Mask
            }
            np.testing.assert_array_equal(units["PSF_DATA"].data["PSF_MASK"][0], written.psf.basis)
            assert units["PSF_DATA"].header["POLZERO1"] == written.psf.x_zero + 1.0
            np.testing.assert_array_equal(
                units["PSF_STARS"].data["STAMP"], written.psf_stars["STAMP"]
            )


def test_multi_extension(tmp_path):
    written = [exposure(1, seed=1), exposure(2, seed=2, full=False), exposure(4, seed=4)]
    with ExposureWriter(tmp_path / "a.fits") as writer:
        for k, item in enumerate(written):
            writer.add(item, {**CARDS, "SKYCHAR": "COMPLETE" if k else "FALLBACK"})
    back = read(tmp_path / "a.fits")
    assert [e.extension for e in back] == [1, 2, 4]
    for ours, theirs in zip(back, written, strict=True):
        for name in ("image", "mask", "variance", "psf", "background", "psf_stars"):
            assert_same(getattr(ours, name), getattr(theirs, name))
        assert ours.extension_name == "SCI"
        assert ours.header["EXTVER"] == theirs.extension + 6
    primary = fits.getheader(tmp_path / "a.fits")
    assert "SKYCHAR" not in primary  # differs between the images
    assert primary["SKYISR"] == "COMPLETE"
    (second,) = list(read_exposures(ImageSpec(str(tmp_path / "a.fits"), "MASK"), CONFIG, Run()))[
        1:2
    ]
    np.testing.assert_array_equal(second.image, written[1].mask)


def test_default_psf_is_never_saved(tmp_path):
    written = exposure()
    written = replace(written, psf=replace(written.psf, source=PsfSource.DEFAULT))
    write(tmp_path / "a.fits", [written])
    (back,) = read(tmp_path / "a.fits")
    assert back.psf is None


def test_constant_psf(tmp_path):
    written = exposure()
    psf = replace(written.psf, basis=written.psf.basis[:1], degree=0, chi2=math.nan)
    write(tmp_path / "a.fits", [replace(written, psf=psf)])
    (back,) = read(tmp_path / "a.fits")
    assert_same(back.psf, psf)


def test_the_variance_of_fluxes_by_the_model_comes_back(tmp_path):
    written = exposure()
    n_terms = written.psf.basis.shape[0]
    form = np.random.default_rng(3).normal(size=(n_terms, n_terms))
    psf = replace(written.psf, flux_variance=form @ form.T)
    write(tmp_path / "a.fits", [replace(written, psf=psf)])
    (back,) = read(tmp_path / "a.fits")
    np.testing.assert_array_equal(back.psf.flux_variance, psf.flux_variance)


def test_a_variance_of_another_degree_is_an_error(tmp_path):
    psf = replace(exposure().psf, flux_variance=np.zeros((1, 1)))
    with pytest.raises(ImageError, match="FLUX_VARIANCE"):
        psf_from_table(*_table_of(psf))


def _table_of(psf):
    columns, header = psf_table(psf)
    return Catalog(columns), header


def test_new_wcs_replaces_the_old(tmp_path):
    wcs = SkyWcs.from_header({**WCS_CARDS, "CRVAL1": 99.0})
    written = exposure()
    written.header["PV1_1"] = 3.0
    write(tmp_path / "a.fits", [replace(written, wcs=wcs)])
    (back,) = read(tmp_path / "a.fits")
    assert back.wcs.to_header()["CRVAL1"] == back.header["CRVAL1"] == 99.0
    assert "PV1_1" not in back.header


def test_unknown_detector_values_come_from_the_configuration(tmp_path):
    written = replace(exposure(full=False), detector=Detector())
    written.header.remove("GAIN")
    write(tmp_path / "a.fits", [written])
    config = replace(CONFIG, detector=replace(CONFIG.detector, gain=3.0, satur_level=5e4))
    (back,) = read(tmp_path / "a.fits", config)
    assert back.detector.gain == 3.0


def test_mask_bits_of_another_program(tmp_path):
    written = exposure(full=False)
    written = replace(written, mask=np.zeros_like(written.mask))
    written.mask[3, 4] = 1 << 5
    write(tmp_path / "a.fits", [written])
    with fits.open(tmp_path / "a.fits", mode="update") as units:
        units["MASK"].header["MP_CR"] = 5
        units["MASK"].header["MP_NO_DATA"] = 3
    (back,) = read(tmp_path / "a.fits")
    assert back.mask[3, 4] == Mask.CR
    assert np.count_nonzero(back.mask) == 1


def test_failure_leaves_nothing(tmp_path):
    target = tmp_path / "a.fits"
    target.write_bytes(b"old")

    def fail():
        with ExposureWriter(target) as writer:
            writer.add(exposure(), CARDS)
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        fail()
    assert target.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.fits"]


@pytest.mark.parametrize("keep", [0.5, 0.9])
def test_truncated_product(tmp_path, keep):
    write(tmp_path / "a.fits", [exposure()])
    data = (tmp_path / "a.fits").read_bytes()
    size = -(-int(len(data) * keep) // 1)
    (tmp_path / "t.fits").write_bytes(data[:size])
    results = read(tmp_path / "t.fits")
    assert any(isinstance(r, FailedExtension) for r in results)


def test_product_without_its_last_padding(tmp_path):
    write(tmp_path / "a.fits", [exposure()])
    data = (tmp_path / "a.fits").read_bytes()
    (tmp_path / "t.fits").write_bytes(data[: int(len(data) * 0.999)])
    (whole,), (cut,) = read(tmp_path / "a.fits"), read(tmp_path / "t.fits")
    assert np.array_equal(cut.image, whole.image)
    assert np.array_equal(cut.mask, whole.mask)


def test_damaged_product(tmp_path):
    write(tmp_path / "a.fits", [exposure()])
    with fits.open(tmp_path / "a.fits") as units:
        fits.HDUList([u for u in units if u.name != "MASK"]).writeto(tmp_path / "b.fits")
        units["BACKGROUND"].header.remove("BKGNX")
        units.writeto(tmp_path / "c.fits")
    for name, text in (("b.fits", "MASK"), ("c.fits", "BKG")):
        (failed,) = read(tmp_path / name)
        assert isinstance(failed.error, ImageError)
        assert text in str(failed)


def test_damaged_bytes(tmp_path):
    """Random damage, mostly in headers: a result or one clear line, never another exception."""
    write(tmp_path / "a.fits", [exposure(1), exposure(2, full=False)])
    original = (tmp_path / "a.fits").read_bytes()
    rng = np.random.default_rng(11)
    n_read = n_refused = 0
    for _ in range(150):
        data = bytearray(original)
        for _ in range(rng.integers(1, 20)):
            place = rng.integers(0, rng.choice([2880 * 3, 2880 * 6, len(data)]))
            kind = rng.integers(0, 3)
            if kind == 0:
                data[place] = rng.integers(32, 127)
            elif kind == 1:
                data[place] = ord(rng.choice(list("0123456789-. '")))
            else:
                del data[place : place + rng.choice([1, 80])]
        (tmp_path / "b.fits").write_bytes(data)
        try:
            results = list(read_exposures(ImageSpec(str(tmp_path / "b.fits")), CONFIG, Run()))
        except ImageError as error:
            results = [error]
        for result in results:
            if isinstance(result, Exposure):
                n_read += 1
                assert result.image.ndim == 2
            else:
                n_refused += 1
                assert isinstance(result, FailedExtension | ImageError)
                assert "\n" not in str(result)
    assert n_read > 10
    assert n_refused > 10
