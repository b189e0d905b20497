"""Reference catalogues in all formats, units and spellings."""

import gzip
import subprocess
import sys

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.table import QTable, Table

from skyextract.errors import ReferenceCatalogError
from skyextract.io.references.reference import NSIDE, _touched, read_reference
from skyextract.run import Run

N = 5
RA = np.array([359.99, 0.01, 10.0, 83.5, 200.25])
DEC = np.array([-0.5, 0.5, 89.9, -45.25, 12.0])
MAG = np.array([10.0, 12.0, np.nan, 15.5, 18.0])


def gaia(ra=RA) -> Table:
    return Table({
        "source_id": np.arange(N), "ra": ra, "dec": DEC, "ra_error": np.full(N, 0.1),
        "dec_error": np.full(N, 0.2), "pmra": np.full(N, 5.0), "pmdec": np.full(N, -3.0),
        "ref_epoch": np.full(N, 2016.0), "phot_g_mean_mag": MAG,
        "phot_g_mean_flux_over_error": np.full(N, 100.0), "name": ["a", "b", "c", "d", "e"],
    })  # fmt: skip


def check(catalog, tolerance=1e-9):
    np.testing.assert_allclose(catalog.ra, RA, atol=tolerance)
    np.testing.assert_allclose(catalog.dec, DEC, atol=tolerance)
    np.testing.assert_allclose(catalog.mag, MAG, atol=1e-5)


@pytest.mark.parametrize(
    ("suffix", "form"),
    [("fits", "fits"), ("csv", "ascii.csv"), ("ecsv", "ascii.ecsv"), ("xml", "votable"),
     ("tsv", "ascii.tab"), ("parquet", "parquet"), ("fits.gz", "fits"), ("dat", "ascii.basic")],
)  # fmt: skip
def test_formats(tmp_path, suffix, form):
    if form == "parquet":
        pytest.importorskip("pyarrow")
    path = str(tmp_path / f"ref.{suffix}")
    if form == "parquet":
        import pyarrow as pa
        import pyarrow.parquet

        table = gaia()
        pa.parquet.write_table(pa.table({c: np.asarray(table[c]) for c in table.colnames}), path)
    else:
        gaia().write(path, format=form)
    catalog = read_reference([path], Run())
    check(catalog)
    assert catalog.mag_key == "phot_g_mean_mag"
    np.testing.assert_allclose(catalog.ra_error, 1e-4, rtol=1e-6)
    np.testing.assert_allclose(catalog.dec_error, 2e-4, rtol=1e-6)
    np.testing.assert_allclose(catalog.pmra, 5.0)
    np.testing.assert_allclose(catalog.pmdec, -3.0)
    np.testing.assert_allclose(catalog.epoch, 2016.0)
    np.testing.assert_allclose(catalog.magnitude_errors["phot_g_mean_mag"], 0.010857, rtol=1e-3)
    np.testing.assert_array_equal(catalog.row, np.arange(N))


def test_units_of_the_table(tmp_path):
    path = str(tmp_path / "ref.fits")
    fits.BinTableHDU.from_columns([
        fits.Column("RAJ2000", "D", unit="hourangle", array=RA / 15.0),
        fits.Column("DEJ2000", "D", unit="deg", array=DEC),
        fits.Column("e_RAJ2000", "E", unit="arcsec", array=np.full(N, 0.1)),
        fits.Column("e_DEJ2000", "E", unit="arcsec", array=np.full(N, 0.2)),
        fits.Column("pmRA", "E", unit="arcsec/yr", array=np.full(N, 0.005)),
        fits.Column("pmDE", "E", unit="arcsec/yr", array=np.full(N, -0.003)),
        fits.Column("Vmag", "E", unit="mag", array=MAG),
        fits.Column("e_Vmag", "E", unit="mag", array=np.full(N, 0.02)),
    ]).writeto(path)  # fmt: skip
    catalog = read_reference([path], Run())
    check(catalog)
    np.testing.assert_allclose(catalog.ra_error, 0.1, rtol=1e-6)
    np.testing.assert_allclose(catalog.pmra, 5.0, rtol=1e-6)
    np.testing.assert_allclose(catalog.epoch, 2000.0)
    assert list(catalog.magnitudes) == ["Vmag"]
    np.testing.assert_allclose(catalog.magnitude_errors["Vmag"], 0.02, rtol=1e-6)


