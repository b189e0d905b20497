"""Every result depends on the unit of the pixels as it says it does.

The same frame in its own unit and times 2**-50: what is in the unit of the image, in any result of
the pipeline, differs by just that factor, and nothing else differs.
"""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

import skyextract as sky
from skyextract.columns.unit import in_unit

FIELD = Path(__file__).resolve().parents[2] / "examples" / "field.fits.fz"
REFERENCE = FIELD.with_name("field_refcat.fits")
FACTOR = 2.0**-50
SKIPPED = {
    # of the filtered image, which is in sigma, and of the program, not the image
    "detections.filtered", "detections.fdflux", "detections.fdpeak", "detections.dthresh",
    "detections.threshold",
    "report.run", "measured.run", "header", "exposure.unit", "measured.exposure.photocal",
}  # fmt: skip


@pytest.fixture(scope="module")
def frame():
    with fits.open(FIELD) as units:
        pixels = units[1].data[:400, :400].astype(np.float64) - 420.0
        header = units[1].header.copy()
    for name in ("BSCALE", "BZERO", "SATURATE"):
        header.remove(name, ignore_missing=True)
    return pixels.astype(np.float32), header


def process(frame, factor):
    pixels, header = frame
    cards = header.copy()
    cards["GAIN"] = 1.5 / factor
    image = sky.exposure(pixels * np.float32(factor), cards, SATUR_LEVEL=40000.0 * factor)
    return sky.process(image, ASTREFCAT_NAME=REFERENCE)


def leaves(thing, path=""):
    """Yield path and value of all numbers in dataclasses, dictionaries and sequences."""
    if any(path.endswith(name) for name in SKIPPED):
        return
    if dataclasses.is_dataclass(thing):
        for item in dataclasses.fields(thing):
            yield from leaves(getattr(thing, item.name), f"{path}.{item.name}")
    elif isinstance(thing, dict):
        for name, value in thing.items():
            yield from leaves(value, f"{path}.{name}")
    elif isinstance(thing, np.ndarray):
        yield path, np.asarray(thing, np.float64)
    elif isinstance(thing, int | float | np.number):
        yield path, np.float64(thing)


@pytest.fixture(scope="module")
def results(frame):
    return [process(frame, factor) for factor in (1.0, FACTOR)]


def typical(values):
    """Return a number that is in the unit of the values: the median size of those not 0."""
    sizes = np.abs(values[np.isfinite(values) & (values != 0.0) & (np.abs(values) < 1e29)])
    return float(np.median(sizes)) if sizes.size else 0.0


def test_what_is_in_image_units_says_so(results):
    one, other = results[0].result, results[1]
    assert other.working.exposure.unit != 1.0
    assert other.result.exposure.unit == 1.0
    again = dict(leaves(in_unit(other.result, FACTOR)))
    for path, values in leaves(one):
        if np.size(values) == 1 and not np.isfinite(values).all():
            continue
        magnitude = path.endswith(("zero_point", "zero_point_1s", "MAG_INSTRUMENTAL"))
        limit = {"abs": 0.01} if magnitude else {"rel": 0.05, "abs": 1e-9}
        assert typical(again[path]) == pytest.approx(typical(values), **limit), path


def test_the_steps_of_python_do_too(results):
    one, other = results
    flux = [np.asarray(sources.table["FLUX_AUTO"], np.float64) for sources in (one, other)]
    assert len(flux[0]) == len(flux[1])
    np.testing.assert_allclose(np.median(flux[1] / flux[0]), FACTOR, rtol=1e-3)
    assert other.exposure.image.max() == pytest.approx(one.exposure.image.max() * FACTOR)
    later = sky.photometry(other, PHOTREFCAT_NAME=REFERENCE)
    points = [found.metrics["photometry"]["zero_point"] for found in (one, other, later)]
    assert points[1] - points[0] == pytest.approx(2.5 * math.log10(FACTOR), abs=0.002)
    assert points[2] == pytest.approx(points[1], abs=1e-9)
