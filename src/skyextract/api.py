"""skyextract for Python: each step of the pipeline as a function.

An example::

    import skyextract as sky

    exposure = sky.characterize(sky.read("field.fits"))
    sources = sky.measure(exposure, DETECT_THRESH=3)
    sources = sky.astrometry(sources, ASTREFCAT_NAME="stars.fits")
    sources = sky.photometry(sources, PHOTREFCAT_NAME="stars.fits")
    sources.table, exposure.psf.stamp(100, 200)

    sky.process("field.fits", ASTREFCAT_NAME="stars.fits").table     # all of it

Keywords are those of the configuration file, in any case, with Python values; they hold for
one call.  Sources remember theirs for the steps that follow.  Nothing is written, and no argument
is changed.  Warnings go to the logger `skyextract`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from skyextract.calibrate import correct_raw
from skyextract.datamodel.exposure import Exposure, FailedExtension
from skyextract.datamodel.flags import Mask
from skyextract.datamodel.header import Header
from skyextract.datamodel.plain import plain
from skyextract.datamodel.rawframe import RawFrame
from skyextract.datamodel.wcs import read_wcs
from skyextract.errors import ImageError, SkyextractError, StepError
from skyextract.image import process_extensions, read_side_files
from skyextract.inputs.arguments import (
    header_of,
    number_of,
    plane_of,
    settings_of,
    variance_of,
)
from skyextract.inputs.frames import Frame, read_images
from skyextract.inputs.references import check_references
from skyextract.inputs.request import (
    POSITION_COLUMNS,
    Request,
    make_request,
    photometry_columns,
    request_of,
)
from skyextract.inputs.sidefiles import read_inputs
from skyextract.io.catalogs.tables import as_table
from skyextract.io.fits.pixels import NO_VALUE, Scaling, to_float
from skyextract.io.images.detectorcards import read_detector
from skyextract.io.images.planes import MAX_MASKED
from skyextract.io.names import parse_image_spec
from skyextract.jobs import plan_job
from skyextract.outputs.result import Result, in_image_unit
from skyextract.pipeline import calibrate_sources, process_exposure
from skyextract.record import record
from skyextract.run import Run, resolve_threads
from skyextract.settings.resolve import Settings
from skyextract.settings.steps import (
    Plan,
    Status,
    Step,
    check_steps,
    has_astrometric_reference,
    has_photometric_reference,
)

if TYPE_CHECKING:
    from astropy.table import Table

    from skyextract.datamodel.psf import Psf
    from skyextract.datamodel.wcs import SkyWcs

__all__ = [
    "SkyextractError",
    "astrometry",
    "characterize",
    "exposure",
    "measure",
    "photometry",
    "process",
    "read",
]


@record
class Sources:
    """Measured sources, and what they were measured on.

    Attributes
    ----------
    table : astropy.table.Table
        The catalogue; `meta` has the header cards of the products.
    exposure : Exposure
        As the last step left it: `image`, `mask`, `variance`, `psf`, `wcs`, `photocal` ...
    status, metrics : dict
        Per step: COMPLETE, FALLBACK, FAILED or SKIPPED, and the numbers of the JSON summary.
    warnings : tuple of str
    """

    working: Result
    """In the unit that it was worked on, for the steps that follow."""
    request: Request
    settings: Settings
    keywords: Mapping[str, Any]
    warnings: tuple[str, ...]

    __eq__ = object.__eq__  # of arrays there is no one answer
    __hash__ = object.__hash__

    @cached_property
    def result(self) -> Result:
        """All results, in the unit of the image."""
        return in_image_unit(self.working)

    @cached_property
    def table(self) -> Table:
        """The catalogue."""
        return as_table(self.result.catalog, self.result.report.cards())

    @property
    def exposure(self) -> Exposure:
        """The exposure, as the last step left it."""
        return self.result.exposure

    @property
    def psf(self) -> Psf | None:
        """The point spread function; `psf.stamp(x, y)` at a 0-based pixel."""
        return self.result.exposure.psf

    @property
    def wcs(self) -> SkyWcs | None:
        """The WCS, fitted or the header's."""
        return self.result.exposure.wcs

    @property
    def status(self) -> dict[str, str]:
        """Status per step."""
        return {str(step): str(status) for step, status in self.result.report.statuses.items()}

    @property
    def metrics(self) -> dict[str, dict[str, Any]]:
        """Numbers per step; None for an unknown one."""
        return {str(step): plain(found) for step, found in self.result.report.metrics.items()}

    def __len__(self) -> int:
        """Return the number of sources."""
        return self.result.catalog.n_rows

    def __repr__(self) -> str:
        measured = self.result.measured is not None
        return f"Sources({self.result.report.headline() if measured else 'not measured'})"