def test_fits_tables_are_read_without_the_table_module(tmp_path):
    path = str(tmp_path / "ref.fits")
    gaia().write(path)
    code = (
        "import sys\nfrom skyextract.io.references.reference import read_reference\n"
        "from skyextract.run import Run\n"
        f"read_reference([{path!r}], Run())\nprint('astropy.table' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False"]


def test_radians(tmp_path):
    path = str(tmp_path / "ref.fits")
    columns = [fits.Column("coord_ra", "D", unit="rad", array=np.deg2rad(RA)),
               fits.Column("coord_dec", "D", unit="rad", array=np.deg2rad(DEC)),
               fits.Column("mag", "D", array=MAG)]  # fmt: skip
    fits.BinTableHDU.from_columns(columns).writeto(path)
    check(read_reference([path], Run()))


def test_negative_right_ascension(tmp_path):
    path = str(tmp_path / "ref.fits")
    gaia((RA + 180.0) % 360.0 - 180.0).write(path)
    check(read_reference([path], Run()))


def test_sexagesimal_text(tmp_path):
    path = tmp_path / "ref.csv"
    path.write_text(
        "RAJ2000,DEJ2000,Vmag\n"
        "23:59:57.6,-00:30:00,10\n00 00 02.4,+00 30 00,12\n0h40m0s,+89d54m00s,\n"
        "05:34:00,-45:15:00,15.5\n13:21:00,12:00:00,18\n"
    )
    check(read_reference([str(path)], Run()), 1e-8)


def test_vizier_text_with_units_and_ruler(tmp_path):
    path = tmp_path / "ref.tsv"
    rows = "\n".join(f"{a}\t{d}\t{m}" for a, d, m in zip(RA, DEC, MAG, strict=True))
    path.write_text(
        f"#\n#  VizieR\n\nRA_ICRS\tDE_ICRS\tGmag\ndeg\tdeg\tmag\n-----\t-----\t----\n{rows}\n"
    )
    catalog = read_reference([str(path)], Run())
    check(catalog)
    np.testing.assert_allclose(catalog.epoch, 2016.0)


def test_values_that_are_missing(tmp_path):
    path = tmp_path / "ref.tsv"
    path.write_text("\ufeffra\tdec\tepoch\tr \n1\t2\t2015\t12.5\n 3\t 4 \t\t\n5\t6\t2016\t  \n")
    masked = Table({"ra": [1.0, 3.0, 5.0], "dec": [2.0, 4.0, 6.0]}, masked=True)
    masked["epoch"] = np.ma.array([2015, 0, 2016], mask=[False, True, False])
    masked["r"] = np.ma.array([12.5, 0.0, 1.0], mask=[False, True, True])
    masked["name"] = np.ma.array(["a", "b", "c"], mask=[False, True, False])
    masked.write(tmp_path / "ref.xml", format="votable")
    masked.write(tmp_path / "ref.ecsv")
    for suffix in ("tsv", "xml", "ecsv"):
        catalog = read_reference([str(tmp_path / f"ref.{suffix}")], Run())
        np.testing.assert_array_equal(catalog.ra, [1.0, 3.0, 5.0])
        np.testing.assert_array_equal(catalog.dec, [2.0, 4.0, 6.0])
        np.testing.assert_array_equal(catalog.epoch, [2015.0, np.nan, 2016.0])
        np.testing.assert_array_equal(catalog.magnitudes["r"], [12.5, np.nan, np.nan])


def test_units_and_positions_of_an_ecsv_table(tmp_path):
    path = str(tmp_path / "ref.ecsv")
    table = QTable({
        "ra": RA / 15.0 * u.hourangle, "dec": DEC * u.deg, "rmag": MAG * u.ABmag,
        "pmra": np.full(N, 0.005) * u.arcsec / u.yr, "pmdec": np.full(N, -3.0) * u.mas / u.yr,
        "sky": SkyCoord(RA, DEC, unit="deg"),
    })  # fmt: skip
    table.write(path)
    catalog = read_reference([path], Run())
    check(catalog)
    np.testing.assert_allclose(catalog.pmra, 5.0)
    np.testing.assert_allclose(catalog.pmdec, -3.0)
    check(read_reference([path], Run(), centre_keys=("sky.ra", "sky.dec")))


