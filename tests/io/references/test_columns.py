"""Columns as the archives name them: what is taken for what."""

import gzip

import numpy as np
import pytest
from astropy.table import Table

from skyextract.errors import ReferenceCatalogError
from skyextract.io.references.reference import read_reference
from skyextract.run import Run
from skyextract.sky.bands import column_bands

ARCHIVES = {
    # archive: header line, bands, columns with an error
    "APASS, VizieR": (
        "recno,RAJ2000,DEJ2000,e_RAJ2000,e_DEJ2000,Field,nobs,B-V,Vmag,e_Vmag,Bmag,e_Bmag,"
        "g'mag,e_g'mag,r'mag,e_r'mag,i'mag,e_i'mag", "VBgri", "VBgri"),
    "APASS, escaped": ("RAJ2000,DEJ2000,Vmag,e_Vmag,g_mag,e_g_mag,r_mag,e_r_mag", "Vgr", "Vgr"),
    "APASS, AAVSO": (
        'radeg,raerr("),decdeg,decerr("),number_of_Obs,Johnson_V (V),Verr,Johnson_B (B),B_err,'
        "Sloan_g (SG),gerr,Sloan_r (SR),rerr", "VBgr", "VBgr"),
    "units in the names": ("RA (deg),Dec (deg),g'mag (mag),e_g'mag (mag),r mag [mag]", "gr", "g"),
    "AAVSO comparison stars": ("AUID,RA,Dec,Label,B,V,Rc,Ic,SG,SR,SI,SZ", "BVRIgriz", ""),
    "Gaia archive": (
        "source_id,ra,ra_error,dec,dec_error,pmra,pmra_error,pmdec,pmdec_error,ref_epoch,"
        "phot_g_mean_mag,phot_g_mean_flux_over_error,phot_bp_mean_mag,phot_rp_mean_mag,bp_rp",
        ("G", "BP", "RP"), ("G",)),
    "Gaia synthetic photometry": (
        "ra,dec,u_sdss_mag,u_sdss_mag_error,r_sdss_mag,v_jkc_mag,r_jkc_mag", "urVR", "u"),
    "SDSS CasJobs": (
        "objID,ra,dec,type,psfMag_u,psfMag_r,psfMagErr_r,modelMag_r,modelMagErr_r,petroMag_r,"
        "extinction_r", "urrr", "rr"),
    "SDSS CasJobs, short": ("ra,dec,u,g,r,Err_u,Err_g,Err_r", "ugr", "ugr"),
    "Pan-STARRS, MAST": (
        "objID,raMean,decMean,raMeanErr,decMeanErr,epochMean,gMeanPSFMag,gMeanPSFMagErr,"
        "rMeanPSFMag,rMeanPSFMagErr,rMeanKronMag,rMeanPSFMagStd", "grr", "gr"),
    "Pan-STARRS, VizieR": (
        "RAJ2000,DEJ2000,objID,e_RAJ2000,e_DEJ2000,gmag,e_gmag,gKmag,e_gKmag,rmag,e_rmag",
        "ggr", "ggr"),
    "SkyMapper": (
        "object_id,raj2000,dej2000,e_raj2000,e_dej2000,mean_epoch,u_psf,e_u_psf,v_psf,e_v_psf,"
        "g_psf,e_g_psf,g_petro,class_star", "ugg", "ug"),
    "ATLAS-REFCAT2": (
        "RA,Dec,plx,dplx,pmra,dpmra,pmdec,dpmdec,Gaia,dGaia,BP,dBP,RP,dRP,Teff,AGaia,dupvar,Ag,"
        "rp1,r1,r10,g,dg,gchi,gcontrib,r,dr,J,dJ,K,dK",
        ("G", "BP", "RP", "g", "r", "J", "Ks"), ("G", "BP", "RP", "g", "r", "J", "Ks")),
    "2MASS, IRSA": (
        "ra,dec,err_maj,err_min,j_m,j_cmsig,j_msigcom,h_m,h_msigcom,k_m,k_msigcom",
        ("J", "H", "Ks"), ("J", "H", "Ks")),
    "2MASS, VizieR": (
        "RAJ2000,DEJ2000,_2MASS,Jmag,e_Jmag,Hmag,e_Hmag,Kmag,e_Kmag,Qflg",
        ("J", "H", "Ks"), ("J", "H", "Ks")),
    "DES": ("RA,DEC,MAG_AUTO_G,MAGERR_AUTO_G,WAVG_MAG_PSF_R,WAVG_MAGERR_PSF_R", "gr", "gr"),
    "Sloan in words": ("ra,dec,V,r_sdss,Sloan_i,SDSS g'", "Vrig", ""),
    "typographic primes": ("ra,dec,g\u2032,r\u2019mag", "gr", ""),
}  # fmt: skip


