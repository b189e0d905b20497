"""What makes the sources of an image doubtful: measure is a FALLBACK then, and says why."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from skyextract.datamodel.alignment import apart_by_headers
from skyextract.datamodel.arrays import F4, F8, I2, I4, I8, Bools
from skyextract.datamodel.flags import FlagsSky
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
from skyextract.stages.detection.fields import Fields, find_fields
from skyextract.stages.detection.flashes import find_flashes
from skyextract.stages.detection.framekind import doubt_of_kind
from skyextract.stages.detection.ghosts import Ghosts, find_ghosts, second_images
from skyextract.stages.detection.marked import Marked
from skyextract.stages.detection.noisesteps import MIN_SKY, NoiseStep, find_noise_step
from skyextract.stages.detection.noisewindow import NoiseWindow, find_noise_window
from skyextract.stages.detection.pixelorder import Interleaved, find_interleaved
from skyextract.stages.detection.registration import Displacement, find_displacement
from skyextract.stages.detection.seams import Seam, find_seam
from skyextract.stages.detection.sidelobes import Dips, find_sidelobes
from skyextract.stages.detection.spectra import Spectra, find_spectra
from skyextract.stages.detection.spectrallight import find_spectral_light
from skyextract.stages.detection.spikes import find_spikes
from skyextract.stages.detection.tracks import Tracks, find_tracks
from skyextract.stages.detection.twins import Twins, find_twins
from skyextract.stages.detection.walking import find_walking_noise
from skyextract.stages.doubtlines import (
    Line,
    about_covered,
    about_repairs,
    about_sharp,
    about_torn,
    lines_of,
    of_catalogue,
)
from skyextract.stages.psf.halo import Halo, find_halo

if TYPE_CHECKING:
    from collections.abc import Callable

    from skyextract.datamodel.detections import Detections
    from skyextract.datamodel.exposure import Exposure
    from skyextract.run import Run
    from skyextract.stages.background.planes import Plane
    from skyextract.stages.detection.support import Support
    from skyextract.stages.find import Found

SAMPLED = 2.5
"""FWHM, pixels, from which on this is judged."""


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
    chains: Marked | None,
    rows: I8,
    run: Run,
    *,
    detection: Exposure | None,
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
    chains : Marked or None
        Light that was taken apart into sources.
    rows : (m,) int64
        Those of the catalogue among all sources: what is said counts them.
    detection : Exposure or None
        The image whose sources they are, if it is another one.
    """
    seen = _look(exposure, found, rests_on, run)
    displaced = None if detection is None else _displacement(exposure, found)
    other_sky = Line("") if detection is None else _other_sky(exposure, detection, displaced)
    torn = about_torn(flags) if _is_noise_known(exposure, found) else ""
    black = about_black_point(found.plane.background)
    missing, excess = seen.corners
    covered = about_covered(exposure) if flags.size else ""
    of_frame = (seen.kind, black, about_psf, about_sky, torn, covered)
    lines = [
        *lines_of(rests_on, seen.twins, seen.fields, seen.spectral[0], seen.halo, displaced),
        other_sky,
        *(Line(text) for text in (*exposure.doubts, *of_frame)),
        *lines_of(seen.ghosts, seen.spectral[1], seen.dots, seen.tracks, seen.spikes),
        *lines_of(*(seen.sidelobes or ()), chains),
        *lines_of(seen.flashes_of_their_own, seen.walking, seen.turns, seen.seam, seen.window),
        Line(about_vignetting(missing), missing > DOUBTED),
        Line(about_flat(excess), excess > DOUBTED),
        Line(about_residual(seen.below), seen.below > TOO_MANY),
        about_repairs(flags, exposure.mask),
    ]
    if not about_psf:  # a PSF that is none of this image tells nothing of single pixels
        lines.append(about_sharp(flags))
    told = of_catalogue([line for line in lines if not line.is_doubt], rows)
    texts = of_catalogue([line for line in lines if line.is_doubt], rows)
    for text in (*told, *texts):
        run.warn(text)
    seen_twice = next((what.doubt for what in (seen.fields, seen.twins) if what is not None), "")
    if seen.ghosts is not None and seen.ghosts.are_alike:
        seen_twice = "".join(of_catalogue(lines_of(seen.ghosts), rows))
    bits = seen.bits(found.detections.n)
    if chains is not None:
        bits[chains.rows] |= int(FlagsSky.NO_POINT)
    window = seen.window if seen.window is not None and seen.window.are_many else None
    for part in (exposure.unfollowed, window):
        if part is not None:
            within = part.covers(found.detections.x, found.detections.y)
            bits[within] |= int(FlagsSky.NO_POINT)
    return Doubts(seen_twice, bits, texts)


