"""What makes the sources of an image doubtful: measure is a FALLBACK then, and says why."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from skyextract.datamodel.arrays import F4, F8, I2, I4, I8, U2, Bools
from skyextract.datamodel.flags import FlagsSky, Mask
from skyextract.datamodel.psf import PsfSource
from skyextract.record import record
from skyextract.stages.background.blackpoint import about_black_point
from skyextract.stages.background.residual import TOO_MANY, about_residual, share_below
from skyextract.stages.background.vignetting import (
    DOUBTED,
    about_flat,
    about_vignetting,
    sky_of_corners,
)
from skyextract.stages.detection.dots import find_dots
from skyextract.stages.detection.fields import find_fields
from skyextract.stages.detection.flashes import find_flashes
from skyextract.stages.detection.framekind import doubt_of_kind
from skyextract.stages.detection.ghosts import Ghosts, find_ghosts
from skyextract.stages.detection.marked import Marked
from skyextract.stages.detection.noisesteps import MIN_SKY, NoiseStep, find_noise_step
from skyextract.stages.detection.pixelorder import find_interleaved
from skyextract.stages.detection.registration import Displacement, find_displacement
from skyextract.stages.detection.seams import Seam, find_seam
from skyextract.stages.detection.spectra import Spectra, find_spectra
from skyextract.stages.detection.spectrallight import find_spectral_light
from skyextract.stages.detection.spikes import find_spikes
from skyextract.stages.detection.tracks import find_tracks
from skyextract.stages.detection.twins import Twins, find_twins
from skyextract.stages.psf.halo import find_halo

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from skyextract.datamodel.detections import Detections
    from skyextract.datamodel.exposure import Exposure
    from skyextract.run import Run
    from skyextract.stages.background.planes import Plane
    from skyextract.stages.detection.support import Support
    from skyextract.stages.find import Found

MIN_SHARP, TOLD_SHARP, MANY_SHARP = 5, 0.01, 0.1
"""Sources that are sharper than the PSF: number and share that are told of, and share above which
the list of sources is doubtful."""
MIN_REPAIRED, MANY_REPAIRED = 5, 0.1
"""Number and share of sources upon repaired cosmic rays above which the list is doubtful, ..."""
MIN_TORN, MANY_TORN = 5, 0.4
"""Number and share of the PSF stars that no point describes from which they are torn."""
SAMPLED = 2.5
"""FWHM, pixels, from which on this is judged."""
MIN_JOINED = 0.8
"""... if so many of their pixels have another one beside: tracks, not single pixels."""


@record
class Doubts:
    """What was found.

    Attributes
    ----------
    seen_twice : str
        Why positions and magnitudes may be those of second images of the stars.
    flags : (n,) int32
        Bits of FLAGS_SKY of all detections.
    texts : list of str
        Why the sources are doubtful, each in one line; empty where nothing speaks against them.
    """

    seen_twice: str
    flags: I4
    texts: list[str]


def doubts_about(
    exposure: Exposure,
    found: Found,
    flags: I2,
    rests_on: Support,
    about_psf: str,
    about_sky: str,
    rows: I8,
    run: Run,
    *,
    is_dual: bool,
) -> Doubts:
    """Look for what makes the sources doubtful, and warn of it.

    Parameters
    ----------
    exposure : Exposure
        The image that was measured.
    found : Found
        Its sources and planes.
    flags : (n,) int16
        FLAGS_SKY of the sources.
    rests_on : Support
        Of the background.
    about_psf : str
        What is doubtful about a PSF that was given.
    about_sky : str
        Why fluxes have a part of the sky in them; empty if they have not.
    rows : (m,) int64
        Those of the catalogue among all sources: what is said counts them.
    is_dual : bool
        The sources are those of another image.
    """
    detections, plane = found.detections, found.plane
    shapes = (detections.x, detections.y, detections.a, detections.b, detections.theta)
    pixels = (plane.subtracted, plane.background.sigma, plane.bad)
    noise = plane.background.sigma * np.sqrt(np.maximum(detections.dnpix, 1))
    snr = float((detections.dflux / noise).max(initial=0.0))
    fwhm = _fwhm(exposure)
    largest = int(detections.fdnpix.max(initial=0))
    # Each takes some milliseconds, which threads share: they are equal where long ones come first.
    checks: tuple[Callable[[], Any], ...] = (
        lambda: find_spikes(*pixels, *shapes[:4], detections.dpeak, fwhm),
        lambda: _seam(exposure, plane, rests_on),
        lambda: _second_images(detections, exposure),
        lambda: _spectra(*pixels, *shapes, detections.dflux, fwhm),
        lambda: find_dots(detections.x, detections.y, detections.dflux),
        lambda: find_flashes(detections.x, detections.y, detections.dflux),
        lambda: find_interleaved(*pixels),
        lambda: find_fields(*pixels, detections.x, detections.y, detections.dflux, fwhm),
        lambda: sky_of_corners(plane.background, plane.subtracted, plane.bad, largest),
        # The median of rounded values is one of them.
        lambda: 0.0 if plane.background.hidden_step else share_below(*pixels),
        lambda: find_tracks(*shapes, plane.bad),
        lambda: find_halo(exposure.psf_stars, exposure.psf, plane.subtracted, plane.bad),
        lambda: doubt_of_kind(
            exposure.header, *pixels, plane.n_bad, detections.n, has_psf=exposure.has_psf, snr=snr
        ),
    )
    (
        spikes,
        seam,
        (twins, ghosts),
        (spectra, faint),
        dots,
        flashes,
        turns,
        fields,
        (missing, excess),
        below,
        tracks,
        halo,
        kind,
    ) = run.map(lambda check: check(), checks)
    said = (
        rests_on,
        twins,
        fields,
        spectra,
        halo,
        _displacement(exposure, found) if is_dual else None,
    )
    images = (ghosts, spectra, faint, dots)
    marked = [what for what in (*images, tracks, spikes, flashes) if what is not None]
    of_rows = {what.doubt: what.rows for what in marked}
    texts = [doubt.doubt for doubt in said if doubt is not None]
    black = about_black_point(plane.background)
    torn = about_torn(flags) if _is_noise_known(exposure, found) else ""
    own = (about_psf, about_sky, torn, about_covered(exposure))
    texts = [text for text in (*texts, *exposure.doubts, kind, black, *own) if text]
    # A PSF that is none of this image tells nothing of single pixels.
    sharp, share = ("", 0.0) if about_psf else _about_sharp(flags)
    false = [(sharp, share > MANY_SHARP), (about_residual(below), below > TOO_MANY)]
    if flashes is not None and tracks is not None and tracks.rows[flashes.rows].all():
        flashes = None  # dashes, which are told
    false += [
        (what.doubt, what.are_many)
        for what in (ghosts, faint, dots, tracks, spikes, flashes, turns, seam)
        if what is not None
    ]
    false += [
        (about_vignetting(missing), missing > DOUBTED),
        (about_flat(excess), excess > DOUBTED),
    ]
    repaired = _about_repairs(flags, exposure.mask)
    false.append((repaired, True))
    of_rows[sharp] = (flags & int(FlagsSky.SHARP)) != 0
    of_rows[repaired] = (flags & int(FlagsSky.COSMIC_RAY)) != 0
    told = [text for text, are_many in false if not are_many]
    texts += [text for text, are_many in false if are_many]
    told, texts = (of_catalogue(lines, of_rows, rows) for lines in (told, texts))
    for text in (*told, *texts):
        run.warn(text)
    seen_twice = next((what.doubt for what in (fields, twins) if what is not None), "")
    if ghosts is not None and ghosts.are_alike:
        seen_twice = "".join(of_catalogue([ghosts.doubt], of_rows, rows))
    bits = np.zeros(detections.n, np.int32)
    for what in marked:
        is_image = any(what is image for image in images)
        bits[what.rows] |= int(FlagsSky.GHOST if is_image else FlagsSky.TRACK)
    return Doubts(seen_twice, bits, texts)


def _spectra(
    image: F4, sigma: float, bad: Bools, x: F8, y: F8, a: F8, b: F8, theta: F8, flux: F8,
    fwhm: float,
) -> tuple[Spectra | None, Marked | None]:  # fmt: skip
    """Look for spectra among the sources, and where these are few, for their light."""
    spectra = find_spectra(x, y, a, b, theta, flux)
    if spectra is not None:
        return spectra, None
    return None, find_spectral_light(image, sigma, bad, x, y, a, b, theta, flux, fwhm)


def of_catalogue(texts: Iterable[str], of_rows: Mapping[str, Bools], rows: I8) -> list[str]:
    """Return what is said of sources with the numbers of the catalogue, not of all detections.

    Parameters
    ----------
    texts : iterable of str
        `3 of 40 sources ...`; empty ones are left out, and those of no row of the catalogue.
    of_rows : mapping of str to (n,) bool
        The sources that a text counts.
    rows : (m,) int64
        Those of the catalogue among the n.
    """
    found = []
    for text in texts:
        counted = of_rows.get(text)
        if counted is None:
            found.append(text)
            continue
        n = int(np.count_nonzero(counted[rows]))
        all_of_it = f"{np.count_nonzero(counted)} of {counted.size} sources"
        if n:
            found.append(text.replace(all_of_it, f"{n} of {rows.size} sources", 1))
    return [text for text in found if text]


def _fwhm(exposure: Exposure) -> float:
    """Return that of the PSF, pixels; 0 where it is not known."""
    return exposure.psf.fwhm if exposure.psf is not None and exposure.has_psf else 0.0


def _second_images(found: Detections, exposure: Exposure) -> tuple[Twins | None, Ghosts | None]:
    """Look for second images of all sources; of some, if not all have one."""
    sources = found.x, found.y, found.dflux
    twins = find_twins(*sources)
    return twins, find_ghosts(*sources, _fwhm(exposure)) if twins is None else None


def _seam(exposure: Exposure, plane: Plane, rests_on: Support) -> Seam | NoiseStep | None:
    """Look for a step of the sky, or of its noise where no map says that it is uneven."""
    level, sigma = plane.background.mean, plane.background.sigma
    seam = find_seam(plane.subtracted, level, sigma, plane.bad)
    # Noise of few photons, or steps, is not that of a Gaussian.
    is_known = plane.background.skewness is not None or exposure.variance is not None
    is_known |= exposure.weight is not None
    if seam is not None or is_known or not rests_on.sky_share > MIN_SKY:
        return seam
    detector = exposure.detector
    return find_noise_step(
        plane.subtracted, plane.background, plane.bad, detector.gain, exposure.header,
        detector.pedestal, matched=exposure.matched,
    )  # fmt: skip


def _about_sharp(flags: I2) -> tuple[str, float]:
    """Return what is to be said of sources that are sharper than the PSF, and their share."""
    n = int(np.count_nonzero(flags & int(FlagsSky.SHARP)))
    if n < max(MIN_SHARP, TOLD_SHARP * flags.size):
        return "", 0.0
    message = (
        f"{n} of {flags.size} sources are sharper than the PSF allows (hot pixels, cosmic rays?; "
        "SHARP in FLAGS_SKY)"
    )
    return message, n / flags.size


def _is_noise_known(exposure: Exposure, found: Found) -> bool:
    """Tell whether pixels of stars scatter by what the fits take for their noise.

    Not where photons have no GAIN, where they are few, or where rounding hides the noise; nor do
    stars as narrow as pixels tell more than where in a pixel they are.
    """
    background, psf = found.plane.background, exposure.psf
    fine = background.skewness is None and not background.hidden_step
    sampled = psf is not None and psf.fwhm > SAMPLED
    return fine and sampled and exposure.detector.gain > 0.0


def about_torn(flags: I2) -> str:
    """Tell that the PSF describes few of the stars that it was made of; empty if it does.

    Each of them looks different: pixels were copied or left out (resampling by the nearest pixel),
    lines displaced, or second images of the stars lie in the first.
    """
    stars = (flags & int(FlagsSky.PSF_STAR)) != 0
    torn = int(np.count_nonzero(stars & ((flags & int(FlagsSky.NO_POINT)) != 0)))
    n_stars = int(np.count_nonzero(stars))
    message = ""
    if torn >= max(MIN_TORN, MANY_TORN * n_stars):
        message = (
            f"the PSF does not describe {torn} of the {n_stars} stars that it was made of: each "
            "has another shape (resampling by the nearest pixel, displaced lines, second images?)"
        )
    return message


def about_covered(exposure: Exposure) -> str:
    """Tell that no star shows how much light the PSF lacks in its wings; empty if one does.

    Neighbours cover the stars that the PSF was made of: its wings are what was left between them.
    """
    psf, corrections = exposure.psf, exposure.aperture_corrections
    if psf is None or psf.source is not PsfSource.MEASURED or corrections is None:
        return ""
    message = ""
    if exposure.psf_stars is not None and math.isnan(corrections["ERROR"][0]):
        message = (
            f"none of the {psf.n_stars} PSF stars is free of neighbours out to its wings: fluxes "
            "of the PSF may be off by some per cent, all alike"
        )
    return message


def _about_repairs(flags: I2, mask: U2) -> str:
    """Return what is to be said of sources upon repaired cosmic rays, if they are many."""
    n = int(np.count_nonzero(flags & int(FlagsSky.COSMIC_RAY)))
    if n < max(MIN_REPAIRED, MANY_REPAIRED * flags.size):
        return ""
    cosmic = np.pad((mask & np.uint16(Mask.CR)) != 0, 1)
    y, x = np.nonzero(cosmic)
    beside = [cosmic[y + dy, x + dx] for dy in (-1, 0, 1) for dx in (-1, 0, 1) if dy or dx]
    if np.mean(np.any(beside, axis=0)) < MIN_JOINED:
        return ""
    return (
        f"{n} of {flags.size} sources have repaired cosmic rays in their pixels: some are what is "
        "left of tracks (2 in FLAGS_SKY)"
    )


def _displacement(exposure: Exposure, found: Found) -> Displacement | None:
    fwhm = _fwhm(exposure)
    d = found.detections
    return find_displacement(d.x, d.y, d.dflux, found.detection_plane, found.plane, fwhm)