def read(path: str | Path, **keywords: Any) -> Exposure:
    """Read one image; a raw one is corrected (isr) if a keyword asks for it.

    Parameters
    ----------
    path : str or Path
        A FITS file, maybe with an extension: `image.fits[2]`, `image.fits[SCI]`.

    Raises
    ------
    TypeError
        A keyword does not exist.
    SkyextractError
        A value is wrong; the image cannot be read, or is one of several in its file.
    """
    settings = settings_of("read", keywords)
    run = _run(settings)
    images = list(_first_two(read_images(parse_image_spec(str(path)), settings, run)))
    image: Exposure | RawFrame = _only(images, path)
    if isinstance(image, RawFrame):
        return correct_raw(image, settings, Path(), run).exposure
    return image


def exposure(
    array: Any,
    header: Header | Mapping[str, Any] | None = None,
    mask: Any = None,
    variance: Any = None,
    gain: float | None = None,
    **keywords: Any,
) -> Exposure:
    """Make an exposure of arrays; they are copied.

    Parameters
    ----------
    array : (ny, nx) array_like
        Pixel values, the sky not subtracted, any real type and byte order.  NaN, infinite and
        masked pixels have no value.  A CCDData or NDData brings mask, uncertainty, header (or
        meta) and WCS along; its unit, or that of a Quantity, is BUNIT.
    header : astropy.io.fits.Header or mapping, optional
        For WCS, filter, date, gain ...; BSCALE and BZERO are taken as applied.
    mask : (ny, nx) array_like, optional
        Pixels that are bad: not 0.
    variance : (ny, nx) array_like, optional
        Total variance, photons of the sources included.  Pixels where it is not positive or
        not finite are bad.
    gain : float, optional
        e-/ADU; else the header's card or the keyword GAIN.

    Raises
    ------
    TypeError, ValueError
        Not a 2-D array of real numbers, or planes of unequal size.
    """
    settings = settings_of("exposure", keywords)
    run = _run(settings)
    pixels = plane_of(array, "array")
    cards = header_of(array, header)
    detector = read_detector(cards, settings.config.detector, run, "header")
    if gain is not None:
        gain = number_of(gain, "gain")
        if not (gain >= 0.0 and math.isfinite(gain)):
            raise ValueError(f"gain must be positive, or 0 if it is unknown, not {gain}")
        detector = replace(detector, gain=gain)
    image, planes = to_float(pixels, Scaling(), detector.saturation, run, NO_VALUE)
    if mask is not None:
        planes[plane_of(mask, "mask", pixels.shape) != 0] |= np.uint16(Mask.BAD)
    noise = None
    variance = variance_of(array) if variance is None else variance
    if variance is not None:
        with np.errstate(over="ignore"):
            noise = np.array(plane_of(variance, "variance", pixels.shape), np.float32, order="C")
        unknown = ~((noise > 0.0) & np.isfinite(noise))
        noise[unknown] = np.inf
        planes[unknown] |= np.uint16(Mask.BAD)
        share = float(np.mean(unknown))
        if share > MAX_MASKED:
            raise ValueError(f"variance says nothing of {100 * share:.0f} % of the pixels")
    return Exposure(
        image=image,
        mask=planes,
        variance=noise,
        detector=detector,
        wcs=read_wcs(cards, run, "header"),
        header=cards,
    )


def characterize(image: Exposure, **keywords: Any) -> Exposure:
    """Measure background, cosmic rays, PSF and aperture corrections.

    Returns
    -------
    Exposure
        Repaired, with `background`, `psf` and `psf_stars`.  Where no PSF could be measured a
        default stands in, with a warning: `psf.source` says which.
    """
    _check_type("characterize", image, Exposure)
    settings = settings_of("characterize", keywords)
    return _sources(image, settings, keywords, Step.CHARACTERIZE).exposure


def measure(image: Exposure, **keywords: Any) -> Sources:
    """Detect sources and measure the columns of PARAMETERS_NAME, or the default ones."""
    _check_type("measure", image, Exposure)
    return _sources(image, settings_of("measure", keywords), keywords, Step.MEASURE)


def astrometry(sources: Sources, **keywords: Any) -> Sources:
    """Fit the WCS to a reference catalogue, ASTREFCAT_NAME.

    Raises
    ------
    StepError
        No solution could be verified.
    """
    return _calibrated("astrometry", Step.ASTROMETRY, sources, keywords)