@pytest.mark.parametrize("delimiter", [" ", "   ", ",", ";", "|", "\t"])
def test_delimiters_and_compression(tmp_path, delimiter):
    rows = [("RAdeg", "DEdeg", "Vmag"), *zip(RA, DEC, MAG, strict=True)]
    text = "\n".join(delimiter.join(map(str, row)) for row in rows)
    path = tmp_path / "ref.txt.gz"
    path.write_bytes(gzip.compress(f"# a comment\n\n{text}\n\n".encode()))
    check(read_reference([str(path)], Run()))


def test_null_and_scaled_integers(tmp_path):
    path = str(tmp_path / "ref.fits")
    raw = np.round(np.where(np.isfinite(MAG), MAG, -9.999) * 1000.0).astype(np.int32)
    table = fits.BinTableHDU.from_columns([
        fits.Column("RA", "D", array=RA), fits.Column("DEC", "D", array=DEC),
        fits.Column("rmag", "J", null=-9999, array=raw),
    ])  # fmt: skip
    table.header["TSCAL3"] = 0.001
    table.writeto(path)
    check(read_reference([path], Run()))


def test_bad_rows_are_left_out(tmp_path):
    path = tmp_path / "ref.csv"
    path.write_text("ra,dec,r\n10,20,15\n,20,15\n11,95,15\nx,y,15\n12,-20,-999\n")
    catalog = read_reference([str(path)], Run())
    np.testing.assert_array_equal(catalog.ra, [10.0, 12.0])
    np.testing.assert_array_equal(catalog.row, [0, 4])
    assert np.isnan(catalog.mag[1])


def test_named_columns_win(tmp_path):
    path = str(tmp_path / "ref.fits")
    table = gaia(RA * 0.0)
    table["alpha_true"], table["delta_true"], table["W1"] = RA, DEC, MAG
    table.write(path)
    named = {"centre_keys": ("alpha_true", "DELTA_TRUE"), "mag_key": "w1"}
    catalog = read_reference([path], Run(), **named)
    check(catalog)
    assert catalog.mag_key == "W1"
    for wrong in ({"centre_keys": ("a", "b")}, {"mag_key": "K"},
                  {"error_keys": ("ea", "eb")}, {"motion_keys": ("pa", "pb")}):  # fmt: skip
        with pytest.raises(ReferenceCatalogError):
            read_reference([path], Run(), **{**named, **wrong})


def test_several_files_are_joined(tmp_path):
    paths = [str(tmp_path / name) for name in ("a.fits", "b.csv")]
    gaia().write(paths[0])
    Table({"ra": (RA + 1.0) % 360.0, "dec": DEC, "r": MAG}).write(paths[1])
    catalog = read_reference(paths, Run())
    assert catalog.n_stars == 2 * N
    assert set(catalog.magnitudes) == {"phot_g_mean_mag", "r"}
    assert np.isnan(catalog.magnitudes["r"][:N]).all()
    assert len(set(catalog.row.tolist())) == 2 * N
    near = read_reference(paths, Run(), region=(0.0, 0.0, 1.2))
    assert sorted(near.ra.tolist()) == pytest.approx([0.01, 0.99, 1.01, 359.99])


def test_empty_table(tmp_path):
    path = str(tmp_path / "ref.fits")
    gaia()[:0].write(path)
    assert read_reference([path], Run()).n_stars == 0
    text = tmp_path / "ref.csv"
    text.write_text("ra,dec,r\n")
    assert read_reference([str(text)], Run()).n_stars == 0