@record
class _Seen:
    """What the checks of an image found; None, 0 or empty where there is nothing.

    Attributes
    ----------
    images : tuple
        Second images of all sources, with those rows that are one, or of some.
    spectral : tuple
        Spectra among the sources, or their light.
    corners : (2,) float
        Shares of the sky that the corners have too little, and too much.
    below : float
        Share of the pixels that are too far below the sky.
    """

    spikes: Marked | None
    seam: Seam | NoiseStep | None
    window: NoiseWindow | None
    images: tuple[Twins | None, Bools | None, Ghosts | None]
    spectral: tuple[Spectra | None, Marked | None]
    dots: Marked | None
    flashes: Tracks | None
    walking: Marked | None
    turns: Interleaved | None
    fields: Fields | None
    corners: tuple[float, float]
    below: float
    tracks: Tracks | None
    sidelobes: tuple[Dips, Marked] | None
    halo: Halo | None
    kind: str

    @property
    def twins(self) -> Twins | None:
        """Second images of all sources."""
        return self.images[0]

    @property
    def ghosts(self) -> Ghosts | None:
        """Second images of some sources."""
        return self.images[2]

    @property
    def flashes_of_their_own(self) -> Tracks | None:
        """Flashes that are no dashes of tracks, which are told."""
        flashes, tracks = self.flashes, self.tracks
        are_dashes = flashes and tracks and tracks.rows[flashes.rows].all()
        return None if are_dashes else flashes

    def bits(self, n: int) -> I4:
        """Return the bits of FLAGS_SKY of all n sources."""
        lobes = self.sidelobes[1] if self.sidelobes else None
        images: tuple[Any, ...] = (self.ghosts, *self.spectral, self.dots, lobes)
        pieces: tuple[Any, ...] = (self.tracks, self.spikes, self.flashes, self.walking)
        bits = np.zeros(n, np.int32)
        if self.images[1] is not None:
            bits[self.images[1]] = int(FlagsSky.GHOST)
        for bit, found in ((FlagsSky.GHOST, images), (FlagsSky.TRACK, pieces)):
            for what in found:
                if what is not None:
                    bits[what.rows] |= int(bit)
        return bits


def _look(exposure: Exposure, found: Found, rests_on: Support, run: Run) -> _Seen:
    """Make the checks of the sources and of the pixels between them."""
    detections, plane = found.detections, found.plane
    places = (detections.x, detections.y, detections.dflux)
    shapes = (detections.x, detections.y, detections.a, detections.b, detections.theta)
    pixels = (plane.subtracted, plane.background.sigma, plane.bad)
    noise = plane.background.sigma * np.sqrt(np.maximum(detections.dnpix, 1))
    snr = float((detections.dflux / noise).max(initial=0.0))
    fwhm = _fwhm(exposure)
    largest = int(detections.fdnpix.max(initial=0))
    of_beam = exposure.beam is not None  # its sidelobes are in lines
    # Each takes some milliseconds, which threads share: they are equal where long ones come first.
    checks: dict[str, Callable[[], Any]] = {
        "spikes": lambda: find_spikes(*pixels, *shapes[:4], detections.dpeak, fwhm),
        "seam": lambda: _seam(exposure, plane, rests_on),
        "window": lambda: (
            find_noise_window(plane.subtracted, plane.bad, exposure.header)
            if _is_noise_even(exposure, plane, rests_on)
            else None
        ),
        "images": lambda: _second_images(detections, exposure),
        "spectral": lambda: _spectra(*pixels, *shapes, detections.dflux, fwhm),
        "dots": lambda: find_dots(*places),
        "flashes": lambda: None if of_beam else find_flashes(*places),
        "walking": lambda: find_walking_noise(*pixels, *places[:2], detections.dpeak, fwhm),
        "turns": lambda: find_interleaved(*pixels),
        "fields": lambda: find_fields(*pixels, *places, fwhm),
        "corners": lambda: sky_of_corners(plane.background, plane.subtracted, plane.bad, largest),
        # The median of rounded values is one of them.
        "below": lambda: 0.0 if plane.background.hidden_step else share_below(*pixels),
        "tracks": lambda: find_tracks(*shapes, plane.bad),
        "sidelobes": lambda: (
            find_sidelobes(*pixels, *places[:2], detections.dpeak, fwhm) if of_beam else None
        ),
        "halo": lambda: find_halo(exposure.psf_stars, exposure.psf, plane.subtracted, plane.bad),
        "kind": lambda: doubt_of_kind(
            exposure.header, *pixels, plane.n_bad, detections.n, has_psf=exposure.has_psf, snr=snr
        ),
    }
    results = run.map(lambda check: check(), [*checks.values()])
    return _Seen(**dict(zip(checks, results, strict=True)))


