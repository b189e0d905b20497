"""Catalogue files: equal to SExtractor's, accepted by its clients and by other readers."""

from __future__ import annotations

import io
import json
import re
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import fitsio
import numpy as np
import pytest
from astropy.io import ascii as astropy_ascii
from astropy.io import fits
from astropy.io.votable import parse, validate
from astropy.table import Table

from skyextract.columns.request import COLUMNS
from skyextract.datamodel.catalog import Catalog
from skyextract.errors import ConfigError, SkyextractError
from skyextract.io.catalogs.formats import (
    Extension,
    check_catalog,
    write_catalog,
    write_xml_summary,
)

NAMES = [
    "NUMBER", "EXT_NUMBER", "X_IMAGE", "Y_IMAGE", "ERRA_IMAGE", "ERRB_IMAGE", "XWIN_IMAGE",
    "YWIN_IMAGE", "ERRAWIN_IMAGE", "ERRBWIN_IMAGE", "ERRTHETAWIN_IMAGE", "X_WORLD", "Y_WORLD",
    "ALPHA_J2000", "DELTA_J2000", "THETA_J2000", "X2_IMAGE", "CXX_IMAGE", "ERRCXX_IMAGE",
    "A_IMAGE", "B_IMAGE", "THETA_IMAGE", "FLUX_AUTO", "FLUXERR_AUTO", "MAG_AUTO", "MAGERR_AUTO",
    "FLUX_APER(3)", "FLUXERR_APER(3)", "MAG_APER(3)", "FLUX_RADIUS(3)", "SNR_WIN", "ELONGATION",
    "CLASS_STAR", "ISOAREA_IMAGE", "MU_MAX", "FLUX_MAX", "FLAGS", "FLAGS_WEIGHT", "FWHM_WORLD",
    "KRON_RADIUS", "POLAR_IMAGE",
]  # fmt: skip
CARDS = {
    "SKYVERS": ("0.1", "version"),
    "SKYMEAS": "COMPLETE",
    "FWHMPIX": (3.25, "FWHM (pixels)"),
    "MAGZPERR": (float("nan"), "unknown"),
}
TEXT_KINDS = ["ASCII", "ASCII_HEAD", "ASCII_SKYCAT", "ASCII_VOTABLE", "ECSV", "CSV"]
ReadCatalog = Callable[[Path], list[Extension]]
KINDS = [*TEXT_KINDS, "FITS_1.0", "FITS_LDAC", "PARQUET"]


@pytest.fixture(scope="module")
def ldac(sextractor_catalogs: Callable[..., Path]) -> Path:
    return sextractor_catalogs("FITS_LDAC", [*NAMES, "VIGNET(35,35)"])


@pytest.fixture(scope="module")
def table(ldac: Path, read_catalog: ReadCatalog) -> Extension:
    return read_catalog(ldac)[0]


def small() -> Catalog:
    return Catalog(
        {
            "NUMBER": np.array([1, 2]),
            "ALPHA_J2000": np.array([10.0, 20.5]),
            "DELTA_J2000": np.array([-1.5, 2.25]),
            "MAG_AUTO": np.array([17.25, np.nan]),
            "MAG_APER": np.array([[18.0, 17.5], [np.nan, 21.0]]),
            "FLUX_AUTO": np.array([1e5, -3.0]),
            "THETA_IMAGE": np.array([np.nan, 12.0]),
            "FLAGS": np.array([0, 3], np.int64),
        }
    )


def test_ascii_head_equals_sextractor(
    sextractor_catalogs: Callable[..., Path], read_catalog: ReadCatalog, tmp_path: Path
) -> None:
    names = [*NAMES, "CHI2_PSF", "SPREAD_MODEL", "SPREADERR_MODEL", "DELTAPSF_B1950"]
    bright = ("-DETECT_THRESH", "100")  # fitting PSFs and models takes SExtractor long
    theirs = sextractor_catalogs("ASCII_HEAD", names, *bright).read_text().splitlines()
    (table,) = read_catalog(sextractor_catalogs("FITS_LDAC", names, *bright))
    path = tmp_path / "a.cat"
    write_catalog(str(path), "ASCII_HEAD", [(table.catalog, table.header, {})])
    mine = path.read_text().splitlines()
    assert len(mine) == len(theirs)
    for own, other in zip(mine, theirs, strict=True):
        if own.startswith("#"):  # the same but for the description
            assert (own[:28], own[87:]) == (other[:28], other[87:])
        else:
            assert own == other