@pytest.mark.parametrize("archive", ARCHIVES)
def test_archives(tmp_path, archive):
    line, bands, with_error = ARCHIVES[archive]
    names = line.split(",")
    # Each column has its own value, which is a position, a motion and a magnitude alike.
    values = [f"{10 + k}.5" for k in range(len(names))]
    path = tmp_path / "ref.csv"
    path.write_text(f"{line}\n{','.join(values)}\n")
    catalog = read_reference([str(path)], Run())
    found = column_bands(catalog.magnitudes)
    assert list(found.values()) == list(bands)
    assert [found[key] for key in catalog.magnitude_errors if key in found] == list(with_error)
    for key, values_ in catalog.magnitude_errors.items():
        if "flux" not in line:
            # The error stands right behind its magnitude, or as far behind for all.
            column = names[int(values_[0] - 10.5)].lower()
            assert any(mark in column for mark in ("err", "e_", "sig", "d"))
            assert found.get(key, "")[:1].lower() in column


def test_the_errors_of_names_that_differ_by_case(tmp_path):
    path = tmp_path / "ref.csv"
    path.write_text("ra,dec,gmag,Gmag,e_Gmag,e_gmag\n1,2,15,16,0.1,0.2\n3,4,15,16,0.1,0.2\n")
    errors = read_reference([str(path)], Run()).magnitude_errors
    assert (errors["gmag"][0], errors["Gmag"][0]) == (0.2, 0.1)


def test_a_key_with_its_unit_finds_its_column(tmp_path):
    path = tmp_path / "ref.csv"
    path.write_text("ra,dec,g'mag (mag),other (mag)\n1,2,15,16\n")
    for key in ("other (mag)", "other", "OTHER"):
        assert read_reference([str(path)], Run(), mag_key=key).mag_key == "other"


def test_epochs_as_years_mjd_and_jd(tmp_path):
    path = tmp_path / "ref.csv"
    path.write_text("ra,dec,r,epoch\n1,2,15,2010.5\n2,2,15,51544.5\n3,2,15,2451545.0\n4,2,15,0\n")
    np.testing.assert_array_equal(
        read_reference([str(path)], Run()).epoch, [2010.5, 2000, 2000, np.nan]
    )
    path.write_text("ra,dec,r,epoch\n1,2,15,J2000.0\n")
    assert read_reference([str(path)], Run()).epoch[0] == 2000.0


@pytest.mark.parametrize("mark", ["", "-9999", "nan", "0", "99.99", "1e20"])
def test_marks_of_an_unknown_motion(tmp_path, mark):
    rows = [f"{k},1,15,{mark},{mark}" for k in range(2)] + [f"{k},1,15,3.0,-4.0" for k in (5, 6, 7)]
    path = tmp_path / "ref.csv"
    path.write_text("\n".join(["ra,dec,r,pmra,pmdec", *rows]) + "\n")
    catalog = read_reference([str(path)], Run())
    np.testing.assert_array_equal(catalog.pmra, [np.nan, np.nan, 3.0, 3.0, 3.0])
    np.testing.assert_array_equal(catalog.pmdec, [np.nan, np.nan, -4.0, -4.0, -4.0])


def test_motions_of_zero_where_most_stars_have_it(tmp_path):
    path = tmp_path / "ref.csv"
    path.write_text(
        "ra,dec,r,pmra,pmdec\n1,1,15,3,-4\n" + "".join(f"{k},1,15,0,0\n" for k in "2345")
    )
    assert read_reference([str(path)], Run()).pmra.tolist() == [3.0, 0.0, 0.0, 0.0, 0.0]


def _votable(stream: str) -> bytes:
    return (
        '<?xml version="1.0"?>\n<VOTABLE version="1.3" xmlns="http://www.ivoa.net/xml/VOTable/v1.3">'
        '<RESOURCE><TABLE><FIELD name="ra" datatype="double"/><FIELD name="dec" datatype="double"/>'
        f"<DATA><BINARY>{stream}</BINARY></DATA></TABLE></RESOURCE></VOTABLE>"
    ).encode()


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("where", ["file:///etc/hostname", "http://127.0.0.1:9/x", "FILE", ""])
def test_data_that_stand_elsewhere_are_not_fetched(tmp_path, monkeypatch, where, compressed):
    def opened(*args, **kwargs):
        raise AssertionError(args)

    monkeypatch.setattr("urllib.request.urlopen", opened)
    monkeypatch.setattr("astropy.utils.data.download_file", opened)
    if where == "FILE":
        data = tmp_path / "data.bin"
        data.write_bytes(np.array([1.0, 2.0], ">f8").tobytes())
        where = data.as_uri()
    raw = _votable(f'<STREAM href="{where}" encoding="base64"/>')
    path = tmp_path / "ref.xml"
    if compressed:
        raw = gzip.compress(raw)
    path.write_bytes(raw)
    with pytest.raises(ReferenceCatalogError, match=r"STREAM href .*not followed"):
        read_reference([str(path)], Run())


