"""Errors of positions on the sky: pulls against the truth."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from skyextract.datamodel.wcs import SkyWcs
from skyextract.run import Run
from skyextract.settings.keywords import Astrometry
from skyextract.sky.plate import gnomonic
from skyextract.stages.astrometry.solve import solve_astrometry
from tests.simulate.astrometry import SCALE, SHAPE, make_field


def pulls(scatter: float, quoted: float, own: float) -> tuple[float, float]:
    """Return rms pulls of sources, and the median error, of 24 fields.

    All in arcsec: scatter and quoted error (NaN: none) of the reference, error of the sources.
    """
    found, errors = [], []
    for seed in range(24):
        rng = np.random.default_rng(1000 + seed)
        field = make_field(seed=seed, missing=0.1, false=0.1)
        n = field.reference.n_stars
        cos = np.cos(np.radians(field.reference.dec))
        reference = replace(
            field.reference,
            ra=field.reference.ra + rng.normal(0.0, scatter / 3600.0, n) / cos,
            dec=field.reference.dec + rng.normal(0.0, scatter / 3600.0, n),
            ra_error=np.full(n, quoted), dec_error=np.full(n, quoted),
        )  # fmt: skip
        names = "XWIN_IMAGE", "YWIN_IMAGE", "ERRAWIN_IMAGE", "ERRBWIN_IMAGE"
        place = field.exact + rng.normal(0.0, own / SCALE, field.exact.shape)
        error = np.full(place.shape, own / SCALE)
        sources = field.sources.with_columns(**dict(zip(names, (*place, *error), strict=True)))
        cards = field.truth.cards("TAN", SHAPE) | {"NAXIS1": SHAPE[1], "NAXIS2": SHAPE[0]}
        result = solve_astrometry(
            sources, cards, SHAPE, SkyWcs.from_header(cards), reference, Astrometry(), Run()
        )
        assert result.status == "COMPLETE"
        x, y = rng.uniform(0.0, [[SHAPE[1] - 1.0], [SHAPE[0] - 1.0]], (2, 200))
        true = field.truth.to_sky(x, y)
        placed = result.wcs.to_j2000(
            x + rng.normal(0.0, own / SCALE, 200), y + rng.normal(0.0, own / SCALE, 200)
        )
        off = (
            gnomonic(*placed, *(float(v.mean()) for v in true)),
            gnomonic(*true, *(float(v.mean()) for v in true)),
        )
        error = np.hypot(own, result.floor)
        found += [3600.0 * (a - b) / error for a, b in zip(*off, strict=True)]
        errors.append(error)
    return float(np.sqrt(np.mean(np.square(found)))), float(np.median(errors))


@pytest.mark.parametrize(
    ("scatter", "quoted", "own"),
    [
        (0.3, np.nan, 0.003), (0.001, np.nan, 0.02), (0.3, 0.3, 0.01), (0.001, 0.001, 0.02),
    ],
)  # fmt: skip
def test_errors_are_those_of_the_sources_and_of_the_fit(scatter, quoted, own):
    """Neither does the scatter of the reference count as the sources', nor is the plate exact."""
    rms, error = pulls(scatter, quoted, own)
    assert 0.9 < rms < 1.1
    # About 160 stars of the reference are matched; four parameters for two axes.
    assert error == pytest.approx(
        np.hypot(own, np.hypot(scatter, own) * np.sqrt(2.0 / 160.0)), rel=0.2
    )


def test_scatter_beyond_quoted_errors_may_be_that_of_the_sources():
    _, error = pulls(0.1, 0.02, 0.02)
    assert error > 0.09
