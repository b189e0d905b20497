"""Files of several planes: which are images, and what the others are to them."""

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table

from skyextract.datamodel.flags import Mask
from skyextract.errors import ImageError
from skyextract.io.images.images import read_exposures
from skyextract.io.names import parse_image_spec
from skyextract.run import Run
from skyextract.settings.resolve import resolve

SHAPE = (40, 50)
SCI = np.random.default_rng(1).normal(100.0, 3.0, SHAPE).astype(np.float32)


@pytest.fixture
def read(tmp_path):
    """Return a function from header units (name, EXTVER, array, cards) to exposures and run."""

    def make(units, extension="", primary=None):
        hdus = fits.HDUList([fits.PrimaryHDU(header=fits.Header(primary or {}))])
        for name, version, array, *cards in units:
            header = fits.Header(cards[0] if cards else {})
            if isinstance(array, Table):
                hdus.append(fits.BinTableHDU(array, header))
            else:
                hdus.append(fits.ImageHDU(array, header))
            if name:
                hdus[-1].header["EXTNAME"] = name
            if version:
                hdus[-1].header["EXTVER"] = version
        path = tmp_path / "image.fits"
        hdus.writeto(path, overwrite=True)
        run = Run()
        spec = parse_image_spec(f"{path}{extension}")
        return list(read_exposures(spec, resolve(None).config, run)), run

    return make


def plane(value, kind=np.float32):
    return np.full(SHAPE, value, kind)


def test_error_and_quality_of_two_chips(read):
    """HST: SCI, ERR and DQ of each chip, by EXTVER, in any order."""
    quality = plane(0, np.int16)
    quality[3, 4] = 256
    exposures, run = read(
        [
            ("SCI", 1, SCI), ("ERR", 1, plane(3.0)), ("DQ", 1, quality),
            ("SCI", 2, SCI + 1), ("DQ", 2, plane(0, np.int16)), ("ERR", 2, plane(4.0)),
            ("D2IMARR", 1, plane(0.0)[:2]), ("WCSCORR", 1, Table({"a": [1]})),
        ],
        primary={"TELESCOP": "HST", "INSTRUME": "ACS"},
    )  # fmt: skip
    first, second = [e for e in exposures if e.extension_name == "SCI"]
    assert (first.variance == 9.0).all()
    assert (second.variance == 16.0).all()
    assert first.mask[3, 4] == int(Mask.SAT)
    assert np.count_nonzero(first.mask) == 1
    assert not second.mask.any()
    assert first.history["planes"] == {"error": "ERR", "mask": "DQ (HST ACS)"}
    assert run.warnings == []


@pytest.mark.parametrize(
    ("name", "value", "variance", "weight"),
    [
        ("ERR", 3.0, 9.0, None), ("VAR", 3.0, 3.0, None), ("VARIANCE", 3.0, 3.0, None),
        ("WHT", 4.0, None, 0.25), ("WGT", 4.0, None, 0.25), ("IVAR", 4.0, None, 0.25),
        ("UNC", 3.0, 9.0, None), ("STDEV", 3.0, 9.0, None), ("CONFIDENCE", 4.0, None, 0.25),
    ],
)  # fmt: skip
def test_noise(read, name, value, variance, weight):
    values = plane(value)
    values[0, 0], values[1, 1] = 0.0, np.nan
    (exposure,), _ = read([("SCI", 1, SCI), (name, 1, values)])
    for found, expected in ((exposure.variance, variance), (exposure.weight, weight)):
        assert (found is None) == (expected is None)
        if found is not None:
            assert np.count_nonzero(found == np.float32(expected)) == SCI.size - 2
    assert exposure.mask[0, 0] == exposure.mask[1, 1] == int(Mask.BAD)


def test_others_are_not_processed(read):
    """JWST: three variances besides ERR; BANZAI's catalogue; a spectrum."""
    exposures, run = read(
        [
            ("SCI", 1, SCI), ("ERR", 1, plane(2.0)), ("DQ", 1, plane(0, np.uint32)),
            ("AREA", 1, plane(1.0)), ("VAR_POISSON", 1, plane(1.0)), ("VAR_RNOISE", 1, plane(1.0)),
            ("CAT", 1, Table({"x": [1.0]})), ("SPEC", 1, np.zeros(7, np.float32)),
        ],
        primary={"TELESCOP": "JWST"},
    )  # fmt: skip
    assert [e.extension_name for e in exposures] == ["SCI"]
    assert run.warnings == []