@pytest.mark.parametrize("form", ["binary", "binary2", "tabledata"])
def test_data_within_the_file_are_read(tmp_path, form):
    from astropy.io.votable import from_table, writeto

    path = tmp_path / "ref.xml"
    table = Table({"ra": [1.0, 3.0], "dec": [2.0, 4.0], "r": [15.0, 16.0]})
    writeto(from_table(table), str(path), tabledata_format=form)
    catalog = read_reference([str(path)], Run())
    assert catalog.dec.tolist() == [2.0, 4.0]
    assert catalog.mag.tolist() == [15.0, 16.0]


def test_a_stream_that_an_entity_hides_is_seen(tmp_path):
    text = _votable("&s;").decode().replace(
        '<VOTABLE', '<!DOCTYPE x [<!ENTITY s \'<&#83;TREAM href="file:///etc/hostname"/>\'>]><VOTABLE'
    )  # fmt: skip
    path = tmp_path / "ref.xml"
    path.write_bytes(text.encode())
    with pytest.raises(ReferenceCatalogError, match="STREAM href"):
        read_reference([str(path)], Run())


@pytest.mark.parametrize(("unit", "factor"), [
    ("mag", 1.0), ("mmag", 1e-3), ("0.01mag", 1e-2), ("10**-2 mag", 1e-2), ("cmag", 1e-2),
    ("0.001 mag", 1e-3), ("[0.001mag]", 1e-3), ("mag(AB)", 1.0), ("", 1.0),
])  # fmt: skip
def test_parts_of_magnitudes(tmp_path, unit, factor):
    """UCAC4 has its errors in 0.01 mag, others in thousandths."""
    path = tmp_path / "a.tsv"
    mark = unit or " "
    path.write_text(
        f"ra\tdec\trmag\te_rmag\ndeg\tdeg\t{mark}\t{mark}\n---\t---\t----\t------\n"
        f"150\t2\t{15.0 / factor}\t{0.03 / factor}\n150.1\t2\t{16.0 / factor}\t{0.04 / factor}\n"
    )
    found = read_reference([str(path)], Run())
    np.testing.assert_allclose(found.magnitudes["rmag"], [15.0, 16.0])
    np.testing.assert_allclose(found.magnitude_errors["rmag"], [0.03, 0.04])


@pytest.mark.parametrize(("names", "size", "arcsec"), [
    (["Vmag"], 0.4, 0.4), (["gmag", "rmag"], 0.02, 0.02), (["rmag"], 40.0, 0.04),
    (["Gmag"], 0.4, 0.4e-3), (["rmag", "Plx"], 0.4, 0.4e-3),
])  # fmt: skip
def test_errors_of_j2000_positions_without_a_unit(tmp_path, names, size, arcsec):
    """Those of APASS and Pan-STARRS are in arcsec, of UCAC4 and Gaia in mas."""
    given = {"RAJ2000": 150.0, "DEJ2000": 2.0, "e_RAJ2000": size, "e_DEJ2000": size}
    path = tmp_path / "a.csv"
    path.write_text(
        ",".join([*given, *names])
        + "\n"
        + ",".join(map(str, [*given.values(), *[15.0] * len(names)]))
    )
    assert read_reference([str(path)], Run()).ra_error[0] == pytest.approx(arcsec)


@pytest.mark.parametrize("names", ["e_ra,e_dec", "sigma_RA,sigma_Dec", "ra_sigma,dec_sigma"])
@pytest.mark.parametrize(("size", "arcsec"), [(0.03, 0.03), (30.0, 0.03)])
def test_errors_that_are_named_after_ra_and_dec(tmp_path, names, size, arcsec):
    path = tmp_path / "a.csv"
    path.write_text(f"ra,dec,{names},rmag\n150,2,{size},{size},15\n")
    found = read_reference([str(path)], Run())
    assert (found.ra_error[0], found.dec_error[0]) == pytest.approx((arcsec, arcsec))


def test_the_epoch_of_gaia_is_not_that_of_sdss(tmp_path):
    for names, epoch in ((["gmag", "rmag"], None), (["Gmag"], 2016.0)):
        path = tmp_path / "a.csv"
        path.write_text(",".join(["RA_ICRS", "DE_ICRS", *names]) + "\n150,2" + ",15" * len(names))
        found = read_reference([str(path)], Run()).epoch[0]
        assert np.isnan(found) if epoch is None else found == epoch


