"""Crowded fields: what the fit of all point sources leaves over shows the sources beneath.

Sources are fitted together and subtracted; sky and noise are estimated from what is left, and
peaks in it that are significant, and a share of the models there (the rest of an imperfect PSF
is a small share), join the fit, until none is found.  After Stetson (1987, PASP 99, 191) and
Schlafly et al. (2018, ApJS 234, 39).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from skyextract.datamodel.arrays import F4, F8, I8, Bools
from skyextract.datamodel.detections import Detections
from skyextract.datamodel.flags import Mask
from skyextract.kernels.detection.peaks import peaks_in_rows
from skyextract.stages.background.planes import prepare_plane
from skyextract.stages.detection.detect import detection_threshold
from skyextract.stages.detection.matched import filter_matched
from skyextract.stages.detection.noise import in_sigma, measure_scale
from skyextract.stages.psf.sweeps import FittedSources, add_models, point_fit

if TYPE_CHECKING:
    from collections.abc import Iterator

    from skyextract.datamodel.exposure import Exposure
    from skyextract.datamodel.psf import Psf
    from skyextract.run import Run
    from skyextract.settings.keywords import Config
    from skyextract.stages.background.planes import Plane
    from skyextract.stages.detection.matched import MatchedFilter

MIN_COVER = 0.2
"""A field is crowded if sources cover more than this share of it."""
MIN_SHARE = 0.2
"""A peak is at least this share of the models there (Schlafly et al. 2018: 0.2 to 0.3)."""
MIN_SEPARATION = 0.5
"""Sources nearer to each other than this, in FWHM, are one."""
MIN_NEW = 0.005
"""Passes end when fewer sources than this share are added."""
MAX_CHI2 = 3.0
"""Reduced chi2 of the fit in a footprint above which it holds no point sources alone."""
SYMMETRIC = 0.6
"""Share of the light around a fitted source that stands point-symmetric about an extended one."""
MAX_COVER = 0.65
"""Where sources cover more of the field than this, symmetry tells nothing: all is blended."""
RING = (0.7, 2.2)
"""Radii, in FWHM, of the ring about a source in which that light is looked for."""
KEPT_SIGNIFICANCE = 0.8
"""Added sources keep at least this part of the detection threshold in the fit."""
FIRST_SWEEPS = 4
"""Sweeps of the first fit."""
SWEEPS = 2
"""Sweeps after sources were added; the last fit goes on until nothing changes."""


@dataclass(frozen=True)
class Hidden:
    """Sources that were found beneath others.

    Attributes
    ----------
    sources : FittedSources
        All sources, those of the detections first.
    models : (ny, nx) float32
        Of all sources.
    plane : Plane
        With the background of the residual image.
    psf : Psf
    """

    sources: FittedSources
    models: F4
    plane: Plane
    psf: Psf

    @property
    def x(self) -> F8:
        """0-based pixels."""
        return self.sources.parameters[:, 1]

    @property
    def y(self) -> F8:
        """0-based pixels."""
        return self.sources.parameters[:, 2]

    @property
    def flux(self) -> F8:
        """Fluxes; 0 where there is no fit."""
        return np.nan_to_num(self.sources.parameters[:, 0])

    @property
    def residual(self) -> F4:
        """What the models leave of the image."""
        return self.plane.subtracted - self.models


def is_crowded(found: Detections) -> bool:
    """Tell whether the footprints cover so much that sources may hide in them."""
    return found.n > 0 and found.pixel.size > MIN_COVER * found.segmentation.size


def find_hidden(
    exposure: Exposure,
    plane: Plane,
    found: Detections,
    matched: MatchedFilter,
    config: Config,
    run: Run,
) -> Hidden | None:
    """Find the sources that hide beneath the detected ones, in at most CROWD_NITER passes.

    None if the field is not crowded.

    Parameters
    ----------
    exposure : Exposure
        With its PSF.
    plane : Plane
        Of the exposure, as it was detected on.
    found : Detections
    matched : MatchedFilter
        The PSF as detection filter.
    """
    psf = exposure.psf
    if psf is None or not is_crowded(found):
        return None
    hopeless = _beside_saturated(exposure, found)
    separation = MIN_SEPARATION * psf.fwhm

    def fitted(plane: Plane, sources: FittedSources, models: F4 | None, sweeps: int) -> Hidden:
        fit = point_fit(
            plane.subtracted, plane.variance_plane(run), exposure.detector.gain, exposure.mask,
            psf, sources, models,
        )  # fmt: skip
        sources = fit.sweep(sources, sweeps, run)
        return Hidden(sources, plane.subtracted - fit.residual, plane, psf)

    hidden = fitted(plane, FittedSources.at(found.x, found.y), None, FIRST_SWEEPS)
    for number in range(1, config.extraction.crowd_niter + 1):
        plane = _without_sources(exposure, hidden.models, config, run)
        hidden = replace(hidden, plane=plane)
        filtered = filtered_plane(plane, hidden.residual, matched, run)
        model = filtered_plane(plane, hidden.models, matched, run)
        scale = _noise_scale(filtered, unit := matched.unit(plane.background.sigma), matched, run)
        in_sigma(filtered, scale, run)
        in_sigma(model, scale, run)
        threshold = detection_threshold(config.extraction, unit)
        peak_x, peak_y = _peaks(filtered, model, threshold, separation, run)
        free = ~_near(hidden.x, hidden.y, peak_x, peak_y, separation, filtered.shape)
        free &= ~hopeless[peak_y, peak_x]
        if found.pixel.size < MAX_COVER * found.segmentation.size:
            extended = _extended(hidden, hidden.x[: found.n], hidden.y[: found.n], psf.fwhm)
            host = np.abs(found.segmentation[peak_y, peak_x])
            free &= ~np.concatenate([[False], extended])[host]
        added = int(free.sum())
        new = FittedSources.at(peak_x[free].astype(np.float64), peak_y[free].astype(np.float64))
        hidden = fitted(plane, hidden.sources.append(new), hidden.models, SWEEPS)
        least = KEPT_SIGNIFICANCE * threshold * float(np.median(scale)) / matched.square
        kept = _kept(hidden, found.n, least, separation)
        hidden = _only(hidden, kept)
        run.info(f"crowded field, pass {number}: {added} sources beneath others, "
                 f"{int((~kept).sum())} dropped, noise {plane.background.sigma:.4g}")  # fmt: skip
        if added < max(1.0, MIN_NEW * kept.size):
            break
    hidden = _only(hidden, ~_torn(exposure, hidden, found))
    return fitted(plane, hidden.sources.all_stale(), hidden.models, SWEEPS)


def _only(hidden: Hidden, kept: Bools) -> Hidden:
    """Return some of the sources; the others are put back into the image."""
    gone = hidden.sources.take(~kept)
    models = hidden.models.copy()
    add_models(models, hidden.psf, gone, -1.0)
    return replace(hidden, sources=hidden.sources.take(kept), models=models)


def _without_sources(exposure: Exposure, models: F4, config: Config, run: Run) -> Plane:
    """Return the plane with background and noise of the image without its point sources."""
    rest = replace(exposure, image=exposure.image - models, background=None)
    clean = prepare_plane(rest, config, run).with_noise(run)
    subtracted = clean.subtracted + models
    if clean.n_bad:
        subtracted[clean.bad] = 0.0
    return replace(clean, subtracted=subtracted)


def filtered_plane(plane: Plane, image: F4, matched: MatchedFilter, run: Run) -> F4:
    """Return an image of the plane filtered with the PSF."""
    return filter_matched(
        image, matched, run, sigma=plane.background.sigma, variance=plane.variance_plane(run),
        smooth=plane.variance is None, bad=plane.holes,
    )  # fmt: skip


def _noise_scale(filtered: F4, unit: float, matched: MatchedFilter, run: Run) -> F4:
    """Return the noise of the filtered residual; where no pixel is free, from its lower tail.

    The 2.3 % and 15.9 % quantiles of a normal distribution are one sigma apart, and sources
    hardly touch them.
    """
    scale = measure_scale(filtered, unit, 1.0 / matched.square, None, run)
    if np.isfinite(scale).all():
        return scale
    known = filtered[np.isfinite(filtered)]
    low, high = np.percentile(known, (2.275, 15.866)) if known.size else (0.0, 0.0)
    return np.full((1, 1), max(1.0, float(high - low) / unit), np.float32)


def _peaks(filtered: F4, model: F4, threshold: float, separation: float, run: Run) -> tuple[I8, I8]:
    """Return the pixels x, y of significant peaks, in raster order."""
    half = max(1, round(separation))

    def rows(band: tuple[int, int]) -> tuple[I8, I8]:
        room = (band[1] - band[0]) * filtered.shape[1]
        x, y = np.empty((2, room), np.int32)
        n = peaks_in_rows(
            filtered, model, float(threshold), MIN_SHARE, half, band[0], band[1], x, y
        )
        return x[:n].astype(np.int64), y[:n].astype(np.int64)

    parts = run.map(rows, run.bands(filtered.shape[0]))
    return np.concatenate([p[0] for p in parts]), np.concatenate([p[1] for p in parts])


def disc_offsets(radius: float) -> Iterator[tuple[int, int]]:
    """Yield the offsets of the pixels of a disc."""
    half = int(radius)
    for dy in range(-half, half + 1):
        for dx in range(-half, half + 1):
            if dx * dx + dy * dy <= radius * radius:
                yield dy, dx


def nearest_pixel(x: F8, y: F8, shape: tuple[int, ...]) -> tuple[I8, I8]:
    """Return the row and column of the nearest pixels of the image."""
    column = np.clip(np.rint(x), 0, shape[1] - 1).astype(np.int64)
    row = np.clip(np.rint(y), 0, shape[0] - 1).astype(np.int64)
    return row, column


def _near(x: F8, y: F8, peak_x: I8, peak_y: I8, radius: float, shape: tuple[int, ...]) -> Bools:
    """Tell which peaks are within `radius` pixels of a source."""
    taken = np.zeros(shape, np.bool_)
    row, column = nearest_pixel(x, y, shape)
    for dy, dx in disc_offsets(radius):
        taken[np.clip(row + dy, 0, shape[0] - 1), np.clip(column + dx, 0, shape[1] - 1)] = True
    return taken[peak_y, peak_x]


def _kept(hidden: Hidden, n_detected: int, least_flux: float, radius: float) -> Bools:
    """Tell which sources stay: the detected ones, and added ones that are significant and alone.

    An added source within `radius` of a brighter one has moved onto that.
    """
    x, y, flux, shape = hidden.x, hidden.y, hidden.flux, hidden.models.shape
    brightest = np.full(shape, -np.inf)
    row, column = nearest_pixel(x, y, shape)
    for dy, dx in disc_offsets(radius):
        rows, columns = row + dy, column + dx
        inside = (rows >= 0) & (rows < shape[0]) & (columns >= 0) & (columns < shape[1])
        np.maximum.at(brightest, (rows[inside], columns[inside]), flux[inside])
    kept = (flux >= least_flux) & (flux >= brightest[row, column])
    kept &= (x > -0.5) & (x < shape[1] - 0.5) & (y > -0.5) & (y < shape[0] - 0.5)
    kept[:n_detected] = True
    return kept


def _torn(exposure: Exposure, hidden: Hidden, found: Detections) -> Bools:
    """Tell which added sources are pieces of something extended.

    Point sources explain the light of a blend of stars.  Where the fit leaves much more than
    the noise in the footprint of a detection, it is a galaxy, a nebula or a star that the PSF
    does not describe, and what was added there explains nothing.
    """
    torn = np.zeros(hidden.x.size, np.bool_)
    residual = hidden.residual.ravel()[found.pixel].astype(np.float64)
    light = hidden.models.ravel()[found.pixel]
    variance = hidden.plane.variance_plane_at(found.pixel)
    gain = exposure.detector.gain
    if gain > 0.0:
        variance = variance + np.maximum(light, 0.0) / gain
    chi2 = np.add.reduceat(residual**2 / variance, found.first[:-1]) / np.diff(found.first)
    row, column = nearest_pixel(hidden.x[found.n :], hidden.y[found.n :], found.segmentation.shape)
    host = np.abs(found.segmentation[row, column])
    torn[found.n :] = (host > 0) & (chi2[np.maximum(host - 1, 0)] > MAX_CHI2)
    return torn


def _extended(hidden: Hidden, x: F8, y: F8, fwhm: float) -> Bools:
    """Tell which fitted sources are extended: what is left around them is point-symmetric.

    In eight sectors of a ring: the light of a galaxy stands in opposite ones alike, that of
    neighbours does not.
    """
    residual, plane = hidden.residual, hidden.plane
    half = int(np.ceil(RING[1] * fwhm))
    dy, dx = np.mgrid[-half : half + 1, -half : half + 1]
    radius = np.hypot(dx, dy)
    ring = (radius >= RING[0] * fwhm) & (radius <= RING[1] * fwhm)
    sector = np.where(ring, ((np.arctan2(dy, dx) / (np.pi / 4)) % 8).astype(int) % 8, 8)
    masks = np.stack([sector == k for k in range(8)]).astype(np.float64)
    windows = np.lib.stride_tricks.sliding_window_view(
        np.pad(residual, half), (2 * half + 1, 2 * half + 1)
    )
    row, column = nearest_pixel(x, y, residual.shape)
    light = np.empty((x.size, 8))
    for chunk in np.array_split(np.arange(x.size), max(1, x.size // 4096)):
        light[chunk] = np.tensordot(windows[row[chunk], column[chunk]], masks, ((1, 2), (1, 2)))
    pairs = 2.0 * np.clip(np.minimum(light[:, :4], light[:, 4:]), 0.0, None).sum(axis=1)
    total = np.clip(light, 0.0, None).sum(axis=1)
    noise = np.sqrt(plane.variance_plane_at(row * residual.shape[1] + column) * ring.sum())
    answer: Bools = (pairs > 4.0 * noise) & (pairs > SYMMETRIC * total)
    return answer


def _beside_saturated(exposure: Exposure, found: Detections) -> Bools:
    """Mark the footprints of saturated sources, which the PSF does not describe."""
    marked = np.zeros(found.segmentation.shape, np.bool_)
    saturated = (exposure.mask & np.uint16(Mask.SAT)) != 0
    numbers = np.unique(np.abs(found.segmentation[saturated]))
    if numbers.size:
        marked = np.isin(np.abs(found.segmentation), numbers[numbers > 0]) | saturated
    return marked