def photometry(sources: Sources, **keywords: Any) -> Sources:
    """Fit the zero point to a reference catalogue, PHOTREFCAT_NAME or ASTREFCAT_NAME.

    Raises
    ------
    StepError
        A zero point is impossible or not believable.
    """
    return _calibrated("photometry", Step.PHOTOMETRY, sources, keywords)


def process(image: Exposure | str | Path, **keywords: Any) -> Sources:
    """Run all the steps that the keywords ask for, as the command line does.

    Parameters
    ----------
    image : Exposure, str or Path
        A path as for `read`, or a pair `det.fits,meas.fits`.

    Returns
    -------
    Sources
        A step that failed is in `status`, and its reason in `warnings`.
    """
    _check_type("process", image, Exposure, str, Path)
    settings = settings_of("process", keywords, steps=True)
    check_steps(settings)
    if isinstance(image, Exposure):
        return _sources(image, settings, keywords)
    run = _run(settings)
    job = plan_job(str(image), settings, Path())
    inputs = read_side_files(job, settings, run)
    result = _only(list(_first_two(process_extensions(job, settings, inputs, run))), image)
    request = make_request(result.exposure, settings, inputs)
    request = replace(request, plan=result.report.plan)
    return Sources(result, request, settings, dict(keywords), tuple(run.warnings))


def _sources(
    image: Exposure, settings: Settings, keywords: Mapping[str, Any], step: Step | None = None
) -> Sources:
    """Run one step, or all that the settings plan, on an exposure."""
    run = _run(settings)
    check_references(settings)
    inputs = read_inputs(settings, Path(), run)
    request = make_request(image, settings, inputs)
    if step is not None:
        known = image.has_psf or bool(inputs.psfs) or step is Step.CHARACTERIZE
        request = request_of(Plan(frozenset({step})), settings, inputs, has_psf=known)
        # What the steps that may follow match and calibrate with.
        flux = photometry_columns(known, settings.config.photometry.phot_flux_key)
        request = replace(request, wanted=request.wanted | POSITION_COLUMNS | flux)
    result = process_exposure(Frame(image), request, settings, inputs, run)
    if step is not None:
        _check(result, step)
    return Sources(result, request, settings, dict(keywords), tuple(run.warnings))


def _calibrated(caller: str, step: Step, sources: Sources, keywords: Mapping[str, Any]) -> Sources:
    """Continue with astrometry or photometry, as the pipeline does."""
    _check_type(caller, sources, Sources)
    given = {**sources.keywords, **{name.upper(): value for name, value in keywords.items()}}
    settings = settings_of(caller, given, steps=True)
    before = sources.working
    if before.measured is None:
        raise TypeError(f"{caller}() needs measured sources")
    known = has_astrometric_reference(settings)
    if not (known or (step is Step.PHOTOMETRY and has_photometric_reference(settings))):
        raise TypeError(f"{caller}() needs a reference catalogue: ASTREFCAT_NAME")
    check_references(settings)
    run = _run(settings)
    report = before.report.continued(Plan(before.report.plan.steps | {step}), run)
    request = replace(sources.request, plan=Plan(frozenset({step})), needs_sky=True)
    result = calibrate_sources(replace(before, report=report), request, settings, run)
    _check(result, step)
    return Sources(result, request, settings, given, (*sources.warnings, *run.warnings))


def _check_type(caller: str, given: object, *types: type) -> None:
    if not isinstance(given, types):
        wanted = " or ".join(t.__name__ for t in types)
        hint = ": exposure() makes one of an array" if Exposure in types else ""
        raise TypeError(f"{caller}() takes {wanted}, not {type(given).__name__}{hint}")


def _check(result: Result, step: Step) -> None:
    if result.report.statuses[step] is Status.FAILED:
        raise StepError(result.report.metrics[step]["reason"])


def _run(settings: Settings) -> Run:
    return Run(resolve_threads(settings.config.pipeline.nthreads))


def _first_two(items: Any) -> Any:
    """Yield at most two items: one is wanted, and two are too many."""
    for number, item in enumerate(items):
        yield item
        if number == 1:
            return


def _only(items: list[Any], path: str | Path) -> Any:
    """Return the only image of a file."""
    if len(items) > 1:
        raise ImageError(f"{path}: several images in the file: name one, as in {path}[1]")
    if isinstance(items[0], FailedExtension):
        raise ImageError(str(items[0]))
    return items[0]
