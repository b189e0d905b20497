"""Header units as they are written: the bytes that astropy writes; and tables read back."""

import io

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import given
from hypothesis import strategies as st

from skyextract.columns.request import default_columns
from skyextract.columns.table import COLUMNS
from skyextract.datamodel.catalog import Catalog
from skyextract.datamodel.header import Header, _text_card
from skyextract.errors import ImageError
from skyextract.io.fits.file import FitsFile
from skyextract.io.fits.rows import read_columns, read_table
from skyextract.io.fits.table import catalog_unit, table_unit
from skyextract.io.fits.writer import image_unit, primary_unit, write_units
from skyextract.warm import make_cards

TYPES = ["u1", "i1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"]


def written(*units):
    stream = io.BytesIO()
    write_units(stream, units)
    return stream.getvalue()


def by_astropy(*units):
    stream = io.BytesIO()
    fits.HDUList(list(units)).writeto(stream)
    return stream.getvalue()


def pixels(dtype, shape=(3, 5)):
    n = int(np.prod(shape))
    if np.dtype(dtype).kind == "f":
        return np.linspace(-5, 5, n, dtype=dtype).reshape(shape)
    info = np.iinfo(dtype)
    values = np.arange(n).astype(dtype)
    values[-1], values[0] = info.max, info.min
    return values.reshape(shape)


@pytest.mark.parametrize("dtype", [t for t in TYPES if t not in ("u8", "i1")])
def test_images_have_the_bytes_of_astropy(dtype):
    image, cube = pixels(dtype), pixels(dtype, (2, 3, 5))
    cards = {"OBJECT": ("M 31", "target"), "EXPTIME": 30.0}
    primary, extension = fits.PrimaryHDU(image), fits.ImageHDU(cube, name="SCI", ver=2)
    primary.header.update(cards)
    theirs = by_astropy(primary, extension)
    ours = written(
        image_unit(image, Header(cards), primary=True), image_unit(cube, name="SCI", version=2)
    )
    assert ours == theirs


@pytest.mark.parametrize("dtype", TYPES)
def test_images_are_read_by_astropy(dtype):
    image = pixels(dtype)
    with fits.open(io.BytesIO(written(image_unit(image, primary=True)))) as units:
        np.testing.assert_array_equal(units[0].data, image)


def columns():
    return {
        "FLAG": np.array([True, False, True]),
        "B": np.array([0, 1, 255], np.uint8),
        "I": np.array([-5, 6, 7], np.int16),
        "J": np.array([[1, 2], [3, 4], [5, 6]], np.int32),
        "K": np.array([1, 2, 2**60]),
        "E": np.array([1.5, np.nan, -2.0], np.float32),
        "D": np.arange(12.0).reshape(3, 2, 2),
        "NAME": np.array(["a", "", "long name"]),
    }


def test_tables_have_the_bytes_of_astropy():
    theirs = fits.BinTableHDU.from_columns(
        [
            fits.Column("FLAG", "L", array=columns()["FLAG"]),
            fits.Column("B", "B", array=columns()["B"]),
            fits.Column("I", "I", array=columns()["I"]),
            fits.Column("J", "2J", array=columns()["J"]),
            fits.Column("K", "K", array=columns()["K"]),
            fits.Column("E", "E", array=columns()["E"]),
            fits.Column("D", "4D", dim="(2, 2)", array=columns()["D"]),
            fits.Column("NAME", "9A", array=columns()["NAME"]),
        ],
        name="T",
    )
    ours = written(primary_unit(), table_unit(columns(), name="T"))
    assert ours == by_astropy(fits.PrimaryHDU(), theirs)


@pytest.mark.parametrize("n_rows", [0, 3])
def test_tables_are_read_back(tmp_path, n_rows):
    given_columns = {name: values[:n_rows] for name, values in columns().items()}
    path = tmp_path / "t.fits"
    path.write_bytes(written(primary_unit(), table_unit(given_columns)))
    with FitsFile(str(path)) as file:
        back = read_table(file, file.units[1])
    assert list(back) == list(given_columns)
    for name, values in given_columns.items():
        np.testing.assert_array_equal(back[name], values)
        assert back[name].dtype.kind == values.dtype.kind
        assert back[name].dtype.isnative