def test_ldac_equals_sextractor(tmp_path: Path, ldac: Path, table: Extension) -> None:
    path = tmp_path / "a.ldac"
    write_catalog(str(path), "FITS_LDAC", [(table.catalog, table.header, CARDS)])
    with warnings.catch_warnings(), fits.open(path) as mine, fits.open(ldac) as theirs:
        warnings.simplefilter("error")
        mine.verify("exception")
        assert [hdu.name for hdu in mine] == ["PRIMARY", "LDAC_IMHEAD", "LDAC_OBJECTS"]
        for name in theirs[2].columns.names:
            np.testing.assert_array_equal(mine[2].data[name], theirs[2].data[name])
            column, other = mine[2].columns[name], theirs[2].columns[name]
            assert (column.unit, column.disp) == (other.unit, other.disp)
            assert column.array.dtype == other.array.dtype
        cards = [str(card) for card in mine[1].data[0][0]]
        assert cards[:50] == [str(card) for card in theirs[1].data[0][0]][:50]
        assert cards[-1] == "END"
        assert any(card.startswith("SKYMEAS = 'COMPLETE'") for card in cards)
        for hdu in (mine[0], mine[2]):
            assert hdu.header["FWHMPIX"] == 3.25
            assert hdu.header["MAGZPERR"] is None
    with fitsio.FITS(str(path)) as file:
        data = file["LDAC_OBJECTS"].read()
        np.testing.assert_array_equal(data["VIGNET"], table.catalog["VIGNET"])
        np.testing.assert_array_equal(data["MAG_APER"], table.catalog["MAG_APER"])


def run_client(program: str, catalog: Path, *options: str) -> None:
    path = shutil.which(program)
    if path is None:
        pytest.skip(f"{program} is not installed")
    subprocess.run(
        [path, catalog.name, *options, "-WRITE_XML", "N", "-CHECKPLOT_TYPE", "NONE"],
        cwd=catalog.parent, check=True, capture_output=True, timeout=120,
    )  # fmt: skip