@pytest.mark.parametrize(
    "content",
    [b"", b"# only\n\n", b"\0\1\2" * 100, b"SIMPLE  = nonsense", b"a,b\n1,2\n", b"ra,dec\n1\n",
     b"ra,dec\n1,2\n1,2,3\n", b'ra,dec\n1,2\n"3,4\n5,6\n',
     b"# %ECSV 1.0\n# ---\n# datatype:\n# - {name: ra\nra\n1\n",
     b"# %ECSV 1.0\n# ---\n# datatype:\n# - {name: ra, datatype: float64}\nra dec\n1 2\n",
     b"# %ECSV 1.0\n# ---\n# datatype:\n# - {name: ra, datatype: float64}\nra\nx\n",
     b"<?xml version='1.0'?>", b"PAR1 nothing", b"\x1f\x8b broken"],
)  # fmt: skip
def test_unreadable_files_are_clear_errors(tmp_path, content, capfd):
    path = tmp_path / "ref.dat"
    path.write_bytes(content)
    with pytest.raises(ReferenceCatalogError, match=r"ref\.dat") as caught:
        read_reference([str(path)], Run())
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_missing_file(tmp_path):
    with pytest.raises(ReferenceCatalogError, match="No such file"):
        read_reference([str(tmp_path / "none.fits")], Run())


def test_only_the_chunks_needed_are_read(tmp_path, shared_data):
    for path in (shared_data / "decam_tpv/gaia").glob("*.fits"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    # A chunk far away that would be an error if it were opened.
    (tmp_path / "chunk-00001.fits").write_bytes(b"broken")
    whole = read_reference([str(shared_data / "decam_tpv/gaia/chunk-05483.fits")], Run())
    region = (float(whole.ra.mean()), float(whole.dec.mean()), 0.1)
    catalog = read_reference([str(tmp_path)], Run(), region=region)
    assert 0 < catalog.n_stars < whole.n_stars
    assert catalog.mag_key == "phot_g_mean_mag"
    with pytest.raises(ReferenceCatalogError, match="no chunk"):
        read_reference([str(tmp_path)], Run(), region=(300.0, -60.0, 0.1))
    with pytest.raises(ReferenceCatalogError, match="pointing"):
        read_reference([str(tmp_path)], Run())


@pytest.mark.parametrize("radius", [0.01, 0.5, 5.0, 60.0, 180.0])
def test_no_chunk_that_a_disc_touches_is_missed(radius):
    healpix = pytest.importorskip("astropy_healpix").HEALPix(NSIDE, "ring")
    rng = np.random.default_rng(5)
    for place in ((0.0, 90.0), (1.0, -89.9), (0.001, 0.0), (123.4, 41.8)):
        centre = SkyCoord(*place, unit="deg")
        angle, distance = rng.uniform(0.0, 360.0, 2000), radius * np.sqrt(rng.random(2000))
        inside = centre.directional_offset_by(angle * u.deg, distance * u.deg)
        own = set(healpix.lonlat_to_healpix(inside.ra, inside.dec).tolist())
        assert own <= set(_touched(*place, radius).tolist())


def test_chunks_without_the_library_are_one_clear_error(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "hpgeom", None)
    with pytest.raises(ReferenceCatalogError, match=r"skyextract\[healpix\]"):
        read_reference([str(tmp_path)], Run(), region=(10.0, 20.0, 0.1))


def test_real_catalogues(shared_data):
    folder = shared_data / "sdss_stripe82/refcat"
    table, text, ldac = (
        read_reference([str(folder / f"sdss_stars_field.{s}")], Run())
        for s in ("fits", "csv", "ldac")
    )
    assert table.n_stars == text.n_stars == ldac.n_stars == 1025
    assert list(table.magnitudes) == list("ugriz") == list(table.magnitude_errors)
    for other in (text, ldac):
        np.testing.assert_allclose(other.ra, table.ra, atol=1e-9)
        np.testing.assert_allclose(other.mag, table.mag, atol=1e-5)
    np.testing.assert_allclose(ldac.ra_error, 0.05, rtol=1e-5)
    tycho = read_reference([str(shared_data / "panoptes/tycho2_panoptes.csv")], Run())
    assert tycho.mag_key == "VTmag"


@pytest.mark.parametrize(
    ("head", "delimiter"),
    [
        ("# RA DEC r", " "),  # TOPCAT's ASCII
        ("#RA,DEC,r", ","),
        ("# written on 2026-02-14 by a script\n# RA DEC r", " "),
        ("# RA\tDEC\tr", "\t"),
    ],
)
def test_names_in_a_comment(tmp_path, head, delimiter):
    rows = np.array([[150.1, 2.2, 17.5], [150.2, 2.1, 18.25]])
    path = tmp_path / "ref.txt"
    text = "\n".join(delimiter.join(map(str, row)) for row in rows)
    path.write_text(f"{head}\n{text}\n")
    found = read_reference([str(path)], Run())
    assert np.array_equal(found.ra, rows[:, 0])
    assert np.array_equal(found.magnitudes["r"], rows[:, 2])


def test_names_that_savetxt_writes(tmp_path):
    rows = np.array([[150.1, 2.2, 17.5], [150.2, 2.1, 18.25]])
    np.savetxt(tmp_path / "ref.txt", rows, header="ra dec rmag")
    found = read_reference([str(tmp_path / "ref.txt")], Run())
    assert np.array_equal(found.magnitudes["rmag"], rows[:, 2])


def test_a_comment_that_is_no_line_of_names(tmp_path):
    (tmp_path / "ref.txt").write_text("# three of the stars\nra,dec,r\n1,2,15\n")
    assert read_reference([str(tmp_path / "ref.txt")], Run()).ra[0] == 1.0


OWN = {
    "names in a comment": "# name ra dec r\nS0 10:00:01.719 +19:57:20.44 16.86\n"
                         "S1 09:59:53 -1:2:3 17",
    "degrees": "150.007163 19.955678 16.86\n149.970833 -1.034167 17.00",
    "degrees with numbers before": "1,512.4,88.25,150.007163,19.955678,16.86\n"
                                   "2,5.4,100.22,149.970833,-1.034167,17.0",
    "six columns": "S0 10 00 01.719 +19 57 20.44 16.86\nS1 09 59 53 -01 02 03 17.0",
    "six columns, two names": "name ra dec r\nS0 10 00 01.719 19 57 20.44 16.86\n"
                              "S1 9 59 53 -1 02 03 17",
    "decimal commas": "RA;DEC;r\n150,007163;19,955678;16,86\n149,970833;-1,034167;17",
}  # fmt: skip


@pytest.mark.parametrize("text", OWN.values(), ids=OWN)
def test_lists_as_people_write_them(tmp_path, caplog, text):
    """Columns without names are told by their numbers, by which they can be named, too."""
    path = str(tmp_path / "own.txt")
    (tmp_path / "own.txt").write_text(text + "\n")
    caplog.set_level(1)
    found = read_reference([path], Run())
    np.testing.assert_allclose(found.ra, [150.0071625, 149.9708333], atol=1e-6)
    np.testing.assert_allclose(found.dec, [19.9556778, -1.0341667], atol=1e-6)
    np.testing.assert_array_equal(found.mag, [16.86, 17.0])
    assert ("no line of names: columns" in caplog.text) == found.mag_key.isdigit()
    if found.mag_key.isdigit():
        last = int(found.mag_key)
        keys = {"centre_keys": (str(last - 2), str(last - 1)), "mag_key": str(last)}
        np.testing.assert_array_equal(read_reference([path], Run(), **keys).ra, found.ra)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('# Region file format: DS9\nfk5\ncircle(1.0,2.0,2")\n', "region file of DS9"),
        ("12 512.4 88.25\n13 9.1 100.25\n", "no columns of RA and Dec found"),
        ("image,x,y\na,1,2\n", "no columns of RA and Dec found"),
    ],
)
def test_lists_without_positions(tmp_path, text, message):
    (tmp_path / "a.txt").write_text(text)
    with pytest.raises(ReferenceCatalogError, match=message):
        read_reference([str(tmp_path / "a.txt")], Run())


