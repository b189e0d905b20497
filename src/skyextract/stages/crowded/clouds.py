"""Stars on clouds: the sky beneath them, and those that are not significant against it.

The sky is a smooth function that is fitted together with the stars: a mean, weighted by a Gaussian,
of what their models leave, and the stars again above it, in turn.  Where a model is bright, its
photons and what it is off by count.  How wide the Gaussian is, the frame says (Mallows 1973,
Technometrics 15, 661): the narrower, the more pixels follow their own noise.
"""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from skyextract.datamodel.arrays import F4, F8, Bools
from skyextract.datamodel.background import BackgroundMap
from skyextract.datamodel.noise import median
from skyextract.record import record
from skyextract.stages.background.means import smoothed, sums_of_squares
from skyextract.stages.crowded.cells import crowded_patches, is_crowded
from skyextract.stages.crowded.rest import WIDE_RADIUS, LeastFlux, significant_sources
from skyextract.stages.detection.noise import scale_at
from skyextract.stages.pointsources.localsky import CELL, CLIP, TWICED, LocalSky
from skyextract.stages.pointsources.sweeps import UNUSABLE

if TYPE_CHECKING:
    from collections.abc import Callable

    from skyextract.datamodel.detections import Detections
    from skyextract.datamodel.exposure import Exposure
    from skyextract.datamodel.psf import Psf
    from skyextract.run import Run
    from skyextract.stages.background.planes import Plane
    from skyextract.stages.crowded.hidden import Hidden
    from skyextract.stages.detection.matched import MatchedFilter
    from skyextract.stages.pointsources.sweeps import FittedSources

CLOUDS = 2.0
"""Structure of the sky that raises the noise of the filtered image by more than this..."""
LOCAL_CLOUDS = 1.3
"""The same where sources seem to crowd: crowds raise the noise that is measured between them, but
none that is the less for taking off what is about each place."""
COVERED = 0.25
"""Part of the frame in which filaments have light, at least, where sources seem to crowd all over
it: bands and arcs with edges have less, and are no clouds."""
FINE = 1.1
"""Structure that leaves the noise of the filtered image above that of independent pixels by this,
where the mean about each place is taken off, is as fine as stars: nebulae leave less than 1."""
CLOUD_CELL = 2.5
"""... is followed by meshes of this size, in FWHM, in what the fits leave, each for itself, while
sources are looked for; ..."""
MESHES = 2
"""... in so many rounds, the later ones of what the earlier ones left: one is a constant, and what
a slope leaves in it would count as noise."""
WIDTHS = (2.8, 2.0, 1.4, 1.0, 0.7)
"""Widths of the Gaussian of the sky at the end, in FWHM."""
ROUNDS = 4
"""Sky and stars are fitted so many times in turn..."""
SWEEPS = 6
"""... of so many sweeps of the fits."""
OFF, NEAR = 0.3, 0.7
"""Models may be off by so much of their mean light within a Gaussian of this width, in FWHM: by a
twelfth of the peak in the core, and less about it, where a PSF that is too narrow leaves light."""
FREE = 0.5
"""Pixels in which the noise of the sky is more than this share of all tell the width."""
BRIGHT = 30.0
"""Times the least flux: such sources are no noise of the clouds, whatever they leave."""
OWN = 1.5
"""Part that a pixel has in the mean about it with twicing, over that without."""


def has_clouds(found: Detections, fwhm: float) -> bool:
    """Tell whether structure of the sky is most of the noise, of the frame or where sources crowd.

    Parameters
    ----------
    found : Detections
    fwhm : float
        Of stars, pixels.
    """
    if found.around is None:
        return False
    least = CLOUDS
    if is_crowded(found, fwhm):
        is_wide = found.pixel.size > COVERED * found.segmentation.size
        least = LOCAL_CLOUDS if is_wide else math.inf
    if median(found.full_noise_scale) > least:
        return True
    patches = crowded_patches(found, fwhm)
    return any(_noise_of(patch, found) > LOCAL_CLOUDS for patch in patches)


def _noise_of(patch: Bools, found: Detections) -> float:
    """Return the noise of the filtered image in a patch over that of independent pixels."""
    (ny, nx), (n_y, n_x) = found.image_shape, patch.shape
    y, x = np.nonzero(patch)
    x, y = (x + 0.5) * nx / n_x - 0.5, (y + 0.5) * ny / n_y - 0.5
    return median(scale_at(found.full_noise_scale, found.image_shape, x, y))


def about_fine_sky(found: Detections, hidden: Hidden) -> str:
    """Tell that structure of the sky is as fine as the stars; empty if it is not.

    What is fitted as sky beneath stars then has a part of their light, and they of its.
    """
    message = ""
    if hidden.sky is not None and found.fine_scale > FINE:
        message = (
            "structure of the sky is as fine as the stars (fringes, an uneven flat field?): fluxes "
            "have parts of it in them, and sources may be such parts"
        )
    return message


