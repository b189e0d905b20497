"""What the pipeline makes of one image extension."""

from __future__ import annotations

from dataclasses import field
from typing import TYPE_CHECKING

from skyextract.columns.unit import in_unit
from skyextract.datamodel.catalog import Catalog
from skyextract.datamodel.exposure import Exposure
from skyextract.outputs.report import Report
from skyextract.record import record

if TYPE_CHECKING:
    from skyextract.stages.astrometry.solve import Astrometry
    from skyextract.stages.background.planes import Plane
    from skyextract.stages.measured import Measured
    from skyextract.stages.photometry.calibrate import Photometry


@record
class Result:
    """One processed image extension; None for what did not run.

    Attributes
    ----------
    exposure : Exposure
        As the last step left it.
    report : Report
    measured : Measured or None
    plane : Plane or None
        The image without its background, as it was measured or, for the aperture corrections
        alone, searched.
    catalog : Catalog
        The requested columns; empty if measure did not run.
    astrometry : Astrometry or None
    photometry : Photometry or None
    number : int
        EXT_NUMBER: its place among the images of the file, from 1.
    """

    exposure: Exposure
    report: Report
    measured: Measured | None = None
    catalog: Catalog = field(default_factory=Catalog)
    astrometry: Astrometry | None = None
    photometry: Photometry | None = None
    plane: Plane | None = None
    number: int = 1


def in_image_unit(result: Result) -> Result:
    """Return a result whose numbers are in the unit of the image.

    Only what the `detections` hold of the filtered image keeps the working unit.
    """
    unit = result.exposure.unit
    return result if unit == 1.0 else in_unit(result, 1.0 / unit)