def test_sources_of_an_image_have_its_epoch(tmp_path):
    """Not 2000, for which the names of SExtractor's columns stand in VizieR's tables."""
    found = Table({"ALPHA_J2000": RA, "DELTA_J2000": DEC})
    cards = fits.Header({"DATE-OBS": "2020-07-01T12:00:00"}).tostring(padding=False)
    head = Table({"Field Header Card": [[cards[k : k + 80] for k in range(0, len(cards), 80)]]})
    parts = (fits.BinTableHDU(head, name="LDAC_IMHEAD"), fits.BinTableHDU(found))
    fits.HDUList([fits.PrimaryHDU(), *parts]).writeto(tmp_path / "own.cat")
    catalog = read_reference([str(tmp_path / "own.cat")], Run())
    np.testing.assert_allclose(catalog.epoch, 2020.5, atol=0.01)
    found.write(tmp_path / "bare.fits")
    assert np.isnan(read_reference([str(tmp_path / "bare.fits")], Run()).epoch).all()


def test_rows_that_repeat_others_are_left_out(tmp_path):
    """Copies go, in any order of rows; the same place with another magnitude is another entry."""
    other = gaia()
    other["phot_g_mean_mag"][0] += 0.3
    tables = {"a": gaia(), "b": other, "c": gaia()}
    for name, table in tables.items():
        table.write(tmp_path / f"{name}.fits")
    for order in ("ac", "cac"):
        check(read_reference([str(tmp_path / f"{name}.fits") for name in order], Run()))
    catalog = read_reference([str(tmp_path / f"{name}.fits") for name in "abc"], Run())
    assert catalog.n_stars == N + 1
    np.testing.assert_array_equal(catalog.row, [0, 1, 2, 3, 4, 5])
    np.testing.assert_allclose(catalog.mag[[0, 5]], [10.0, 10.3], atol=1e-5)


