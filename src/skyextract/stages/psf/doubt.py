"""Whether the PSF is that of the stars, and whether cosmic rays are parts of them."""

from __future__ import annotations

import math

import numpy as np

from skyextract.datamodel.arrays import F4, F8, I8, U2, Bools
from skyextract.datamodel.beam import is_beam
from skyextract.datamodel.exposure import Exposure
from skyextract.datamodel.noise import median
from skyextract.datamodel.psf import Psf
from skyextract.datamodel.unfollowed import Unfollowed
from skyextract.datamodel.wcs import SkyWcs
from skyextract.run import Run
from skyextract.stages.psf.fitted import PsfFit
from skyextract.stages.psf.photons import growth_of_noise
from skyextract.stages.starselection.candidates import Candidates, find_candidates
from skyextract.stages.starselection.linearity import doubt_of_linearity, not_linear
from skyextract.stages.starselection.parts import doubt_of_bands, doubt_of_parts
from skyextract.stages.starselection.stars import JUDGED, Selection

MAX_TOUCHED, MIN_TOUCHED = 0.03, 3
"""Share and number of PSF stars that a repair may touch, beyond what cosmic rays hit by chance."""

MIN_SHARE, MIN_BRIGHT = 0.1, 20
"""PSF stars that are a smaller share of at least so many bright sources may be none."""

MOST = 0.5
"""The same share where other sources are of about the size of the stars, and no bright ones show
that these are of one size."""

MANY_SMALLER = 1.0
"""Sources that are smaller than the stars of a crowd, in units of these, from which the stars are
none, if they are a small share, too; crowds of stars at any density have 0.13."""

CALM, MIN_CALM, OWN_NOISE = 0.68, 5, 4.0
"""Median chi^2 of so many bright PSF stars below which their photons scatter less than GAIN says
(that of 77 simulated frames is 0.81 and more); bright is a star whose peak has that many times the
variance of the sky."""

SURE = 3.0
"""... by so many times the error that it has where GAIN is right."""

NARROW = 1.5
"""FWHM, pixels, below which that is not judged: 2 of 3 frames of 1.2 pixels had 0.62 to 0.65."""

ELONGATED = 0.3
"""Ellipticity 1 - b/a of the PSF above which the observer is told."""

LONGEST = 12.0
"""Axis ratio of the PSF above which it is no star's: trails are measured up to 8."""

AS_PIXELS = 0.15
"""Stars whose axes differ by as much as those of a pixel, to this part, are round on the sky."""

UNLIKE, SOME = 0.25, 20
"""Share of so many PSF stars that are not like the others, from which a small share of all bright
sources are none (of 70 undersampled frames: .11 at most, .33 where the stars are most of all)."""

DEEP, HIGHEST = 0.5, 20
"""Depth of so many of the deepest dips, over the height of as many of the highest peaks, from which
peaks are noise that neighbours share (of noise .88; of stars 8 to 40 pixels wide .03 and less)."""

_GAUSSIAN_AREA = math.pi / (4.0 * math.log(2.0))


def touches_stars(cosmic: I8, fit: PsfFit, shape: tuple[int, int]) -> bool:
    """Tell whether cosmic rays were found in more cores of PSF stars than chance explains."""
    if not cosmic.size or not fit.used.any():
        return False
    radius = max(1.0, 0.5 * fit.psf.fwhm)
    reach = math.ceil(radius)
    offset = np.arange(-reach, reach + 1)
    dy, dx = (part - reach for part in np.nonzero(np.hypot(offset[:, None], offset) <= radius))
    rows = np.clip(np.rint(fit.y).astype(np.int64)[:, None] + dy, 0, shape[0] - 1)
    columns = np.clip(np.rint(fit.x).astype(np.int64)[:, None] + dx, 0, shape[1] - 1)
    places, ordered = rows * shape[1] + columns, np.sort(cosmic)
    found = ordered[np.minimum(np.searchsorted(ordered, places), ordered.size - 1)] == places
    touched = int(found.any(axis=1).sum())
    chance = cosmic.size / math.prod(shape) * len(dx)
    n_stars = fit.x.size
    limit = n_stars * (MAX_TOUCHED + chance) + 3.0 * math.sqrt(n_stars * chance)
    return touched > max(limit, MIN_TOUCHED)


def doubt_of_psf(
    selection: Selection, stars: Candidates, fit: PsfFit, psf: Psf, frame: Exposure
) -> tuple[str, Unfollowed | None]:
    """Tell why the PSF may not be that of the stars of a frame; empty where it is.

    Where it is not that of the stars in a part of it, this part, too.
    """
    message = doubt_of_length(psf)
    if message:
        return message, None
    message = doubt_of_stars(selection, is_beam(psf.fwhm, frame.beam)) or doubt_of_defects(
        selection, fit.used, psf.fwhm
    )
    if message:  # sizes do not crowd at one, either, where they change from row to row
        bands = doubt_of_bands(selection.sizes, psf, frame.shape)
        return bands if bands[0] else (message, None)
    message, part = doubt_of_parts(selection.sizes, psf, frame.shape)
    return message or doubt_of_linearity(stars.flux, stars.fwhm), part


def doubt_of_length(psf: Psf) -> str:
    """Tell that what passes for stars is too long for these; empty if it is not."""
    message, ratio = "", 1.0 / (1.0 - psf.ellipticity)
    if is_too_long(psf):
        message = (
            f"what passes for stars is {psf.fwhm * math.sqrt(ratio):.0f} pixels long, {ratio:.0f} "
            "times as long as wide: spectra (a grism or a prism without a slit), or long trails"
        )
    return message