@pytest.fixture(scope="module")
def both(
    ldac: Path, table: Extension, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("clients")
    write_catalog(str(folder / "mine.cat"), "FITS_LDAC", [(table.catalog, table.header, CARDS)])
    shutil.copy(ldac, folder / "theirs.cat")
    return folder / "mine.cat", folder / "theirs.cat"


def test_scamp_finds_the_same(both: tuple[Path, Path], shared_data: Path) -> None:
    heads = []
    for catalog in both:
        reference = shared_data / "sdss_stripe82/refcat/sdss_stars_field.ldac"
        run_client(
            "scamp", catalog, "-ASTREF_CATALOG", "FILE", "-ASTREFCAT_NAME", str(reference),
            "-SOLVE_PHOTOM", "N",
        )  # fmt: skip
        head = catalog.with_suffix(".head").read_text()
        heads.append([line for line in head.splitlines() if not line.startswith("HISTORY")])
    assert any(line.startswith("CRVAL1") for line in heads[0])
    assert heads[0] == heads[1]


def test_psfex_finds_the_same(both: tuple[Path, Path]) -> None:
    models = []
    for catalog in both:
        run_client(
            "psfex", catalog, "-CHECKIMAGE_TYPE", "NONE", "-PSF_SIZE", "15,15",
            "-PSFVAR_DEGREES", "0",
        )  # fmt: skip
        models.append(fits.getdata(catalog.with_suffix(".psf"), 1)["PSF_MASK"])
    assert models[0].size > 0
    np.testing.assert_array_equal(models[0], models[1])


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_bytes_every_time(kind: str, tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_catalog(str(tmp_path / name), kind, [(small(), fits.Header(), CARDS)])
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


@pytest.mark.parametrize("kind", KINDS)
def test_no_sources(kind: str, read_catalog: ReadCatalog, tmp_path: Path) -> None:
    empty = small().take(np.zeros(2, bool))
    path = tmp_path / "empty"
    write_catalog(str(path), kind, [(empty, fits.Header(), CARDS)])
    if kind.startswith("FITS"):
        (extension,) = read_catalog(path)
        assert extension.catalog.n_rows == 0
        assert list(extension.catalog) == list(empty)
    if kind == "ASCII_HEAD":
        assert re.findall(r"^# +\d+ (\w+)", path.read_text(), flags=re.MULTILINE) == list(empty)
    assert (path.stat().st_size == 0) == (kind == "ASCII")


def test_more_rows_than_are_formatted_at_a_time(tmp_path: Path) -> None:
    n = 2500
    many = Catalog({"NUMBER": np.arange(n), "FLUX_APER": np.arange(2.0 * n).reshape(n, 2)})
    path = tmp_path / "a"
    write_catalog(str(path), "ASCII_HEAD", [(many, fits.Header(), {})])
    back = Table.read(path, format="ascii.sextractor")
    np.testing.assert_array_equal(back["FLUX_APER"], many["FLUX_APER"][:, 0])
    np.testing.assert_array_equal(back["FLUX_APER_1"], many["FLUX_APER"][:, 1])
    write_catalog(str(path), "ECSV", [(many, fits.Header(), {})])
    assert Table.read(path, format="ascii.ecsv")["NUMBER"].tolist() == list(range(n))
    write_catalog(str(path), "ASCII_VOTABLE", [(many, fits.Header(), {})])
    table = parse(path).get_first_table().to_table()
    np.testing.assert_array_equal(table["FLUX_APER"], many["FLUX_APER"])


def test_one_table_per_extension(read_catalog: ReadCatalog, tmp_path: Path) -> None:
    headers = [
        fits.Header({"EXTNAME": name, "GAIN": gain}) for name, gain in (("A", 1.5), ("B", 2.5))
    ]
    parts = [
        (small().with_columns(EXT_NUMBER=np.full(2, k)), header, CARDS)
        for k, header in enumerate(headers, start=1)
    ]
    path = tmp_path / "mef.cat"
    write_catalog(str(path), "FITS_LDAC", parts)
    with fits.open(path) as file:
        assert [hdu.name for hdu in file[1:]] == ["LDAC_IMHEAD", "LDAC_OBJECTS"] * 2
    back = read_catalog(path)
    assert [extension.header["GAIN"] for extension in back] == [1.5, 2.5]
    assert back[1].catalog["EXT_NUMBER"].tolist() == [2, 2]
    write_catalog(str(path), "ASCII_HEAD", parts)
    joined = Table.read(path, format="ascii.sextractor")
    assert joined["EXT_NUMBER"].tolist() == [1, 1, 2, 2]
    write_catalog(str(path), "ASCII_VOTABLE", parts)
    assert [t.nrows for t in parse(path).iter_tables()] == [2, 2]


def test_extensions_with_different_columns(tmp_path: Path) -> None:
    psf = small().with_columns(MAG_PSF=np.array([17.0, 18.0]), NITER_PSF=np.array([3, 4]))
    path = tmp_path / "a"
    write_catalog(str(path), "ASCII_HEAD", [(c, fits.Header(), {}) for c in (small(), psf)])
    back = Table.read(path, format="ascii.sextractor")
    np.testing.assert_array_equal(back["MAG_PSF"], [99.0, 99.0, 17.0, 18.0])
    assert back["NITER_PSF"].tolist() == [0, 0, 3, 4]


def test_a_missing_magnitude_is_99_in_ascii_only(read_catalog: ReadCatalog, tmp_path: Path) -> None:
    path = tmp_path / "a"
    write_catalog(str(path), "ASCII", [(small(), fits.Header(), {})])
    first, second = path.read_text().splitlines()
    assert second.split()[3:6] == ["99.0000", "99.0000", "21.0000"]
    assert first.split()[7] == "nan"
    for kind in ("FITS_LDAC", "FITS_1.0"):
        write_catalog(str(path), kind, [(small(), fits.Header(), {})])
        (back,) = read_catalog(path)
        np.testing.assert_array_equal(back.catalog["MAG_AUTO"], [17.25, np.nan])
        assert back.catalog["FLAGS"].dtype == np.int16


def test_skycat_starts_with_id_ra_dec_mag(tmp_path: Path) -> None:
    path = tmp_path / "a"
    catalog = small().select(["FLAGS", *(n for n in small() if n != "FLAGS")])
    write_catalog(str(path), "ASCII_SKYCAT", [(catalog, fits.Header(), {})])
    lines = path.read_text().splitlines()
    head = lines.index(next(line for line in lines if line.startswith("id\t")))
    names = ["id", "ra", "dec", "mag", "FLAGS", "MAG_APER_1", "MAG_APER_2", "FLUX_AUTO",
             "THETA_IMAGE"]  # fmt: skip
    assert lines[head].split("\t") == names
    row = [cell.strip() for cell in lines[head + 2].split("\t")]
    assert row[:4] == ["1", "10.0000000", "-1.5000000", "17.2500"]
    assert lines[-1] == "EOD"


def test_votable_is_valid(tmp_path: Path, table: Extension) -> None:
    path = tmp_path / "a.xml"
    write_catalog(str(path), "ASCII_VOTABLE", [(table.catalog, table.header, CARDS)])
    report = io.StringIO()
    validate(str(path), output=report)
    assert not re.findall(r"[WE]\d\d:.*", report.getvalue())
    back = parse(path).get_first_table().to_table(use_names_over_ids=True)
    for name, values in table.catalog.items():
        np.testing.assert_array_equal(back[name].filled(np.nan) if back[name].dtype.kind == "f"
                                      else back[name], values)  # fmt: skip
    assert str(back["MU_MAX"].unit) == "mag / arcsec2"


def test_all_columns_make_a_valid_votable(tmp_path: Path) -> None:
    shapes = {0: (1,), 1: (1, 2), 2: (1, 3, 2)}
    values = {n: np.full(shapes[c.ndim], np.nan if c.dtype[0] == "f" else 1)
              for n, c in COLUMNS.items()}  # fmt: skip
    path = tmp_path / "a.xml"
    write_catalog(str(path), "ASCII_VOTABLE", [(Catalog(values), fits.Header(), CARDS)])
    report = io.StringIO()
    validate(str(path), output=report)
    assert not re.findall(r"[WE]\d\d:.*", report.getvalue())


def test_ecsv_csv_parquet_keep_all_digits(tmp_path: Path, table: Extension) -> None:
    catalog = table.catalog.select([n for n in table.catalog if n != "VIGNET"])
    path = tmp_path / "a"
    write_catalog(str(path), "ECSV", [(catalog, table.header, CARDS)])
    ecsv = Table.read(path, format="ascii.ecsv")
    assert ecsv["CXX_IMAGE"].unit == "pix**-2"
    assert ecsv.meta["extensions"][0]["FWHMPIX"] == 3.25
    assert ecsv.meta["extensions"][0]["MAGZPERR"] is None
    write_catalog(str(path), "CSV", [(catalog, table.header, CARDS)])
    csv = astropy_ascii.read(path, format="csv")
    from pyarrow import parquet

    write_catalog(str(path), "PARQUET", [(catalog, table.header, CARDS)])
    arrow = parquet.read_table(path)
    assert json.loads(arrow.schema.metadata[b"skyextract"])[0]["SKYMEAS"] == "COMPLETE"
    for name, values in catalog.items():
        labels = [name] if values.ndim == 1 else [f"{name}_{k}" for k in (1, 2, 3)]
        for k, label in enumerate(labels):
            element = values if values.ndim == 1 else values[:, k]
            assert ecsv[label].dtype == element.dtype
            np.testing.assert_array_equal(ecsv[label], element)
            np.testing.assert_array_equal(np.asarray(csv[label], element.dtype), element)
        np.testing.assert_array_equal(np.array(arrow[name].to_pylist(), values.dtype), values)


@pytest.mark.parametrize("kind", TEXT_KINDS)
def test_stdout(kind: str, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    write_catalog("STDOUT", kind, [(small(), fits.Header(), CARDS)])
    write_catalog(str(tmp_path / "a"), kind, [(small(), fits.Header(), CARDS)])
    assert capfd.readouterr().out == (tmp_path / "a").read_text()


@pytest.mark.parametrize("kind", ["FITS_1.0", "FITS_LDAC", "PARQUET"])
def test_binary_to_stdout_is_an_error(kind: str) -> None:
    with pytest.raises(ConfigError, match="needs a file"):
        check_catalog("STDOUT", kind)


def test_parquet_without_pyarrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("skyextract.settings.extras.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="pyarrow"):
        check_catalog("a.parquet", "PARQUET")


def test_kind_none_writes_nothing(tmp_path: Path) -> None:
    write_catalog(str(tmp_path / "a"), "NONE", [(small(), fits.Header(), CARDS)])
    assert not list(tmp_path.iterdir())


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(SkyextractError, match="cannot be written"):
        write_catalog(str(tmp_path / "no" / "a"), "ASCII", [(small(), fits.Header(), {})])


def test_xml_summary_is_valid(tmp_path: Path) -> None:
    extensions = [
        {"Extension": 1, "Mean": 100.5, "Seeing": None, "Image_Ident": "a<b"},
        {"Extension": 2, "Mean": None, "Seeing": None, "Image_Ident": None},
    ]
    path = tmp_path / "a.xml"
    write_xml_summary(
        path,
        {"Software": "skyextract", "Duration": 1.5, "N": 3, "Done": True},
        extensions,
        ['a "warning" & more\x07'],
        {"DETECT_THRESH": "1.5", "FILTER_NAME": "a&b.conv"},
    )
    report = io.StringIO()
    validate(str(path), output=report)
    assert not re.findall(r"[WE]\d\d:.*", report.getvalue())
    tables = {t.name: t.to_table() for t in parse(path).iter_tables()}
    assert tables["Extension_Data"]["Image_Ident"][0] == "a<b"
    assert len(tables["Warnings"]) == 1


def test_writing_imports_no_astropy_table(tmp_path: Path) -> None:
    code = f"""
import sys
import numpy as np
from astropy.io import fits
from skyextract.datamodel.catalog import Catalog
from skyextract.io.catalogs.formats import write_catalog
catalog = Catalog({{"NUMBER": np.arange(3), "MAG_AUTO": np.ones(3)}})
write_catalog({str(tmp_path / "a")!r}, "FITS_LDAC", [(catalog, fits.Header(), {{}})])
assert "astropy.table" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)