def test_what_other_programs_write_is_read_as_astropy_reads_it(tmp_path):
    path = tmp_path / "t.fits"
    ragged = np.empty(2, object)
    ragged[:] = [np.arange(2.0), np.arange(3.0)]
    fits.BinTableHDU.from_columns(
        [
            fits.Column("U", "I", bzero=32768, array=np.array([1, 65535], np.uint16)),
            fits.Column("NULL", "J", null=-99, array=np.array([-99, 3])),
            fits.Column("BITS", "11X", array=np.ones((2, 11), bool)),
            fits.Column("RAGGED", "PD()", array=ragged),
            fits.Column("WORDS", "6A", dim="(3,2)", array=np.array([["ab", "c"], ["d", "efg"]])),
            fits.Column("LAST", "D", unit="mag", array=np.array([1.0, 2.0])),
        ]
    ).writeto(path)
    with FitsFile(str(path)) as file:
        table = read_table(file, file.units[1])
        fields = [field for field, _ in read_columns(file, file.units[1])]
    theirs = fits.getdata(path)
    assert list(table) == ["U", "NULL", "WORDS", "LAST"]
    for name in table:
        np.testing.assert_array_equal(table[name], theirs[name])
    assert [field.unit for field in fields] == ["", "", "", "mag"]
    assert [field.null for field in fields] == [None, -99, None, None]


def test_scaled_columns_are_read_as_astropy_reads_them(tmp_path):
    path = tmp_path / "t.fits"
    unit = table_unit({"X": np.array([2, -5], np.int16)})
    unit.header["TSCAL1"], unit.header["TZERO1"] = 0.5, 10.0
    path.write_bytes(written(primary_unit(), unit))
    with FitsFile(str(path)) as file:
        table = read_table(file, file.units[1])
    np.testing.assert_array_equal(table["X"], [11.0, 7.5])
    np.testing.assert_array_equal(table["X"], fits.getdata(path)["X"])


@pytest.mark.parametrize(
    ("card", "value", "message"),
    [
        ("TFORM1", "2ZZ", "TFORM1"),
        ("TFORM1", "9000D", "TFORM1"),
        ("TFORM1", "2D", "rows have"),
        ("TFIELDS", -1, "TFIELDS"),
        ("TFIELDS", 4000, "TFIELDS"),
        ("TFIELDS", "many", "TFIELDS"),
    ],
)
def test_a_header_that_does_not_describe_its_rows_is_an_error(tmp_path, card, value, message):
    unit = table_unit({"X": np.arange(3.0)})
    unit.header[card] = value
    path = tmp_path / "t.fits"
    path.write_bytes(written(primary_unit(), unit))
    with FitsFile(str(path)) as file, pytest.raises(ImageError, match=message):
        read_table(file, file.units[1])


WORDS = st.text("0123456789AIJKEDBLXPQ(),.-+ ", max_size=9) | st.integers(-9, 9**9)
CARDS = ["TFORM1", "TDIM1", "TZERO1", "TSCAL1", "TNULL1", "TTYPE1"]


@given(st.dictionaries(st.sampled_from(CARDS), WORDS))
def test_any_cards_are_a_table_or_an_error(tmp_path_factory, cards):
    unit = table_unit({"X": np.arange(4.0)})
    for keyword, value in cards.items():
        unit.header[keyword] = value
    path = tmp_path_factory.mktemp("t") / "t.fits"
    path.write_bytes(written(primary_unit(), unit))
    with FitsFile(str(path)) as file:
        try:
            table = read_table(file, file.units[1])
        except ImageError:
            return
    assert table.n_rows == 4 or not list(table)


def test_a_warm_server_has_the_cards_of_the_built_in_columns():
    make_cards()
    before = _text_card.cache_info().misses
    for psf in (False, True):
        wanted = default_columns(psf=psf, n_apertures=1)
        columns = {name: np.ones((3, *shape), COLUMNS[name].dtype) for name, shape in wanted}
        unit = catalog_unit(Catalog(columns), "LDAC_OBJECTS", {})
        assert unit.header[f"TTYPE{len(wanted)}"] == "FLAGS_SKY"
    assert _text_card.cache_info().misses == before