def _spectra(
    image: F4, sigma: float, bad: Bools, x: F8, y: F8, a: F8, b: F8, theta: F8, flux: F8,
    fwhm: float,
) -> tuple[Spectra | None, Marked | None]:  # fmt: skip
    """Look for spectra among the sources, and where these are few, for their light."""
    spectra = find_spectra(x, y, a, b, theta, flux)
    if spectra is not None:
        return spectra, None
    return None, find_spectral_light(image, sigma, bad, x, y, a, b, theta, flux, fwhm)


def _fwhm(exposure: Exposure) -> float:
    """Return that of the PSF, pixels; 0 where it is not known."""
    return exposure.psf.fwhm if exposure.psf is not None and exposure.has_psf else 0.0


def _second_images(
    found: Detections, exposure: Exposure
) -> tuple[Twins | None, Bools | None, Ghosts | None]:
    """Look for second images of all sources; of some, if not all have one."""
    sources = found.x, found.y, found.dflux
    twins, fwhm = find_twins(*sources), _fwhm(exposure)
    if twins is None:
        return None, None, find_ghosts(*sources, fwhm, exposure.shape)
    return twins, second_images(*sources, twins, fwhm), None


def _seam(exposure: Exposure, plane: Plane, rests_on: Support) -> Seam | NoiseStep | None:
    """Look for a step of the sky, or of its noise where no map says that it is uneven."""
    level, sigma = plane.background.mean, plane.background.sigma
    seam = find_seam(plane.subtracted, level, sigma, plane.bad)
    if seam is not None or not _is_noise_even(exposure, plane, rests_on):
        return seam
    detector = exposure.detector
    return find_noise_step(
        plane.subtracted, plane.background, plane.bad, detector.gain, exposure.header,
        detector.pedestal, matched=exposure.matched,
    )  # fmt: skip


def _is_noise_even(exposure: Exposure, plane: Plane, rests_on: Support) -> bool:
    """Tell whether the noise should be one: no map says that it is not, and enough is sky.

    Noise of few photons, or steps, is not that of a Gaussian.
    """
    is_known = plane.background.skewness is not None or exposure.variance is not None
    return not is_known and exposure.weight is None and rests_on.sky_share > MIN_SKY


def _is_noise_known(exposure: Exposure, found: Found) -> bool:
    """Tell whether pixels of stars scatter by what the fits take for their noise.

    Not where photons have no GAIN, where they are few, or where rounding hides the noise; nor do
    stars as narrow as pixels tell more than where in a pixel they are.
    """
    background, psf = found.plane.background, exposure.psf
    fine = background.skewness is None and not background.hidden_step
    sampled = psf is not None and psf.fwhm > SAMPLED
    return fine and sampled and exposure.detector.gain > 0.0


def _displacement(exposure: Exposure, found: Found) -> Displacement | None:
    fwhm = _fwhm(exposure)
    d = found.detections
    return find_displacement(d.x, d.y, d.dflux, found.detection_plane, found.plane, fwhm)


def _other_sky(exposure: Exposure, detection: Exposure, seen: Displacement | None) -> Line:
    """Compare the WCS of the two images; what their pixels say counts for more.

    Images are registered, and the headers are left as they were.
    """
    apart = apart_by_headers(detection.wcs, exposure.wcs, exposure.shape)
    if not apart or (seen is not None and seen.doubt):
        return Line("")
    if seen is not None:
        message = (
            f"by their headers the image to measure lies {apart} from the image to detect on, but "
            "sources have the same pixels in both: is its WCS right?"
        )
        return Line(message, is_doubt=False)
    message = (
        f"by their headers the image to measure lies {apart} from the image to detect on: "
        "apertures, fits and positions are those of other pixels"
    )
    return Line(message)
