"""The report of an image: one page that needs no other file, with a section per extension."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import field
from importlib import resources
from typing import TYPE_CHECKING, Any

import numpy as np

from skyextract import __version__
from skyextract.datamodel.arrays import F8, AnyArray
from skyextract.datamodel.catalog import Catalog
from skyextract.datamodel.flags import Flags, FlagsSky, Mask
from skyextract.datamodel.header import header_text
from skyextract.datamodel.mosaic import STEP, MosaicPlane
from skyextract.datamodel.photocal import PhotSource
from skyextract.datamodel.plain import plain
from skyextract.datamodel.positions import kron_ellipses, positions
from skyextract.outputs.html import figures, residuals
from skyextract.outputs.html.picture import Picture, make_picture
from skyextract.outputs.html.plots import Figure
from skyextract.outputs.html.remedies import remedy
from skyextract.outputs.report import Report
from skyextract.record import record
from skyextract.settings.steps import Status, Step

if TYPE_CHECKING:
    from skyextract.datamodel.background import BackgroundMap
    from skyextract.datamodel.exposure import Exposure
    from skyextract.outputs.result import Result

GOOD, DOUBTFUL, BAD, IDLE = "good", "doubtful", "bad", "idle"
"""Classes of the style sheet: green, orange, vermilion, grey."""

_CLASSES = {
    Status.COMPLETE: GOOD, Status.FALLBACK: DOUBTFUL, Status.FAILED: BAD, Status.SKIPPED: IDLE,
}  # fmt: skip
_FLUXES = ("FLUX_PSF", "FLUX_AUTO", "FLUX_ISO", "FLUX_APER")
_SIZES = (
    ("FLUX_RADIUS", "half-light radius (pixels)"),
    ("FWHM_IMAGE", "FWHM (pixels)"),
)
_NUMBERS: dict[Step, tuple[tuple[str, str, str], ...]] = {
    Step.ISR: (
        ("unit", "unit", "{}"),
        ("n_saturated", "saturated pixels", "{}"),
        ("n_bad", "bad pixels", "{}"),
    ),
    Step.CHARACTERIZE: (
        ("fwhm_arcsec", "seeing", "{:.2f}″"),
        ("fwhm_pix", "FWHM", "{:.2f} px"),
        ("ellipticity", "ellipticity", "{:.3f}"),
        ("n_psf_stars", "PSF stars", "{}"),
    ),
    Step.MEASURE: (
        ("n_sources", "sources", "{}"),
        ("n_flagged", "with flags", "{}"),
        ("n_saturated", "saturated", "{}"),
        ("sky_share", "of the frame is sky", "{:.0%}"),
        ("noise_scale", "noise, of that of pixels", "{:.2f}"),
    ),
    Step.ASTROMETRY: (
        ("rms_arcsec", "rms per axis", "{:.3f}″"),
        ("n_used", "stars of the fit", "{}"),
        ("n_matched", "matched", "{}"),
        ("n_reference", "reference stars", "{}"),
        ("shift_arcsec", "pointing offset", "{:.1f}″"),
        ("pixel_scale", "pixel scale", "{:.4f}″"),
        ("rotation_deg", "rotation", "{:z.2f}°"),
    ),
    Step.PHOTOMETRY: (
        ("zero_point", "zero point", "{:.3f} mag"),
        ("zero_point_error", "its error", "{:.3f} mag"),
        ("n_stars", "stars", "{}"),
        ("n_rejected", "left out", "{}"),
        ("scatter_mag", "scatter", "{:.3f} mag"),
        ("limiting_mag_5sigma", "5σ limit", "{:.2f} mag"),
        ("sky_brightness", "sky", "{:.2f} mag/″²"),
        ("band", "band", "{}"),
    ),
}


@record
class Tile:
    """A step: its status in a word and a colour, and its numbers."""

    name: str
    word: str
    kind: str
    numbers: list[tuple[str, str]]
    reason: str


@record
class Section:
    """What the page says of one image extension.

    Attributes
    ----------
    title : str
    word, kind, gist : str
        The status: in a word, as a class of colour, and in one line.
    warnings : list of (str, str)
        Each with what to do about it.
    """

    title: str
    word: str
    kind: str
    gist: str
    frame: list[tuple[str, str]]
    warnings: list[tuple[str, str]]
    tiles: list[Tile] = field(default_factory=list)
    picture: Picture | None = None
    figures: list[Figure] = field(default_factory=list)

    @property
    def ran(self) -> list[Tile]:
        """The steps that have something to say."""
        return [tile for tile in self.tiles if tile.kind != IDLE or tile.numbers or tile.reason]

    @property
    def idle(self) -> str:
        """Names of the others."""
        ran = self.ran
        return ", ".join(tile.name for tile in self.tiles if tile not in ran)


def make_section(
    result: Result, frame: Mapping[str, Any], warnings: Sequence[str], title: str
) -> Section:
    """Return the section of an extension that was processed.

    Parameters
    ----------
    frame : mapping
        What the header says, see `outputs.frame`.
    """
    report = result.report
    word, kind = verdict(report, warnings)
    gist = report.headline() if result.measured is not None else ""
    return Section(
        title, word, kind, gist, frame_lines(frame) + _mosaic(result.exposure), advice(warnings),
        _tiles(result), *_drawings(result),
    )  # fmt: skip


def _mosaic(exposure: Exposure) -> list[tuple[str, str]]:
    """Return the line on a colour of a mosaic; nothing for another image."""
    plane = MosaicPlane.from_header(exposure.header)
    if plane is None:
        return []
    share = "half" if plane.step == STEP else f"1 / {plane.step}"
    text = f"{plane.colour} of the mosaic: drawings have its own pixels, {share} as many along each"
    return [("pixels", f"{text} axis; FWHM and catalogue are in pixels of the full frame")]


def failed_section(
    failure: str, frame: Mapping[str, Any], warnings: Sequence[str], title: str
) -> Section:
    """Return the section of an extension, or an image, that could not be processed."""
    lines = [failure, *(text for text in warnings if text != failure)]
    return Section(title, "FAILED", BAD, "", frame_lines(frame), advice(lines))


def verdict(report: Report, warnings: Sequence[str]) -> tuple[str, str]:
    """Return the status of an extension in words, and its class of colour."""
    failed = [step.value for step in Step if report.statuses[step] is Status.FAILED]
    fallen = [step.value for step in Step if report.statuses[step] is Status.FALLBACK]
    words = [f"{name} FAILED" for name in failed] + [f"{name} FALLBACK" for name in fallen]
    if report.sources["PSFSRC"] == "DEFAULT":
        words.append("DEFAULT PSF, none was measured")
    if report.failure:
        return "FAILED", BAD
    if words:
        return "PARTIAL: " + ", ".join(words), BAD if failed else DOUBTFUL
    if warnings:
        number = "a warning" if len(warnings) == 1 else f"{len(warnings)} warnings"
        return f"COMPLETE, with {number}", DOUBTFUL
    return "COMPLETE", GOOD


def advice(warnings: Sequence[str]) -> list[tuple[str, str]]:
    """Return each warning with what to do about it."""
    return [(text, remedy(text)) for text in warnings]


_FACTS = {
    "date_obs": ("date (UT)", "{}"),
    "mjd": ("MJD", "{:.5f}"),
    "exposure_time": ("exposure time", "{:.6g} s"),
    "airmass": ("airmass", "{:.3f}"),
    "ra": ("RA", "{:.4f}°"),
    "dec": ("Dec", "{:+.4f}°"),
    "site": ("site", "{longitude:+.3f}° {latitude:+.3f}° {height:.0f} m"),
}
"""Name and form of what is no text."""


def frame_lines(frame: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return what the header says in words; what is unknown is left out."""
    lines = []
    for key, value in frame.items():
        if value is None:
            continue
        name, form = _FACTS.get(key, (key.replace("_", " "), "{}"))
        text = form.format(**value) if isinstance(value, Mapping) else form.format(value)
        lines.append((name, text.removesuffix(".000") if key == "date_obs" else text))
    return lines


