"""Names of the products of a batch."""

from __future__ import annotations

import pytest

from skyextract.errors import ConfigError
from skyextract.jobs import check_names, plan_job
from skyextract.settings.resolve import Settings, command_line_settings, resolve


def settings(**keywords: str) -> Settings:
    return resolve(None, command_line_settings(list(keywords.items())))


def test_check_images_are_named_pair_by_pair(tmp_path):
    """NONE takes its name with it, as in SExtractor."""
    wanted = settings(
        CHECKIMAGE_TYPE="BACKGROUND,NONE,-OBJECTS", CHECKIMAGE_NAME="{stem}.bg.fits,x,o.fits"
    )
    job = plan_job("in.fits.gz", wanted, tmp_path)
    assert job.check_images == (
        ("BACKGROUND", tmp_path / "in.bg.fits"),
        ("-OBJECTS", tmp_path / "o.fits"),
    )
    assert plan_job("in.fits", settings(CHECKIMAGE_TYPE="NONE"), tmp_path).check_images == ()


@pytest.mark.parametrize(
    ("types", "names", "message"),
    [
        ("BACKGROUND,OBJECTS", "check.fits", "CHECKIMAGE_NAME = check.fits: .* 2 names"),
        ("OBJECTS,OBJECTS", "a,b", "CHECKIMAGE_TYPE .* OBJECTS is asked for twice"),
        ("OBJECTS,BACKGROUND", "a,a", r"both CHECKIMAGE_NAME \(OBJECTS\) and CHECKIMAGE_NAME"),
    ],
)
def test_check_images_that_cannot_be_named(types, names, message, tmp_path):
    wanted = settings(CHECKIMAGE_TYPE=types, CHECKIMAGE_NAME=names)
    with pytest.raises(ConfigError, match=message):
        check_names([plan_job("in.fits", wanted, tmp_path)])