def test_lsst_without_names(read):
    exposures, _ = read(
        [
            ("", 0, SCI, {"EXTTYPE": "IMAGE"}),
            ("", 0, plane(2, np.int16), {"EXTTYPE": "MASK", "MP_SAT": 1}),
            ("", 0, plane(5.0), {"EXTTYPE": "VARIANCE"}),
        ]
    )
    assert len(exposures) == 1
    assert (exposures[0].variance == 5.0).all()
    assert (exposures[0].mask == int(Mask.SAT)).all()


def test_euclid_names(read):
    exposures, _ = read(
        [(f"{chip}.{kind}", 0, array) for chip in ("3-4.E", "3-4.F")
         for kind, array in (("SCI", SCI), ("RMS", plane(2.0)), ("FLG", plane(0, np.int32)))]
    )  # fmt: skip
    assert [e.extension_name for e in exposures] == ["3-4.E.SCI", "3-4.F.SCI"]
    assert all((e.variance == 4.0).all() for e in exposures)


def test_forced(read):
    """A plane that is asked for by name is an image like any other."""
    units = [("SCI", 1, SCI), ("ERR", 1, plane(2.0)), ("SCI", 2, SCI + 1)]
    (exposure,), _ = read(units, "[ERR]")
    assert (exposure.image == 2.0).all()
    assert exposure.variance is None
    (exposure,), _ = read(units, "[SCI,2]")
    np.testing.assert_array_equal(exposure.image, SCI + 1)
    assert exposure.variance is None
    (exposure,), _ = read(units, "[1]")
    assert (exposure.variance == 4.0).all()


def test_planes_alone_and_of_another_size_are_images(read):
    exposures, _ = read([("MASK", 1, SCI), ("ERR", 1, SCI)])
    assert [e.extension_name for e in exposures] == ["MASK", "ERR"]
    exposures, _ = read([("SCI", 1, SCI), ("ERR", 1, SCI[:20])])
    assert [e.extension_name for e in exposures] == ["SCI", "ERR"]


def test_planes_that_say_nothing_are_not_used(read):
    (exposure,), run = read([("SCI", 1, SCI), ("ERR", 1, plane(0.0)), ("MASK", 1, plane(1, "i2"))])
    assert exposure.variance is None
    assert not exposure.mask.any()
    assert ["not used" in warning for warning in run.warnings] == [True, True]


def test_cube(read):
    """Colour planes of an amateur's stack, or a spectral cube."""
    cube = np.stack([SCI, SCI + 1, SCI + 2])
    exposures, _ = read([("RGB", 1, cube)])
    assert [e.plane for e in exposures] == [1, 2, 3]
    for k, exposure in enumerate(exposures):
        np.testing.assert_array_equal(exposure.image, SCI + k)
    _, run = read([("RGB", 1, cube, {"FILTER": "G"})])
    assert ["FILTER G is taken for all 3 planes" in warning for warning in run.warnings] == [True]
    _, run = read([("RGB", 1, cube, {"FILTER": "G"})], "[1,2]")
    assert run.warnings == []
    (exposure,), _ = read([("RGB", 1, cube)], "[1,2]")
    np.testing.assert_array_equal(exposure.image, SCI + 1)
    (failed,), _ = read([("RGB", 1, cube)], "[RGB,1,4]")
    assert "no plane 4: the image has 3" in str(failed.error)
    (exposure,), _ = read([("FLAT", 1, SCI[None, None])])
    assert exposure.plane is None


@pytest.mark.parametrize(
    "cards",
    [{"FILTER1": "g", "FILTER2": "r", "FILTER3": "i"}, {"FILTER": "g, r, i"}, {"FILTER": "g/r/i"},
     {"BAND1": "g", "BAND2": "r", "BAND3": "i", "FILTER": "many"}, {"FILTER": "gri"}],
)  # fmt: skip
def test_filters_of_the_planes(read, cards):
    cube = np.stack([SCI, SCI + 1, SCI + 2])
    exposures, run = read([("GRI", 1, cube, cards)])
    assert [e.header["FILTER"] for e in exposures] == ["g", "r", "i"]
    assert run.warnings == []
    (exposure,), _ = read([("GRI", 1, cube, cards)], "[1,2]")
    assert exposure.header["FILTER"] == "r"