def _background(result: Result) -> BackgroundMap | None:
    """Return the last background: what was measured is measured on it."""
    return result.exposure.background if result.plane is None else result.plane.background


def _tiles(result: Result) -> list[Tile]:
    """Return the steps; the background stands with the last one that measured it."""
    tiles = [_tile(result.report, step) for step in Step]
    background = _background(result)
    if background is not None:
        last = Step.CHARACTERIZE if result.measured is None else Step.MEASURE
        numbers = tiles[list(Step).index(last)].numbers
        numbers.append(("background", f"{background.mean:.5g}"))
        numbers.append(("its rms", f"{background.sigma:.4g}"))
    return tiles


def _tile(report: Report, step: Step) -> Tile:
    status, metrics = report.statuses[step], plain(report.metrics[step])
    numbers = [
        (label, form.format(metrics[key]))
        for key, label, form in _NUMBERS[step]
        if metrics.get(key) is not None
    ]
    reason = "" if status is Status.COMPLETE else _reason(report, step)
    return Tile(step.value, str(status), _CLASSES[status], numbers, reason)


def _drawings(result: Result) -> tuple[Picture, list[Figure]]:
    """Draw the picture and the diagrams of an extension."""
    exposure, measured, report = result.exposure, result.measured, result.report
    sources = measured.sources if measured is not None else Catalog()
    shapes = measured.shapes if measured is not None else Catalog()
    flags_sky = np.asarray(sources["FLAGS_SKY"]) if sources.n_rows else np.zeros(0, np.int16)
    stars = (flags_sky & np.int16(FlagsSky.PSF_STAR)) != 0
    mag, label = _magnitudes(result, sources)
    none = np.zeros(0)
    matches = result.astrometry.matches if result.astrometry is not None else Catalog()
    x, y, _ = positions(shapes) or (none, none, False)
    pairs = (matches["X_IMAGE"], matches["Y_IMAGE"]) if matches.n_rows else (none, none)
    image, mask, wcs = exposure.image, exposure.mask, exposure.wcs
    picture = make_picture(image, mask, wcs, x, y, -mag, kron_ellipses(shapes), stars, pairs)
    scale = math.nan if exposure.wcs is None else exposure.wcs.pixel_scale()
    plane = result.plane
    psf = exposure.psf if exposure.has_psf else None
    drawn = figures.psf_field(psf, exposure.psf_stars, exposure.shape, scale)
    data = None if plane is None else plane.subtracted
    left = None if measured is None else measured.residual
    drawn.append(figures.psf_stamps(psf, exposure.psf_stars, data, left))
    unit = header_text(exposure.header or {}, "BUNIT") or "image units"
    drawn += figures.background_maps(_background(result), unit)
    if measured is not None:
        size, size_label = _sizes(sources, shapes)
        cut = np.int16(Flags.SATURATED | Flags.TRUNCATED)
        flagged = (np.asarray(shapes["FLAGS"]) & cut) != 0 if shapes.n_rows else stars
        drawn.append(figures.stellar_locus(mag, size, stars, flagged, (label, size_label)))
        drawn += residuals.astrometry_figures(
            matches, exposure.shape, _why_not(report, Step.ASTROMETRY)
        )
        zero = result.photometry.matches if result.photometry is not None else Catalog()
        why = _why_not(report, Step.PHOTOMETRY)
        failed = why if not zero.n_rows or report.statuses[Step.PHOTOMETRY] is Status.FAILED else ""
        drawn += residuals.photometry_figures(zero, exposure.shape, failed)
        limit = plain(report.metrics[Step.PHOTOMETRY].get("limiting_mag_5sigma"))
        drawn.append(figures.number_counts(mag, limit, label))
    hit = np.flatnonzero((exposure.mask & np.uint16(Mask.CR)).ravel())
    y, x = np.divmod(hit, exposure.shape[1])
    number = plain(report.metrics[Step.CHARACTERIZE].get("n_cosmic_rays"))
    drawn.append(figures.cosmic_rays((x + 1, y + 1), number, exposure.shape))
    return picture, drawn


