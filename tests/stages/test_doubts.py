"""What makes sources doubtful, where no room of its own looks for it."""

from dataclasses import replace

import numpy as np
import pytest

from skyextract.datamodel.catalog import Catalog
from skyextract.datamodel.exposure import Exposure
from skyextract.datamodel.psf import Psf, PsfSource
from skyextract.stages.doubtlines import Line, about_covered, of_catalogue


def exposure(error, source=PsfSource.MEASURED, stars=None):
    image = np.zeros((20, 20), np.float32)
    return Exposure(
        image,
        np.zeros(image.shape, np.uint16),
        psf=replace(Psf.gaussian(30.0), source=source, n_stars=3),
        psf_stars=Catalog({"X_IMAGE": np.ones(3)}) if stars is None else stars,
        aperture_corrections=Catalog({"ERROR": np.array([error, error])}),
    )


def test_no_star_shows_the_wings_of_the_psf():
    assert "none of the 3 PSF stars" in about_covered(exposure(np.nan))
    assert not about_covered(exposure(0.01))
    assert "off by 18 %, all alike: the light of its 3 stars" in about_covered(exposure(0.18))


@pytest.mark.parametrize("source", [PsfSource.FILE, PsfSource.DEFAULT])
def test_a_psf_that_is_not_of_this_image_has_its_own_wings(source):
    assert not about_covered(exposure(np.nan, source))
    assert not about_covered(replace(exposure(np.nan), psf_stars=None))
    assert not about_covered(replace(exposure(np.nan), aperture_corrections=None))


def test_numbers_are_those_of_the_catalogue():
    tracks, ghosts = np.arange(10) < 4, np.arange(10) == 9
    texts = ["4 of 10 sources are pieces of 4 lines", "1 of 10 sources are images", "noise", ""]
    counted = [tracks, ghosts, None, ghosts]
    lines = [Line(text, rows=rows) for text, rows in zip(texts, counted, strict=True)]
    rows = np.array([1, 3, 5, 6, 7])
    assert of_catalogue(lines, rows) == ["2 of 5 sources are pieces of 4 lines", "noise"]
    assert of_catalogue(lines, np.arange(10)) == texts[:3]