@pytest.mark.parametrize(
    ("mags", "unknown"),
    [
        ([14.0, 0.0, 15.0, 0.0, 18.0], [1, 3]),
        ([14.0, 0.0, 15.0, 0.0, 99.0], [1, 3, 4]),
        ([14.0, -9.99, 15.0, -9.99, 16.0], [1, 3]),
        ([14.0, 30.0, 15.0, 30.0, 16.0], [1, 3]),
        ([14.0, 18.0, 15.0, 18.0, 16.0], []),
        ([14.0, 0.0, 15.0, 16.0, 18.0], []),  # Vega
        ([1.2, 0.0, 2.1, 0.0, -0.3], []),  # instrumental, or differences
    ],
)
def test_equal_magnitudes_far_from_all_others_are_none(tmp_path, mags, unknown):
    table = gaia()
    table["phot_g_mean_mag"] = mags
    table.write(tmp_path / "ref.fits")
    mag = read_reference([str(tmp_path / "ref.fits")], Run()).mag
    assert np.flatnonzero(np.isnan(mag)).tolist() == unknown


def test_ascii_head_of_sextractor(tmp_path):
    path = tmp_path / "sex.cat"
    path.write_text(
        "#   1 NUMBER          Running object number\n"
        "#   2 ALPHA_J2000     Right ascension of barycenter (J2000)   [deg]\n"
        "#   3 DELTA_J2000     Declination of barycenter (J2000)       [deg]\n"
        "#   4 MAG_APER        Fixed aperture magnitude vector         [mag]\n"
        "#   6 MAGERR_APER     RMS error vector for it                 [mag]\n"
        "#   8 FLAGS           Extraction flags\n"
        "         1 150.1 +2.1 14.1 14.2 .01 .02   0\n"
        "         2 150.2 -2.2 15.1 15.2 .03 .04   0\n"
    )
    found = read_reference([str(path)], Run())
    assert found.ra.tolist() == [150.1, 150.2]
    assert found.dec.tolist() == [2.1, -2.2]
    assert found.magnitudes["MAG_APER"].tolist() == [14.1, 15.1]
    assert found.magnitude_errors["MAG_APER"].tolist() == [0.01, 0.03]


@pytest.mark.parametrize(
    ("unit", "of_20"),
    [("uJy", 36.307805), ("nJy", 36307.805), ("nanomaggy", 10.0), ("Jy", 3.63078e-5)],
)
def test_fluxes_that_are_named_are_ab_magnitudes(tmp_path, unit, of_20):
    """3631 Jy are 0 mag; a flux of 2 % error has one of .0217 mag."""
    flux = np.array([1.0, 100.0, -1.0]) * of_20
    table = Table({"ra": [1.0, 2.0, 3.0], "dec": [3.0, 4.0, 5.0], "r_flux": flux})
    table["r_flux_err"] = 0.02 * np.abs(flux)
    table["r_flux"].unit = unit
    table.write(tmp_path / "ref.ecsv")
    found = read_reference([str(tmp_path / "ref.ecsv")], Run(), also=("r_flux",))
    np.testing.assert_allclose(found.magnitudes["r_flux"], [20.0, 15.0, np.nan], atol=2e-4)
    np.testing.assert_allclose(
        found.magnitude_errors["r_flux"], [0.02171, 0.02171, np.nan], atol=1e-4
    )
