"""Lines that are displaced by turns."""

from __future__ import annotations

import numpy as np
import pytest

from skyextract.stages.detection.fields import find_fields

SIZE, NOISE = 300, 5.0


def stars(seed: int, shift: float = 0.0, fwhm: float = 3.0, tilt: float = 0.0, n: int = 60):
    """Return a frame whose odd rows lie farther right, places between both, and fluxes."""
    rng = np.random.default_rng(seed)
    x, y = rng.uniform(0, SIZE, (2, n))
    flux = 10.0 ** rng.uniform(3.0, 5.0, n)
    v, u = np.mgrid[0:SIZE, 0:SIZE].astype(float)
    u = u - shift * (v % 2 - 0.5)
    image = rng.normal(0.0, NOISE, (SIZE, SIZE))
    sigma = fwhm / 2.3548
    for a, b, f in zip(x, y, flux, strict=True):
        dx, dy = u - a - tilt * (v - b), v - b
        image += f / (2 * np.pi * sigma**2) * np.exp(-0.5 * (dx * dx + dy * dy) / sigma**2)
    return image.astype(np.float32), (x, y, flux)


def found(image, sources, fwhm=3.0):
    return find_fields(image, NOISE, np.zeros(image.shape, bool), *sources, fwhm)


@pytest.mark.parametrize("shift", [0.2, 1.0, -2.0])
def test_displaced_rows_and_columns_are_found(shift):
    image, (x, y, flux) = stars(1, shift)
    rows = found(image, (x, y, flux))
    assert rows is not None
    assert rows.name == "rows"
    assert rows.shift == pytest.approx(shift, rel=0.25)
    columns = found(np.ascontiguousarray(image.T), (y, x, flux))
    assert columns is not None
    assert columns.name == "columns"
    assert f"{abs(rows.shift):.1f} pixels beside" in rows.doubt


@pytest.mark.parametrize(("fwhm", "tilt"), [(1.2, 0.0), (3.0, 0.0), (3.0, 1.5), (6.0, -0.5)])
def test_stars_of_any_form_are_in_one_place(fwhm, tilt):
    for seed in range(4):
        image, sources = stars(seed, 0.0, fwhm, tilt)
        assert found(image, sources, fwhm) is None
    few = tuple(part[:7] for part in stars(9, 1.0)[1])
    assert found(stars(9, 1.0)[0], few) is None
