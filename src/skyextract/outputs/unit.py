"""Any unit of the pixels: extreme ones are worked on in a unit of their own noise.

Single precision holds 1e-38 to 1e38, and the variance of pixels in erg/s/cm2/A is 1e-41.  The
factor is a power of two, so that no digit changes.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from skyextract.columns.table import COLUMNS
from skyextract.datamodel.catalog import Catalog
from skyextract.outputs.result import Result
from skyextract.settings.steps import Step
from skyextract.stages.background.planes import Plane


def in_image_unit(result: Result) -> Result:
    """Return a result whose numbers are in the unit of the image."""
    unit = result.exposure.unit
    if unit == 1.0:
        return result
    report = result.report
    metrics = report.metrics[Step.CHARACTERIZE]
    for key in ("background", "background_rms"):
        if metrics.get(key) is not None:
            metrics[key] *= unit
    numbers = report.metrics[Step.PHOTOMETRY]
    for key in ("zero_point", "zero_point_1s"):
        if numbers.get(key) is not None:
            numbers[key] += 2.5 * math.log10(unit)
    if numbers.get("nanojansky") is not None:
        numbers["nanojansky"] /= unit
    measured = result.measured
    if measured is not None:
        residual = measured.residual
        measured = replace(
            measured,
            plane=_plane(measured.plane, unit),
            search=_plane(measured.search, unit),
            threshold=measured.threshold * unit,
            analysis_threshold=measured.analysis_threshold * unit,
            residual=None if residual is None else residual * np.float32(unit),
        )
    return replace(
        result,
        exposure=result.exposure.in_unit(1.0 / unit),
        measured=measured,
        catalog=_catalog(result.catalog, unit),
        plane=None if result.plane is None else _plane(result.plane, unit),
    )


def _plane(plane: Plane, unit: float) -> Plane:
    square = np.float64(unit) ** 2
    with np.errstate(under="ignore", over="ignore"):
        return replace(
            plane,
            background=plane.background.scaled(unit),
            subtracted=plane.subtracted * np.float32(unit),
            variance=None if plane.variance is None else (plane.variance * square).astype("f4"),
            noise=None if plane.noise is None else (plane.noise * square).astype("f4"),
        )


def _catalog(catalog: Catalog, unit: float) -> Catalog:
    return Catalog(
        {
            name: (values * unit).astype(values.dtype)
            if COLUMNS[name].unit.startswith("count")
            else values
            for name, values in catalog.columns.items()
        }
    )
