"""The survey that AUTO chooses."""

from __future__ import annotations

import pytest

from skyextract.io.references.online.sources import SOURCES
from skyextract.settings.keywords import SURVEY_NAMES
from skyextract.sky.bands import column_bands
from skyextract.sky.surveys import SURVEYS, astrometric_survey, photometric_survey


@pytest.mark.parametrize(
    ("band", "dec", "radius", "name"),
    [
        ("r", 10.0, 0.2, "PANSTARRS-1"), ("r", -45.0, 0.2, "ATLAS-REFCAT2"),
        ("r", 10.0, 4.0, "ATLAS-REFCAT2"), ("y", -45.0, 0.2, ""), ("u", 10.0, 0.2, "SDSS"),
        ("u", -40.0, 0.2, "SKYMAPPER"), ("V", -40.0, 0.2, "APASS"), ("Ks", 0.0, 0.2, "2MASS"),
        ("G", 0.0, 0.2, "GAIA-DR3"), ("R", 0.0, 0.2, ""), ("", 0.0, 0.2, ""),
    ],
)  # fmt: skip
def test_auto(band, dec, radius, name):
    assert photometric_survey(band, dec, radius) == name


def test_wide_fields():
    assert [astrometric_survey(radius) for radius in (0.2, 5.0)] == ["GAIA-DR3", "TYCHO-2"]


def test_every_name_has_a_table_with_the_bands_it_promises():
    assert set(SURVEY_NAMES) == set(SURVEYS) == set(SOURCES)
    for name, survey in SURVEYS.items():
        assert set(survey.bands) == set(column_bands(SOURCES[name].magnitudes).values())
