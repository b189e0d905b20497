"""The reference catalogues that the settings name."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from skyextract.datamodel.exposure import Exposure
from skyextract.datamodel.header import Header
from skyextract.errors import ConfigError, ReferenceCatalogError
from skyextract.inputs.references import (
    astrometric_reference,
    check_references,
    photometric_reference,
)
from skyextract.run import Run
from skyextract.settings.resolve import Settings, command_line_settings, resolve

EXPOSURE = Exposure(np.zeros((4, 5), np.float32), np.zeros((4, 5), np.uint16))


def settings(**keywords: str) -> Settings:
    return resolve(None, command_line_settings(list(keywords.items())))


def test_servers_and_missing_files(tmp_path):
    path = tmp_path / "ref.csv"
    path.touch()
    check_references(settings(ASTREFCAT_NAME=str(path), ASTREF_CATALOG="FILE"))
    with pytest.raises(ConfigError, match=r"ASTREF_CATALOG = GAIA-EDR3: .* mean GAIA-DR3"):
        settings(ASTREF_CATALOG="GAIA-EDR3")
    for keyword in ("ASTREFCAT_NAME", "PHOTREFCAT_NAME"):
        with pytest.raises(ConfigError, match=f"{keyword} .* no such file"):
            check_references(settings(**{keyword: f"{path},{tmp_path / 'none.fits'}"}))


def test_columns_that_the_keywords_name(tmp_path):
    path = tmp_path / "ref.csv"
    path.write_text("ra,dec,r,a,d,ea,ed,pa,pd,K\n1,2,15,3,4,0.1,0.2,5,6,12\n")
    name = {"ASTREFCAT_NAME": str(path)}
    found = astrometric_reference(EXPOSURE, settings(**name), Run())
    assert (found.ra[0], found.dec[0], found.mag_key) == (1.0, 2.0, "r")
    found = astrometric_reference(
        EXPOSURE,
        settings(
            **name, ASTREFCENT_KEYS="a,d", ASTREFERR_KEYS="ea,ed", ASTREFPROP_KEYS="pa,pd",
            ASTREFMAG_KEY="K",
        ),
        Run(),
    )  # fmt: skip
    assert (found.ra[0], found.dec[0], found.mag[0]) == (3.0, 4.0, 12.0)
    assert (found.ra_error[0], found.dec_error[0]) == pytest.approx((360.0, 720.0))
    assert (found.pmra[0], found.pmdec[0]) == (5.0, 6.0)
    with pytest.raises(ReferenceCatalogError, match="no magnitude J"):
        astrometric_reference(EXPOSURE, settings(**name, ASTREFMAG_KEY="J"), Run())


def test_photometry_may_have_a_catalogue_of_its_own(tmp_path):
    paths = [tmp_path / "astrometry.csv", tmp_path / "photometry.csv"]
    for ra, path in enumerate(paths):
        path.write_text(f"ra,dec,r\n{ra},2,15\n")
    one = settings(ASTREFCAT_NAME=str(paths[0]))
    runs = Run(), Run()
    first = photometric_reference(EXPOSURE, one, runs[0])
    assert first is astrometric_reference(EXPOSURE, one, runs[1])
    assert runs[0].opened == runs[1].opened == [str(paths[0])]
    two = settings(ASTREFCAT_NAME=str(paths[0]), PHOTREFCAT_NAME=str(paths[1]))
    assert astrometric_reference(EXPOSURE, two, Run()).ra[0] == 0.0
    assert photometric_reference(EXPOSURE, two, Run()).ra[0] == 1.0


def test_a_catalogue_that_was_written_anew_is_read_anew(tmp_path, monkeypatch):
    for folder in ("one", "other"):
        (tmp_path / folder).mkdir()
        monkeypatch.chdir(tmp_path / folder)
        for ra in (1, 20):
            (tmp_path / folder / "ref.csv").write_text(f"ra,dec,r\n{ra},2,15\n")
            found = astrometric_reference(EXPOSURE, settings(ASTREFCAT_NAME="ref.csv"), Run())
            assert found.ra[0] == float(ra)


def test_a_column_of_the_name_of_the_filter(tmp_path):
    path = tmp_path / "ref.csv"
    path.write_text("ra,dec,F606W,F606W_err,F814W\n1,2,15,0.1,14\n")
    exposure = replace(EXPOSURE, header=Header.of({"FILTER": "F606W"}))
    found = astrometric_reference(exposure, settings(ASTREFCAT_NAME=str(path)), Run())
    assert found.magnitudes["F606W"][0] == 15.0
    assert found.magnitude_errors["F606W"][0] == 0.1
