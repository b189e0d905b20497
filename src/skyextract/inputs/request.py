"""What a run has to measure: the columns asked for, and what its steps need besides."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from skyextract.columns.request import Requested, base_columns, needs_wcs
from skyextract.datamodel.arrays import F8
from skyextract.datamodel.exposure import Exposure
from skyextract.inputs.sidefiles import Frame, Inputs
from skyextract.io.images.images import pixel_scale
from skyextract.settings.resolve import Settings
from skyextract.settings.steps import Plan, Step
from skyextract.stages.measurement.sources import MeasureInputs

POSITION_COLUMNS = frozenset(
    {
        "X_IMAGE", "Y_IMAGE", "XWIN_IMAGE", "YWIN_IMAGE", "ERRX2WIN_IMAGE", "ERRY2WIN_IMAGE",
        "FLUX_AUTO", "FLUXERR_AUTO",
    }
)  # fmt: skip
"""What matching with a reference catalogue needs, whatever columns are requested."""


@dataclass(frozen=True)
class Request:
    """The columns of a run.

    Attributes
    ----------
    columns : list of Requested
        Of the catalogue.
    wanted : frozenset of str
        Base columns to measure, for the catalogue and for the steps.
    needs_sky : bool
        Sky positions or the pixel scale of the WCS are needed.
    """

    columns: list[Requested]
    wanted: frozenset[str]
    needs_sky: bool


def make_request(settings: Settings, plan: Plan, inputs: Inputs, *, has_psf: bool) -> Request:
    """Return what is to be measured on an image that has a PSF, or gets one, or not."""
    columns = inputs.requested(settings, psf=has_psf)
    wanted = base_columns(columns)
    if Step.ASTROMETRY in plan or Step.PHOTOMETRY in plan:
        wanted |= POSITION_COLUMNS
    if Step.PHOTOMETRY in plan:
        wanted |= photometry_columns(has_psf, settings.config.photometry.phot_flux_key)
    return Request(columns, wanted, needs_sky(columns, settings, plan))


def photometry_columns(psf: bool, flux_key: str) -> frozenset[str]:
    """Return what photometry measures with, whatever columns are requested."""
    kinds = ["PSF", "AUTO"] if psf else ["AUTO"]
    if flux_key.upper() != "AUTO":
        kinds = [flux_key.upper().removeprefix("FLUX_").partition("(")[0]]
    return frozenset(f"{name}_{kind}" for name in ("FLUX", "FLUXERR") for kind in kinds)


def needs_sky(requested: Iterable[Requested], settings: Settings, plan: Plan) -> bool:
    """Whether sky positions or the pixel scale of the WCS are needed: they take astropy.wcs."""
    return (
        settings.config.detector.pixel_scale == 0.0
        or settings.config.assoc.assoccoord_type == "WORLD"
        or Step.ASTROMETRY in plan
        or Step.PHOTOMETRY in plan
        or needs_wcs(requested)
    )


def measure_inputs(
    frame: Frame, settings: Settings, inputs: Inputs, requested: list[Requested]
) -> MeasureInputs:
    """Collect what measurement needs besides the exposure."""
    exposure = frame.exposure
    scale = pixel_scale(exposure, settings.config.detector)
    associates = inputs.associates
    if associates is not None and settings.config.assoc.assoccoord_type == "WORLD":
        associates = _associates_in_pixels(associates, exposure, settings)
    return MeasureInputs(
        pixel_scale=scale,
        sizes={name: shape for name, shape in requested if shape},
        flag_maps=tuple(frame.flag_maps),
        network=inputs.network,
        filter=inputs.filter,
        associates=associates,
    )


def _associates_in_pixels(table: F8, exposure: Exposure, settings: Settings) -> F8:
    """Replace sky positions of the ASSOC list by FITS pixels."""
    if exposure.wcs is None:
        raise settings.error("ASSOCCOORD_TYPE", "the image has no celestial WCS")
    x, y = (column - 1 for column in settings.config.assoc.assoc_params[:2])
    table = table.copy()
    px, py = exposure.wcs.to_pixel(table[:, x], table[:, y])
    table[:, x], table[:, y] = px + 1.0, py + 1.0
    return table
