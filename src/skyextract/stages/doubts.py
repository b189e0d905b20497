"""What makes the sources of an image doubtful: measure is a FALLBACK then, and says why."""

from __future__ import annotations

from typing import TYPE_CHECKING

from skyextract.record import record
from skyextract.stages.detection.framekind import doubt_of_kind
from skyextract.stages.detection.registration import Displacement, find_displacement
from skyextract.stages.detection.twins import Twins, find_twins

if TYPE_CHECKING:
    from skyextract.datamodel.exposure import Exposure
    from skyextract.run import Run
    from skyextract.stages.detection.support import Support
    from skyextract.stages.find import Found


@record
class Doubts:
    """What was found.

    Attributes
    ----------
    twins : Twins or None
        What is seen twice.
    texts : list of str
        Why the sources are doubtful, each in one line; empty where nothing speaks against them.
    """

    twins: Twins | None
    texts: list[str]


def doubts_about(
    exposure: Exposure, found: Found, rests_on: Support, about_psf: str, run: Run, *, is_dual: bool
) -> Doubts:
    """Look for what makes the sources doubtful, and warn of it.

    Parameters
    ----------
    exposure : Exposure
        The image that was measured.
    found : Found
        Its sources and planes.
    rests_on : Support
        Of the background.
    about_psf : str
        What is doubtful about a PSF that was given.
    is_dual : bool
        The sources are those of another image.
    """
    detections, plane = found.detections, found.plane
    twins = find_twins(detections.x, detections.y, detections.dflux)
    said = (rests_on, twins, _displacement(exposure, found) if is_dual else None)
    kind = doubt_of_kind(
        exposure.header, plane.subtracted, plane.background.sigma, plane.bad, detections.n,
        has_psf=exposure.has_psf,
    )  # fmt: skip
    texts = [doubt.doubt for doubt in said if doubt is not None]
    texts = [text for text in (*texts, kind, about_psf) if text]
    for text in texts:
        run.warn(text)
    return Doubts(twins, texts)


def _displacement(exposure: Exposure, found: Found) -> Displacement | None:
    fwhm = exposure.psf.fwhm if exposure.psf is not None and exposure.has_psf else 0.0
    d = found.detections
    return find_displacement(d.x, d.y, d.dflux, found.detection_plane, found.plane, fwhm)
