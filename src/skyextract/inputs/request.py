"""What is asked of an image: its steps, the columns, and what the steps need besides."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterable, Sequence
from contextlib import suppress
from importlib import import_module

from skyextract.columns.families import MODEL
from skyextract.columns.request import PSF_COLUMNS, Requested, base_columns, needs_wcs
from skyextract.columns.table import COLUMNS
from skyextract.datamodel.arrays import F8, AnyArray
from skyextract.datamodel.exposure import Exposure
from skyextract.datamodel.mosaic import MosaicPlane
from skyextract.datamodel.rawframe import RawFrame
from skyextract.inputs.frames import Image
from skyextract.inputs.sidefiles import Inputs
from skyextract.io.images.scale import pixel_scale
from skyextract.kernels import first
from skyextract.record import record
from skyextract.settings.resolve import Settings
from skyextract.settings.steps import Plan, Step, is_done, plan_steps
from skyextract.stages.measurement.sources import MeasureInputs

POSITION_COLUMNS = frozenset(
    {
        "X_IMAGE", "Y_IMAGE", "XWIN_IMAGE", "YWIN_IMAGE", "ERRX2WIN_IMAGE", "ERRY2WIN_IMAGE",
        "FLUX_AUTO", "FLUXERR_AUTO",
    }
)  # fmt: skip
"""What matching with a reference catalogue needs, whatever columns are requested."""


@record
class Request:
    """The steps and columns of one image extension.

    Attributes
    ----------
    plan : Plan
        The steps to run.
    columns : list of Requested
        Of the catalogue.
    wanted : frozenset of str
        Base columns to measure, for the catalogue and for the steps.
    needs_psf : bool
        The filter or a column needs a PSF: without one, a default stands in.
    needs_detection_psf : bool
        So does the filter, or a column of models, of the image to detect on.
    needs_sky : bool
        Sky positions or the pixel scale of the WCS are needed.
    keeps_image : bool
        The pixels are needed when all is measured.
    """

    plan: Plan
    columns: list[Requested]
    wanted: frozenset[str]
    needs_psf: bool
    needs_detection_psf: bool
    needs_sky: bool
    keeps_image: bool = True


def make_request(image: Image, settings: Settings, inputs: Inputs) -> Request:
    """Return what is to be done with an image as it was read."""
    plan = plan_steps(
        settings,
        isr_done=is_done(image.header, Step.ISR),
        char_done=is_done(image.header, Step.CHARACTERIZE),
        psf_wanted=inputs.needs_psf(settings),
    )
    known = isinstance(image, Exposure) and image.has_psf
    return request_of(
        plan, settings, inputs, has_psf=known or bool(inputs.psfs) or Step.CHARACTERIZE in plan
    )


_OF_CHECK_IMAGES = {
    "MODELS": "FLUX_MODEL", "SPHEROIDS": "FLUX_SPHEROID", "DISKS": "FLUX_DISK",
}  # fmt: skip
"""What is measured for a check image, whatever columns are requested."""
_ELLIPSES = {
    "KRON_RADIUS": frozenset({"FLUX_AUTO", "FLUXERR_AUTO", "FLUX_BEST", "FLUXERR_BEST"}),
    "PETRO_RADIUS": frozenset({"FLUX_PETRO", "FLUXERR_PETRO"}),
}
"""The check image of apertures has the ellipses of these."""


def request_of(plan: Plan, settings: Settings, inputs: Inputs, *, has_psf: bool) -> Request:
    """Return what the steps of a plan need of an image that has a PSF, or gets one, or not."""
    columns = inputs.requested(settings, psf=has_psf)
    wanted = base_columns(columns)
    if Step.ASTROMETRY in plan or Step.PHOTOMETRY in plan:
        wanted |= POSITION_COLUMNS
    if Step.PHOTOMETRY in plan:
        wanted |= photometry_columns(has_psf, settings.config.photometry.phot_flux_key)
    shown = [kind.removeprefix("-") for kind in settings.config.output.checkimage_type]
    models = frozenset(_OF_CHECK_IMAGES[kind] for kind in shown if kind in _OF_CHECK_IMAGES)
    wanted |= models
    if "APERTURES" in shown:
        wanted |= {radius for radius, with_it in _ELLIPSES.items() if with_it & wanted}
    needs_psf = Step.MEASURE in plan and (bool(models) or inputs.needs_psf(settings))
    by_psf = settings.config.extraction.filters_by_psf
    detects_by_psf = by_psf or any("_DETMODEL" in name for name in wanted)
    return Request(
        plan, columns, wanted, needs_psf,
        needs_detection_psf=Step.MEASURE in plan and detects_by_psf,
        needs_sky=needs_sky(columns, settings, plan),
    )  # fmt: skip


def load_fits_ahead(request: Request, n_threads: int) -> None:
    """Load modules and kernels of fits in a thread, while sources are searched."""
    models = any(name in COLUMNS and COLUMNS[name].stage == MODEL for name in request.wanted)
    if not request.needs_psf or not (models or request.wanted & PSF_COLUMNS):
        return
    kernels, modules = [*first.PSF, *first.POINTS], ["skyextract.stages.pointsources.columns"]
    if models:
        kernels += first.GALAXIES
        modules += ["skyextract.stages.galaxies.columns"]
    first.begin(n_threads, kernels, modules)


def prepare_sky(request: Request, image: Image) -> None:
    """Import what sky positions need in a thread: it takes 0.3 s, while the kernels run."""
    wcs = None if isinstance(image, RawFrame) else image.wcs
    if request.needs_sky and (isinstance(image, RawFrame) or (wcs and wcs.takes_wcslib)):
        with suppress(RuntimeError):  # no room for a thread: whoever needs it imports it
            threading.Thread(target=import_module, args=("astropy.wcs",)).start()


def photometry_columns(psf: bool, flux_key: str) -> frozenset[str]:
    """Return what photometry measures with, whatever columns are requested."""
    kinds = ["PSF", "AUTO"] if psf else ["AUTO"]
    if flux_key.upper() != "AUTO":
        kinds = [flux_key.upper().removeprefix("FLUX_").partition("(")[0]]
    return frozenset(f"{name}_{kind}" for name in ("FLUX", "FLUXERR") for kind in kinds)


def needs_sky(requested: Iterable[Requested], settings: Settings, plan: Plan) -> bool:
    """Whether sky positions or the pixel scale of the WCS are needed: they may take astropy.wcs."""
    return (
        settings.config.detector.pixel_scale == 0.0
        or settings.config.assoc.assoccoord_type == "WORLD"
        or Step.ASTROMETRY in plan
        or Step.PHOTOMETRY in plan
        or needs_wcs(requested)
    )


def sky_scale(exposure: Exposure, request: Request, settings: Settings) -> float:
    """Return the pixel size in arcsec; NaN if it is unknown, or nothing needs the sky."""
    return pixel_scale(exposure, settings.config.detector) if request.needs_sky else math.nan


def measure_inputs(
    exposure: Exposure,
    flag_maps: Sequence[AnyArray],
    request: Request,
    settings: Settings,
    inputs: Inputs,
) -> MeasureInputs:
    """Collect what measurement needs besides the exposure."""
    scale = pixel_scale(exposure, settings.config.detector)
    associates, mosaic = inputs.associates, MosaicPlane.from_header(exposure.header)
    if associates is not None and settings.config.assoc.assoccoord_type == "WORLD":
        associates = _associates_in_pixels(associates, exposure, mosaic, settings)
    return MeasureInputs(
        pixel_scale=scale,
        sizes={name: shape for name, shape in request.columns if shape},
        flag_maps=tuple(flag_maps),
        network=inputs.network,
        filter=inputs.filter,
        associates=associates,
        mosaic=mosaic,
    )


def _associates_in_pixels(
    table: F8, exposure: Exposure, mosaic: MosaicPlane | None, settings: Settings
) -> F8:
    """Replace sky positions of the ASSOC list by FITS pixels of the full frame."""
    if exposure.wcs is None:
        raise settings.error("ASSOCCOORD_TYPE", "the image has no celestial WCS")
    x, y = (column - 1 for column in settings.config.assoc.assoc_params[:2])
    table = table.copy()
    px, py = exposure.wcs.to_pixel(table[:, x], table[:, y])
    table[:, x], table[:, y] = px + 1.0, py + 1.0
    if mosaic is not None:
        table[:, x] = mosaic.full_pixels(table[:, x], "X")
        table[:, y] = mosaic.full_pixels(table[:, y], "Y")
    return table