def _reason(report: Report, step: Step) -> str:
    return str(report.metrics[step].get("reason") or "")


def _why_not(report: Report, step: Step) -> str:
    """Say why a step has nothing to show."""
    status = report.statuses[step]
    if status is Status.SKIPPED:
        return f"{step.value.capitalize()} did not run."
    return f"{step.value.capitalize()} {status}: why stands above."


def _magnitudes(result: Result, sources: Catalog) -> tuple[F8, str]:
    """Return magnitudes of the sources and what they are called."""
    name = next((n for n in _FLUXES if n in sources), "")
    photocal = result.exposure.photocal
    calibrated = photocal.source is not PhotSource.NONE and math.isfinite(photocal.zero_point)
    zero = photocal.zero_point if calibrated else 0.0
    if name:
        flux: AnyArray = np.asarray(sources[name], np.float64)
        flux = flux[:, 0] if flux.ndim == 2 else flux
    elif result.measured is not None:
        flux = result.measured.detections.dflux[result.measured.rows]
    else:
        flux = np.zeros(0)
    mag = np.full(len(flux), np.nan)
    above = flux > 0.0
    mag[above] = zero - 2.5 * np.log10(flux[above])
    kind = "magnitude" if calibrated else "instrumental magnitude"
    return mag, f"{kind}{' ' + name.removeprefix('FLUX_') if name else ''} (mag)"


def _sizes(sources: Catalog, shapes: Catalog) -> tuple[F8, str]:
    for name, label in _SIZES:
        if name in sources:
            values = np.asarray(sources[name], np.float64)
            return (values[:, 0] if values.ndim == 2 else values), label
    return np.asarray(shapes["A_IMAGE"], np.float64), "rms semi-major axis (pixels)"


def render(name: str, sections: Sequence[Section], provenance: Mapping[str, Any]) -> str:
    """Return the page.

    Parameters
    ----------
    name : str
        Of the image.
    provenance : mapping
        `config` and `inputs` of the summary.
    """
    changed = {
        key: item
        for key, item in provenance["config"].items()
        if not item["origin"].startswith("built-in")
    }
    page: str = template("report.html").render(
        name=name, sections=sections, version=__version__, config=provenance["config"],
        changed=changed, inputs=provenance["inputs"],
    )  # fmt: skip
    return page


def template(name: str) -> Any:
    """Return a jinja2 template of this package; what it inserts is escaped."""
    from jinja2 import Environment, FunctionLoader
    from markupsafe import Markup, escape

    def load(file: str) -> str:
        return resources.files("skyextract.outputs.html").joinpath(file).read_text("utf-8")

    def code(text: str) -> Markup:
        """Show what stands between backticks as code."""
        return Markup(re.sub(r"`(.+?)`", r"<code>\1</code>", str(escape(text))))

    pages = Environment(
        loader=FunctionLoader(load), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    pages.filters["code"] = code
    return pages.get_template(name)