def is_too_long(psf: Psf) -> bool:
    """Tell whether a PSF is longer than that of any star."""
    return 1.0 / (1.0 - psf.ellipticity) > LONGEST


def about_calm_stars(fit: PsfFit, sigma: float, gain: float) -> str:
    """Tell that bright stars scatter less about the PSF than their photons by GAIN; empty if not.

    Parameters
    ----------
    sigma : float
        Noise of the sky, image units.
    gain : float
        Electrons per image unit; 0 if it is not known.
    """
    # Where a star has few pixels, flux and place take up a good part of their noise.
    if not gain > 0.0 or fit.psf.fwhm < NARROW:
        return ""
    peak = fit.flux / (_GAUSSIAN_AREA * fit.psf.fwhm**2)
    chi2 = fit.chi2[fit.used & (peak > OWN_NOISE * gain * sigma**2)]
    message = ""
    if chi2.size < MIN_CALM or not median(chi2) < CALM:
        return message
    # Structure of the sky, a nebula, is in its noise, and not in the pixels of a star.
    growth = growth_of_noise(fit, sigma, 1.0 / gain)
    sure = growth is None or growth.part + SURE * growth.usual_error < 1.0
    if sure and (growth is None or growth.part < CALM):
        message = (
            f"bright stars scatter about the PSF with {median(chi2):.2f} of the variance that a "
            f"GAIN of {gain:g} gives their photons: GAIN is too low, or the pixels were smoothed; "
            "errors of bright sources are too large"
        )
    return message


def doubt_of_stars(selection: Selection | None, as_beam: bool = False) -> str:
    """Tell why the PSF stars may be no stars; empty if they are, as far as can be seen.

    Parameters
    ----------
    as_beam : bool
        They have the size of the beam of a radio map, whose noise peaks are of about this size.
    """
    if selection is None:
        return ""
    if selection.n_bright < MIN_BRIGHT:
        return selection.chance
    message, locus = selection.chance, selection.locus
    least = MIN_SHARE if locus is None or not locus.inside else MOST
    if selection.n_spots:
        message = (
            f"{selection.n_spots} of {selection.n_bright} bright sources are narrower than those "
            f"that crowd at a FWHM of {selection.fwhm:.2f} pixels, which are taken for the stars: "
            "spots of the detector, hot pixels?"
        )
    elif selection.widened:
        message = not_linear(selection.widened)
    elif (selection.smaller > MANY_SMALLER and selection.share < MOST) or (
        locus is not None and locus.is_broad
    ):
        message = (
            f"the sizes of {selection.n_bright} bright sources do not crowd at one as those of "
            "stars do: the PSF may be that of galaxies or blends"
        )
    elif selection.share < least and not (as_beam or (locus and locus.is_certain)):
        message = (
            f"only {100 * selection.share:.0f} % of {selection.n_bright} bright sources have the "
            "size and shape of the PSF stars: the PSF may not be that of the stars"
        )
    return message


def noise_for_stars(
    data: F4, variance: F4, mask: U2, gain: float, fwhm: float, height: F8, run: Run
) -> str:
    """Tell that wide stars are noise, whose dips are as deep as its peaks are high; empty if not.

    Parameters
    ----------
    data, variance, mask, gain
        As in `find_candidates`.
    fwhm : float
        Of the PSF stars, pixels.
    height : (m,) float64
        Of all peaks in the smoothed image.
    """
    dips = find_candidates(-data, variance, mask, fwhm=fwhm, gain=gain, min_snr=math.inf, run=run)
    deepest, highest = (
        float(np.sort(values)[-HIGHEST:].mean()) if values.size else 0.0
        for values in (dips.peaks[2], height)
    )
    message = ""
    if deepest > DEEP * highest:
        message = (
            f"dips are {deepest / highest:.2f} times as deep as the peaks with a FWHM of "
            f"{fwhm:.2f} pixels are high: noise that neighbours share, no stars"
        )
    return message


def doubt_of_defects(selection: Selection, used: Bools, fwhm: float) -> str:
    """Tell that sharp PSF stars, which differ, may be defects; empty if they are stars.

    Parameters
    ----------
    selection : Selection
    used : (n,) bool
        PSF stars that are like the model of all.
    fwhm : float
        Of the PSF, pixels.
    """
    n_unlike, message = int(np.count_nonzero(~used)), ""
    as_sharp = fwhm < JUDGED and used.size >= SOME and selection.share < MOST
    if as_sharp and n_unlike >= UNLIKE * used.size:
        message = (
            f"{n_unlike} of {used.size} PSF stars differ from the others, and only "
            f"{100 * selection.share:.0f} % of {selection.n_bright} bright sources are as sharp as "
            f"these, {fwhm:.2f} pixels: the PSF may be that of cosmic rays and hot pixels"
        )
    return message


def tell_elongation(psf: Psf, wcs: SkyWcs | None, run: Run) -> None:
    """Tell that stars are elongated, be it by pixels that are not square."""
    if not psf.ellipticity > ELONGATED or doubt_of_length(psf):
        return
    ratio = 1.0 if wcs is None else wcs.pixel_ratio
    if abs(math.log((1.0 - psf.ellipticity) / ratio)) < AS_PIXELS:
        run.tell(
            f"pixels are not square, {ratio:.2f} to 1 on the sky: stars have an ellipticity of "
            f"{psf.ellipticity:.2f} in pixels"
        )
    else:
        run.warn(f"stars are elongated, ellipticity {psf.ellipticity:.2f}: guiding, wind, focus?")
