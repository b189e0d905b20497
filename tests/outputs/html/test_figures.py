"""Diagrams: units on the axes, all stars shown, odd inputs drawn or explained."""

from __future__ import annotations

import dataclasses
import re

import numpy as np
import pytest

from skyextract.datamodel.background import BackgroundMap
from skyextract.datamodel.catalog import Catalog
from skyextract.datamodel.psf import Psf
from skyextract.outputs.html import figures, residuals
from skyextract.outputs.html.plots import value_range

SHAPE = (80, 120)
NONE = np.zeros(0)


def stars(n: int, color: float = 0.0) -> Catalog:
    rng = np.random.default_rng(1)
    return Catalog({
        "X_IMAGE": rng.uniform(1, 120, n), "Y_IMAGE": rng.uniform(1, 80, n),
        "DXI": rng.normal(0, 0.1, n), "DETA": rng.normal(0, 0.1, n),
        "MAG_REFERENCE": rng.uniform(14, 19, n), "MAGERR": np.full(n, 0.01),
        "COLOR": color * rng.normal(size=n), "RESIDUAL": rng.normal(0, 0.02, n),
        "USED": np.arange(n) % 4 != 0,
    })  # fmt: skip


def test_every_star_of_the_zero_point_is_on_the_map():
    *_, chart = residuals.photometry_figures(stars(40), SHAPE, "")
    assert chart.svg.count("<use ") >= 40
    assert "residual (mag)" in chart.svg


def test_residuals_of_a_fit_that_is_not_believed_are_drawn_with_the_reason():
    charts = residuals.photometry_figures(stars(40, 0.4), SHAPE, "Photometry FAILED: clouds.")
    assert all(chart.svg for chart in charts)
    assert [chart.note.endswith("FAILED: clouds.") for chart in charts] == [True, False, False]
    assert not any("FAILED" in c.note for c in residuals.photometry_figures(stars(40), SHAPE, ""))


def test_stars_beyond_the_scale_are_no_stars_at_its_edge():
    inside, some = stars(40), stars(40)
    some.columns["RESIDUAL"][[0, 4]] = 2.5, -1.0  # left out of the fit
    before, charts = (residuals.photometry_figures(c, SHAPE, "") for c in (inside, some))
    assert "Triangles: 2 stars beyond the scale, to +2.50 mag." in charts[0].note
    assert "Triangles" not in before[0].note
    assert charts[0].svg.count('xlink:href="#') == before[0].svg.count('xlink:href="#')


def test_blue_is_that_of_the_page_which_may_be_dark():
    for chart in residuals.astrometry_figures(stars(30), SHAPE, ""):
        assert "var(--blue)" in chart.svg
        assert "#0072b2" not in chart.svg.lower()


def test_number_counts_are_numbers():
    mag = np.repeat([16.2, 17.2, 18.2], (1, 10, 100))
    chart = figures.number_counts(mag, 18.0, "magnitude (mag)")
    assert {"1", "10", "100"} <= set(re.findall(r">([^<>]+)</text>", chart.svg))


@pytest.mark.parametrize("color", [0.0, 0.4])
def test_colours_are_drawn_where_they_are_known(color):
    charts = residuals.photometry_figures(stars(40, color), SHAPE, "")
    assert all(chart.svg for chart in charts)
    assert len(charts) == (3 if color else 2)
    assert ("COLOR_TERM is 0" in charts[0].note) is not bool(color)


@pytest.mark.parametrize(("left", "told"), [(0.01, "−1.7 to +1.7 %"), (0.1, "−10 to +10 %")])
def test_what_the_fit_leaves_has_a_scale_that_shows_it(left, told):
    psf = dataclasses.replace(Psf.gaussian(3.5), n_stars=1)
    model = psf.stamp(0.0, 0.0, size=21).astype(np.float64)
    data = np.full((41, 41), 0.0, np.float32)
    data[10:31, 10:31] = model / model.max()
    row = {"X_IMAGE": np.array([21.0]), "Y_IMAGE": np.array([21.0]), "FLUX_PSF": np.array([1.0])}
    residual = (left * np.sin(np.arange(41 * 41.0)).reshape(41, 41)).astype(np.float32)
    chart = figures.psf_stamps(psf, Catalog(row), data, 1.7 * residual)
    assert told in chart.note


@pytest.mark.parametrize("n", [1, 2, 30])
def test_few_stars(n):
    for chart in residuals.astrometry_figures(stars(n), SHAPE, ""):
        assert "nan" not in chart.svg
    for chart in residuals.photometry_figures(stars(n), SHAPE, ""):
        assert "nan" not in chart.svg


def test_a_reason_stands_where_nothing_is_to_be_drawn():
    charts = residuals.astrometry_figures(Catalog(), SHAPE, "why")
    charts += residuals.photometry_figures(Catalog(), SHAPE, "why")
    assert {(chart.svg, chart.note) for chart in charts} == {("", "why")}
    for chart in (
        *figures.psf_field(None, None, SHAPE, np.nan),
        figures.psf_stamps(None, None, None, None),
        *figures.background_maps(None, "ADU"),
        figures.number_counts(NONE, None, "mag"),
        figures.cosmic_rays((NONE, NONE), None, SHAPE),
    ):
        assert chart.svg == ""
        assert chart.note.endswith(".")


def test_a_default_psf_is_not_drawn():
    assert figures.psf_field(Psf.gaussian(3.5), None, SHAPE, 0.4)[0].svg == ""


def test_a_constant_background():
    flat = np.full((3, 4), 7.0, np.float32)
    for chart in figures.background_maps(BackgroundMap(flat, flat, 32, 32, SHAPE, 7.0, 7.0), "ADU"):
        assert "(ADU)" in chart.svg


def test_sources_without_light_do_not_stretch_the_axis():
    mag = np.append(np.random.default_rng(2).uniform(16, 22, 500), [38.0, 41.0])
    low, high = value_range(mag, 0.0)
    assert 15.9 < low < 16.3
    assert 21.8 < high < 23.0
