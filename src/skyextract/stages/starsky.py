"""The sky that stars are measured on, and the planes in which cosmic rays are repaired."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from skyextract.datamodel.arrays import F4
from skyextract.datamodel.background import BackgroundMap
from skyextract.datamodel.flags import Mask
from skyextract.kernels.background.information import exclude
from skyextract.kernels.values import NO_INFORMATION
from skyextract.record import record
from skyextract.stages.background.estimate import estimate_weighted_background
from skyextract.stages.background.interpolate import (
    background_image,
    mesh_variance,
    subtract_background,
)
from skyextract.stages.background.negatives import has_negatives, negative_pixels
from skyextract.stages.background.noise import background_variance
from skyextract.stages.psf.neighbours import Neighbours
from skyextract.stages.repair import RepairPlanes, least_inverse_gain

if TYPE_CHECKING:
    from skyextract.datamodel.exposure import Exposure
    from skyextract.datamodel.psf import Psf
    from skyextract.run import Run
    from skyextract.settings.keywords import Config
    from skyextract.stages.psf.passes import PsfPass

UNUSABLE = Mask.BAD | Mask.SAT | Mask.NO_DATA
"""Mask planes whose pixels say nothing about stars and cosmic rays."""

WIDE = 8.0
"""Meshes of the background that are narrower than so many FWHM take up the wings of stars."""

SETTLED, SKY_NITER = 0.005, 8
"""Sky and stars of a frame of wide ones are fitted in turn, until that changes by less than this
part of its noise, or so many times."""

SKY_CELL = 6.0
"""Least size of the meshes of the sky that wide stars are measured on, in FWHM: it leaves them
their wings."""


@record
class StarSky:
    """Background of one pass, and the planes that the repair works on."""

    background: BackgroundMap
    planes: RepairPlanes


def measure_sky(exposure: Exposure, image: F4, config: Config, run: Run) -> StarSky:
    """Measure background and background variance of `image`.

    The work planes of the repair are of the exposure, unrepaired.
    """
    background, scale = estimate_weighted_background(
        image, exposure.mask, exposure.weight, config.background, run,
        measured=config.extraction.noise_type == "MEASURED",
    )  # fmt: skip
    data = subtract_background(exposure.image, None, background, run)
    variance = background_variance(exposure, background, data, scale, config.weights, run, index=1)
    if variance is None:
        variance = mesh_variance(background, run, unusable=(exposure.mask, int(UNUSABLE)))
    else:
        _mark_unusable(variance, exposure, run)
    if has_negatives(data, background.sigma, run):
        variance[negative_pixels(data, background.sigma)] = NO_INFORMATION
    gain = exposure.detector.gain
    if gain > 0.0:
        inverse_gain = 1.0 / gain
    else:
        inverse_gain = least_inverse_gain(background_image(background, run), variance)
    sigma = config.cosmics.cr_minsigma
    planes = RepairPlanes.of(data, variance, exposure.mask, inverse_gain, sigma, run)
    return StarSky(background, planes)


def sky_between_wide(
    exposure: Exposure, image: F4, sky: StarSky, last: PsfPass, config: Config, run: Run
) -> StarSky:
    """Measure the sky that is left without wide stars.

    They leave hardly any sky free of them: what it has of their light their fits lack, and comes
    back as sky.  Both are fitted in turn.

    Parameters
    ----------
    image : (ny, nx) float32
        Of the exposure, repaired.
    sky : StarSky
        Of the last pass.
    last : PsfPass
        Where the stars are, and their PSF.
    """
    psf = last.fit.psf
    wide = with_wide_meshes(config, psf.fwhm)
    stars: Neighbours | None = None
    for _ in range(SKY_NITER):
        data = subtract_background(image, None, sky.background, run)
        stars = Neighbours.fit(
            data, sky.planes.variance, exposure.detector.gain, exposure.mask, psf,
            last.sample.peaks, run, stars,
        )  # fmt: skip
        level = sky.background.mean
        sky = measure_sky(exposure, image - stars.models, wide, run)
        if abs(sky.background.mean - level) < SETTLED * sky.background.sigma:
            break
    return sky


def with_wide_meshes(config: Config, fwhm: float) -> Config:
    """Return the configuration with meshes of the background that are wider than any star."""
    least = round(SKY_CELL * fwhm)
    sizes = tuple(max(size, least) for size in config.background.back_size)
    return replace(config, background=replace(config.background, back_size=sizes))


def has_wide_stars(config: Config, psf: Psf) -> bool:
    """Tell whether stars are so wide that meshes of the background take up their wings."""
    return WIDE * psf.fwhm > min(config.background.back_size)


def _mark_unusable(variance: F4, exposure: Exposure, run: Run) -> None:
    """Take the information out of pixels that no PSF is measured on, in place."""

    def rows(band: tuple[int, int]) -> None:
        exclude(variance, exposure.mask, int(UNUSABLE), NO_INFORMATION, band[0], band[1])

    run.map(rows, run.bands(variance.shape[0]))