def above_clouds(
    exposure: Exposure, hidden: Hidden, least: LeastFlux,
    fitted: Callable[[Plane, Psf, FittedSources, F4 | None, int], Hidden], matched: MatchedFilter,
    run: Run,
) -> Hidden:  # fmt: skip
    """Return the sources as they are above the light about each, and mark those that are noise.

    Small meshes, with which they were found, follow the wings of bright stars, too; the noise is
    theirs, which that of the clouds' photons is in.

    Parameters
    ----------
    hidden : Hidden
        With its plane of wide meshes.
    least : LeastFlux
        Where nothing but noise is left.
    fitted : callable
        Fits sources in so many sweeps, from the models of earlier ones on.
    """
    assert hidden.wide is not None
    fwhm = hidden.psf.fwhm
    sigmas = least.flux * matched.square / matched.unit(hidden.plane.background.sigma)
    plane = replace(hidden.wide, noise=hidden.plane.variance_plane(run))
    rest = _Rest.of_models(plane, hidden, exposure, run)
    width = min(WIDTHS, key=lambda w: rest.score(w * fwhm))
    run.info(f"sky of point sources: the light within {width:g} FWHM about each place")
    for _ in range(ROUNDS):
        sky = _Rest.of_models(plane, hidden, exposure, run).sky(width * fwhm)
        above = replace(plane, subtracted=plane.subtracted - sky.light(plane.subtracted, run))
        fits = fitted(above, hidden.psf, hidden.sources.all_stale(), hidden.models, SWEEPS)
        hidden = replace(hidden, plane=above, sources=fits.sources, models=fits.models, sky=sky)
    clear = significant_sources(hidden, 0, least, matched, run, radius=WIDE_RADIUS)
    # A fit takes the sky that it stands on: what that is off by counts as noise does.
    of_sky = sigmas * sky.at(hidden.x, hidden.y, run)[1] / matched.square
    clear &= hidden.flux >= np.hypot(least.at(hidden.x, hidden.y), of_sky)
    # What a saturated star leaves is none of the clouds.
    clear |= hidden.flux >= BRIGHT * least.at(hidden.x, hidden.y)
    faded = np.flatnonzero((hidden.sources.reach >= 0) & ~clear)
    faded = np.union1d(hidden.faded, faded)
    # Their widths were those above another sky, and have clouds in them.
    return replace(hidden, faded=faded, fainter=None, least_snr=sigmas)


@record
class _Rest:
    """What the models of stars leave of an image, and what its pixels say of the sky.

    Attributes
    ----------
    image, variance : (ny, nx) float32
        Variance of sky and models.
    weight : (ny, nx) float64
        Its inverse; 0 in pixels without information.
    is_free : (ny, nx) bool
        Pixels with little light of stars.
    side : int
        Of the cells of the sky, pixels.
    run : Run
    """

    image: F4
    variance: F4
    weight: F8
    is_free: Bools
    side: int
    run: Run

    @classmethod
    def of_models(cls, plane: Plane, hidden: Hidden, exposure: Exposure, run: Run) -> _Rest:
        """Return what is left, weighted by noise, photons of the models and their errors."""
        sky, gain = plane.variance_plane(run), exposure.detector.gain
        light = np.maximum(hidden.models, np.float32(0.0))
        side = max(1, round(CELL * hidden.psf.fwhm))
        variance = sky + (np.float32(OFF) * _mean_within(light, NEAR * hidden.psf.fwhm, side)) ** 2
        if gain > 0.0:
            variance += light / np.float32(gain)
        good = ((exposure.mask & np.uint16(UNUSABLE)) == 0) & ~plane.bad
        weight = np.where(good, 1.0 / variance.astype(np.float64), 0.0)
        is_free = good & (sky > FREE * variance)
        return cls(plane.subtracted - hidden.models, variance, weight, is_free, side, run)

    def sky(self, sigma: float) -> LocalSky:
        """Return the mean about each place within a Gaussian of some pixels, and its error."""
        total = self._weight_within(sigma)
        known = total > 0.0
        level = np.zeros_like(total)
        rest = self.image
        for _ in range(2):
            # What a mean flattens is in what it leaves (Tukey 1977: twicing).
            level += self._smoothed(self.weight * rest, sigma) / np.where(known, total, 1.0)
            rest = self._near_zero(self.image - self._around(level).light(self.image, self.run))
        # The square of a Gaussian is a narrower one.
        error = np.sqrt(self._weight_within(sigma / math.sqrt(2.0)))
        error *= TWICED / np.where(known, total, 1.0)
        return replace(self._around(level), error=error)

    def score(self, sigma: float) -> float:
        """Return the mean square of what is left of the free pixels, had they no part in it.

        In units of their variance, and less what does not depend on `sigma`.
        """
        rest = self.image - self.sky(sigma).light(self.image, self.run)
        square = np.where(self.is_free, self.weight * self._near_zero(rest) ** 2, 0.0)
        total = self._weight_within(sigma)
        part = OWN * (self.free_weights / np.where(total > 0.0, total, 1.0)).sum()
        return float(square.sum() + 2.0 * part)

    def _around(self, level: F8) -> LocalSky:
        flat, side, shape = level.astype(np.float32), self.side, self.image.shape
        return LocalSky(
            BackgroundMap(flat, np.ones_like(flat), side, side, shape, 0.0, 1.0), level
        )  # fmt: skip

    def _near_zero(self, rest: F4) -> F4:
        far = np.float32(CLIP) * np.sqrt(self.variance)
        return np.clip(rest, -far, far)

    def _smoothed(self, values: F8, sigma: float) -> F8:
        return smoothed(sums_of_squares(values, self.side), sigma / self.side)

    def _weight_within(self, sigma: float) -> F8:
        return smoothed(self.weights, sigma / self.side)

    @cached_property
    def weights(self) -> F8:
        """Sums of the weight in the cells of the sky."""
        return sums_of_squares(self.weight, self.side)

    @cached_property
    def free_weights(self) -> F8:
        """The same of the free pixels."""
        return sums_of_squares(np.where(self.is_free, self.weight, 0.0), self.side)


def _mean_within(image: F4, sigma: float, side: int) -> F4:
    """Return the mean about each cell of some pixels within a Gaussian; beyond the image is 0."""
    ny, nx = image.shape
    mean = smoothed(sums_of_squares(image, side), sigma / side) / (2.0 * math.pi * sigma**2)
    pixels = mean.astype(np.float32).repeat(side, axis=0)[:ny]
    out: F4 = pixels.repeat(side, axis=1)[:, :nx]
    return out