def test_a_table_of_ipac(tmp_path):
    table = Table(
        {"ra": [150.0, 150.1], "dec": [2.0, 2.1], "j_m": [12.0, 13.0], "j_cmsig": [0.02, 0.03]}
    )
    table["ra"].unit = "deg"
    path = tmp_path / "a.tbl"
    table.write(path, format="ascii.ipac")
    for text in (path.read_text(), "\\fixlen = T\n\\ a comment\n" + path.read_text()):
        path.write_text(text)
        found = read_reference([str(path)], Run())
        np.testing.assert_allclose(found.ra, [150.0, 150.1])
        np.testing.assert_allclose(found.magnitudes["j_m"], [12.0, 13.0])
        np.testing.assert_allclose(found.magnitude_errors["j_m"], [0.02, 0.03])


def test_degrees_in_brackets_and_simbads_names(tmp_path):
    path = tmp_path / "a.tsv"
    path.write_text(
        "AUID\tRA\tDec\tV\n1\t10:00:00.0 [150.0\u00b0]\t+02:30:00 [2.5\u00b0]\t12.1 (0.02)\n"
    )
    found = read_reference([str(path)], Run())
    np.testing.assert_allclose(
        [found.ra[0], found.dec[0], found.magnitudes["V"][0]], [150.0, 2.5, 12.1]
    )
    path.write_text("MAIN_ID,RA_d,DEC_d,V\nx,150.0,2.5,12.1\n")
    assert read_reference([str(path)], Run()).ra[0] == 150.0


def test_angles_in_parts(tmp_path):
    """RAh RAm RAs, DE- DEd DEm DEs of machine-readable tables; near the equator the sign counts."""
    path = tmp_path / "a.csv"
    path.write_text(
        "RAh,RAm,RAs,DE-,DEd,DEm,DEs,rmag\n10,0,36.0,-,0,1,30.0,15\n10,1,0.0,+,0,0,36.0,15\n"
    )
    found = read_reference([str(path)], Run())
    assert found.ra == pytest.approx([150.15, 150.25])
    assert found.dec == pytest.approx([-0.025, 0.01])


def test_angles_in_milliarcseconds(tmp_path):
    table = Table({"ra": [540_000_000], "dec": [-7_200_000], "rmag": [15.0]})
    table["ra"].unit = table["dec"].unit = "mas"
    path = tmp_path / "a.fits"
    table.write(path)
    found = read_reference([str(path)], Run())
    assert (found.ra[0], found.dec[0]) == pytest.approx((150.0, -2.0))


@pytest.mark.parametrize(("names", "epoch"), [
    ("Jmag,Hmag", 2000.0), ("gmag,rmag", 2010.0), ("gmag,rmag,pmRA,pmDE", 2000.0),
])  # fmt: skip
def test_j2000_is_the_equinox_of_surveys(tmp_path, names, epoch):
    path = tmp_path / "a.csv"
    path.write_text(f"RAJ2000,DEJ2000,{names}\n150,2" + ",15" * len(names.split(",")) + "\n")
    assert read_reference([str(path)], Run()).epoch[0] == epoch


def test_fluxes_of_a_band_are_magnitudes_if_their_unit_is_told(tmp_path):
    for unit, mag in (("nJy", 21.4), ("nanomaggy", 12.5), ("", None)):
        table = Table({"coord_ra": [150.0], "coord_dec": [2.0], "r_psfFlux": [1e4]})
        table["r_psfFluxErr"] = [1e2]
        table["r_psfFlux"].unit = table["r_psfFluxErr"].unit = unit
        path = tmp_path / "a.ecsv"
        table.write(path, overwrite=True)
        found = read_reference([str(path)], Run())
        if mag is None:
            assert not found.magnitudes
        else:
            assert found.magnitudes["r_psfFlux"][0] == pytest.approx(mag)
            assert found.magnitude_errors["r_psfFlux"][0] == pytest.approx(0.010857, rel=1e-3)
            assert column_bands(found.magnitudes) == {"r_psfFlux": "r"}


def test_a_column_of_one_value_is_no_magnitude(tmp_path):
    rows = "".join(f"{150 + k / 100},2,1,{15 + k / 10}\n" for k in range(12))
    path = tmp_path / "a.csv"
    path.write_text(f"ra,dec,r,rmag_psf\n{rows}")
    found = read_reference([str(path)], Run())
    assert column_bands(found.magnitudes) == {"rmag_psf": "r"}