def test_filters_that_are_not_those_of_planes(read):
    """Two wheels; names of another number; one filter whose name has letters of several."""
    two = np.stack([SCI, SCI + 1])
    cards = {"FILTER": "r", "FILTER1": "open", "FILTER2": "r"}
    exposures, _ = read([("SCI", 1, two, cards)])
    assert [e.header["FILTER"] for e in exposures] == ["r", "r"]
    exposures, _ = read([("SCI", 1, two, {"FILTER": "g, r, i"})])
    assert [e.header["FILTER"] for e in exposures] == ["g, r, i"] * 2
    exposures, _ = read([("SCI", 1, SCI, {"FILTER1": "g", "FILTER": "r"})])
    assert [e.header["FILTER"] for e in exposures] == ["r"]


def test_colours_on_the_first_axis(read):
    """One line, and not an image of three pixels for each row."""
    side = np.zeros((20, 20, 3), np.float32)
    (failed,), _ = read([("RGB", 1, side)])
    assert "the first axis (3 x 20 x 20) has the colours" in str(failed.error)


def test_only_tables_and_spectra(read):
    with pytest.raises(ImageError):
        read([("CAT", 1, Table({"x": [1.0]}))])
    (failed,), _ = read([("SPEC", 1, np.zeros(9, np.float32))])
    assert "1 axes" in str(failed.error)


@pytest.mark.parametrize(
    ("file", "planes", "n_masked"),
    [
        ("scierr/sci_err.fits.gz", {"error": "ERR"}, None),
        ("scierr/sci_bpm_err.fits.gz", {"error": "ERR", "mask": "BPM (any number but 0 is bad)"},
         None),
        ("real/nicmos_cal.fits.gz", {"error": "ERR", "mask": "DQ (HST NICMOS)"}, 904),
        ("real/lsst_mini.fits.gz", {"variance": "VARIANCE", "mask": "MASK (MP_ cards)"}, None),
        ("real/des_r.fits.gz", {"weight": "WGT"}, 0),
        ("real/sdss_frame.fits.bz2", None, 0),
    ],
)  # fmt: skip
def test_public_frames(shared_data, file, planes, n_masked):
    run = Run()
    spec = parse_image_spec(str(shared_data / "world" / file))
    (exposure,) = read_exposures(spec, resolve(None).config, run)
    assert exposure.history.get("planes") == planes
    if n_masked is not None:
        assert np.count_nonzero(exposure.mask) == n_masked


@pytest.mark.parametrize(("kind", "value"), [
    ("StdDevUncertainty", 3.0), ("VarianceUncertainty", 9.0), ("InverseVariance", 1 / 9.0),
    ("std", 3.0), ("var", 9.0), (None, 3.0),
])  # fmt: skip
@pytest.mark.parametrize("name", ["", "DATA", "CHIP1"])
def test_planes_of_ccddata(read, kind, value, name):
    """What UNCERT holds is said by UTYPE, not by its name."""
    mask = plane(0, np.uint8)
    mask[5, 6] = 1
    cards = {} if kind is None else {"UTYPE": kind}
    (exposure,), run = read(
        [(name, 1, SCI), ("MASK", 1, mask), ("UNCERT", 1, plane(value), cards)]
    )  # fmt: skip
    noise = exposure.weight if kind == "InverseVariance" else exposure.variance
    assert noise[10, 10] == pytest.approx(9.0, rel=1e-6)
    assert exposure.mask[5, 6] & Mask.BAD
    assert not exposure.mask[5, 7]
    assert len(run.warnings) == 0


FLUX = "10**(-20)*erg/s/cm**2/Angstrom"


def eso(what, kind="", image="", **cards):
    """Return the cards of a header unit of ESO's convention."""
    cards |= {"HDUCLASS": "ESO", "HDUCLAS1": "IMAGE", "HDUCLAS2": what}
    return cards | ({"HDUCLAS3": kind} if kind else {}) | ({"SCIDATA": image} if image else {})


@pytest.mark.parametrize(
    ("kind", "value", "variance", "weight"),
    [("MSE", 4.0, 4.0, None), ("RMSE", 4.0, 16.0, None), ("INVMSE", 4.0, None, 0.25),
     ("INVRMSE", 4.0, None, 0.0625), ("", 4.0, 16.0, None)],
)  # fmt: skip
def test_errors_of_eso_by_cards(read, kind, value, variance, weight):
    """Names say nothing here: the cards tell what a plane is, and of which of the two images."""
    (one, two), run = read(
        [
            ("CHIP1", 0, SCI, eso("DATA", ERRDATA="NOISE1")), ("CHIP2", 0, SCI + 1, eso("DATA")),
            ("NOISE1", 0, plane(value), eso("ERROR", kind, "CHIP1")),
            ("NOISE2", 0, plane(2 * value), eso("ERROR", kind, "CHIP2")),
        ]
    )  # fmt: skip
    doubled = {"MSE": 2.0, "INVMSE": 0.5, "INVRMSE": 0.25}.get(kind, 4.0)
    for exposure, times in ((one, 1.0), (two, doubled)):
        assert (exposure.variance is None) == (variance is None)
        values = exposure.weight if variance is None else exposure.variance
        assert np.allclose(values, times * (weight if variance is None else variance))
    assert run.warnings == []


@pytest.mark.parametrize(
    ("kind", "bad", "good", "cards"),
    [("MASKZERO", 1, 0, {}), ("MASKONE", 1, 0, {}), ("MASKONE", 0, 1, {}), ("FLAG32BIT", 6, 0, {}),
     ("FLAG16BIT", 4, 2, {"QUALMASK": 12}), ("", 3, 0, {})],
)  # fmt: skip
def test_quality_of_eso(read, kind, bad, good, cards):
    quality = plane(good, np.int32)
    quality[3, 4:7] = bad
    (exposure,), _ = read(
        [
            ("FLUX", 0, SCI, eso("DATA", QUALDATA="QUAL")),
            ("QUAL", 0, quality, eso("QUALITY", kind, "FLUX", **cards)),
        ]
    )
    assert np.array_equal(exposure.mask != 0, quality == bad)


@pytest.mark.parametrize(
    "unit", [f"({FLUX})**2", f"({FLUX})^2", "1e-40 erg2 / (Angstrom2 cm4 s2)"]
)  # fmt: skip
def test_muse_without_cards(read, unit):
    """STAT is a variance where its unit is the square of that of DATA."""
    (exposure,), _ = read(
        [("DATA", 0, SCI, {"BUNIT": FLUX}), ("STAT", 0, plane(9.0), {"BUNIT": unit})]
    )
    assert (exposure.variance == 9.0).all()
    assert exposure.history["planes"] == {"variance": "STAT"}


def test_unknown_statistics_are_not_used(read):
    """Of STAT nothing is known without units, and of a map in the unit of the image."""
    for cards in ({}, {"BUNIT": FLUX}):
        (exposure,), _ = read([("DATA", 0, SCI, {"BUNIT": FLUX}), ("STAT", 0, plane(9.0), cards)])
        assert exposure.variance is None
    (alone,), _ = read([("STAT", 0, SCI)])
    assert np.array_equal(alone.image, SCI)


def test_errors_named_by_the_image_alone(read):
    """ERRDATA and QUALDATA are enough."""
    quality = plane(0, np.uint8)
    quality[1, 2] = 1
    (exposure,), _ = read(
        [
            ("FLUX", 0, SCI, {"ERRDATA": "ERRS", "QUALDATA": "QUAL"}), ("ERRS", 0, plane(2.0)),
            ("QUAL", 0, quality),
        ]
    )  # fmt: skip
    assert (exposure.variance == 4.0).all()
    assert np.argwhere(exposure.mask).tolist() == [[1, 2]]


def test_legacy_survey(read):
    """Of a brick the inverse variance says what MASKBITS, of all its bands, would."""
    (exposure,), _ = read(
        [("", 0, SCI), ("INVVAR", 0, plane(4.0)), ("MASKBITS", 0, plane(1, np.int16))]
    )
    assert (exposure.weight == 0.25).all()
    assert not exposure.mask.any()


def test_sky_beside_exposure_times(read):
    exposures, _ = read([("", 0, SCI), ("EXP", 0, plane(60.0)), ("SKY", 0, plane(0.4))])
    assert len(exposures) == 1


@pytest.mark.parametrize(
    "name", ["EXPTIME", "COVERAGE", "NCOMBINE", "CHI2", "SEGMENTATION", "NEXP", "CTX", "THUMBNAIL"]
)
def test_maps_that_are_no_images(read, name):
    (exposure,), _ = read([("SCI", 1, SCI), (name, 1, plane(4.0))])
    assert exposure.extension_name == "SCI"
    assert exposure.variance is None
    assert exposure.weight is None
    (alone,), _ = read([(name, 1, SCI)])  # where there is nothing else it is what is meant
    assert alone.extension_name == name


def test_quality_is_a_mask(read):
    quality = plane(0, np.int16)
    quality[3, 4] = 4
    (exposure,), _ = read([("SCI", 1, SCI), ("QUALITY", 1, quality)])
    assert list(zip(*np.nonzero(exposure.mask), strict=True)) == [(3, 4)]
