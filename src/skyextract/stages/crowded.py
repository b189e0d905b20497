"""Crowded fields: what the fit of all point sources leaves over shows the sources beneath.

Sources are fitted together and subtracted; sky and noise are estimated from what is left, and
peaks in it that are significant, and a share of the models there (the rest of an imperfect PSF
is a small share), join the fit, until none is found.  After Stetson (1987, PASP 99, 191) and
Schlafly et al. (2018, ApJS 234, 39).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from skyextract.datamodel.arrays import F4, F8, I8, Bools
from skyextract.datamodel.catalog import Catalog
from skyextract.datamodel.detections import Detections
from skyextract.datamodel.flags import FlagsSky, Mask
from skyextract.kernels.detection import deblend
from skyextract.kernels.detection.peaks import peaks_in_rows
from skyextract.stages.background.planes import prepare_plane
from skyextract.stages.detection.detect import detection_threshold
from skyextract.stages.detection.footprints import shape_fields, table_column
from skyextract.stages.detection.matched import filter_matched
from skyextract.stages.detection.noise import in_sigma, measure_scale
from skyextract.stages.psf.fit import PsfPhotometry, psf_photometry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

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
MAX_SWEEPS = 8
"""Sweeps of a fit on the way; the last one goes on until nothing changes."""
GROUP_CELL = 6.0
"""Sources farther apart than this, in FWHM, are measured on one image without their neighbours."""


@dataclass(frozen=True)
class Hidden:
    """Sources that were found beneath others.

    Attributes
    ----------
    x, y : (n,) float64
        0-based pixels of all sources, those of the detections first.
    n_detected : int
        Number of these.
    plane : Plane
        With the background of the residual image.
    fits : PsfPhotometry
        Of all sources.
    psf : Psf
    passes : int
    """

    x: F8
    y: F8
    n_detected: int
    plane: Plane
    fits: PsfPhotometry
    psf: Psf
    passes: int


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
    gain = exposure.detector.gain
    x, y = found.x.copy(), found.y.copy()
    hopeless = _beside_saturated(exposure, found)
    separation = MIN_SEPARATION * psf.fwhm

    def fit(**options: Any) -> PsfPhotometry:
        return psf_photometry(
            plane.subtracted, plane.variance_plane(run), gain, exposure.mask, psf, x, y, run,
            spread=False, **options,
        )  # fmt: skip

    fits = fit(max_sweeps=MAX_SWEEPS)
    x, y, _ = _settled(fits, x, y)
    passes = 0
    while passes < config.extraction.crowd_niter:
        passes += 1
        models = plane.subtracted - fits.residual
        plane = _without_sources(exposure, models, config, run)
        filtered = _filtered(plane, plane.subtracted - models, matched, run)
        model = _filtered(plane, models, matched, run)
        scale = _noise_scale(filtered, unit := matched.unit(plane.background.sigma), matched, run)
        in_sigma(filtered, scale, run)
        in_sigma(model, scale, run)
        threshold = detection_threshold(config.extraction, unit)
        peak_x, peak_y = _peaks(filtered, model, threshold, separation, run)
        free = ~_near(x, y, peak_x, peak_y, separation, filtered.shape)
        closed = hopeless
        if found.pixel.size < MAX_COVER * found.segmentation.size:
            extended = _extended(plane, fits, x[: found.n], y[: found.n], psf.fwhm)
            closed = closed | np.isin(np.abs(found.segmentation), np.flatnonzero(extended) + 1)
        free &= ~closed[peak_y, peak_x]
        added = int(free.sum())
        x = np.concatenate([x, peak_x[free].astype(np.float64)])
        y = np.concatenate([y, peak_y[free].astype(np.float64)])
        fits = fit(max_sweeps=MAX_SWEEPS)
        x, y, flux = _settled(fits, x, y)
        least = KEPT_SIGNIFICANCE * threshold * float(np.median(scale)) / matched.square
        kept = _kept(x, y, flux, found.n, least, separation, filtered.shape)
        x, y = x[kept], y[kept]
        run.info(f"crowded field, pass {passes}: {added} sources beneath others, "
                 f"{int((~kept).sum())} dropped, noise {plane.background.sigma:.4g}")  # fmt: skip
        if added < max(1.0, MIN_NEW * x.size):
            break
    kept = ~_torn(exposure, plane, found, fits, x, y)
    x, y = x[kept], y[kept]
    return Hidden(x, y, found.n, plane, fit(max_sweeps=MAX_SWEEPS), psf, passes)


def _without_sources(exposure: Exposure, models: F4, config: Config, run: Run) -> Plane:
    """Return the plane with background and noise of the image without its point sources."""
    rest = replace(exposure, image=exposure.image - models, background=None)
    clean = prepare_plane(rest, config, run).with_noise(run)
    subtracted = clean.subtracted + models
    if clean.n_bad:
        subtracted[clean.bad] = 0.0
    return replace(clean, subtracted=subtracted)


def _filtered(plane: Plane, image: F4, matched: MatchedFilter, run: Run) -> F4:
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
    low, high = np.percentile(filtered, (2.275, 15.866))
    return np.full((1, 1), max(1.0, float(high - low) / unit), np.float32)


def _settled(fits: PsfPhotometry, x: F8, y: F8) -> tuple[F8, F8, F8]:
    """Return fitted positions, or where there is none the given ones, and fluxes (0)."""
    good = np.isfinite(fits.flux) & np.isfinite(fits.x) & np.isfinite(fits.y)
    return (
        np.where(good, fits.x, x), np.where(good, fits.y, y), np.where(good, fits.flux, 0.0),
    )  # fmt: skip


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


def _disc(radius: float) -> Iterator[tuple[int, int]]:
    """Yield the offsets of the pixels of a disc."""
    half = int(radius)
    for dy in range(-half, half + 1):
        for dx in range(-half, half + 1):
            if dx * dx + dy * dy <= radius * radius:
                yield dy, dx


def _pixel(x: F8, y: F8, shape: tuple[int, ...]) -> tuple[I8, I8]:
    """Return the row and column of the nearest pixels of the image."""
    column = np.clip(np.rint(x), 0, shape[1] - 1).astype(np.int64)
    row = np.clip(np.rint(y), 0, shape[0] - 1).astype(np.int64)
    return row, column


def _near(x: F8, y: F8, peak_x: I8, peak_y: I8, radius: float, shape: tuple[int, ...]) -> Bools:
    """Tell which peaks are within `radius` pixels of a source."""
    taken = np.zeros(shape, np.bool_)
    row, column = _pixel(x, y, shape)
    for dy, dx in _disc(radius):
        taken[np.clip(row + dy, 0, shape[0] - 1), np.clip(column + dx, 0, shape[1] - 1)] = True
    return taken[peak_y, peak_x]


def _kept(
    x: F8, y: F8, flux: F8, n_detected: int, least_flux: float, radius: float,
    shape: tuple[int, ...],
) -> Bools:  # fmt: skip
    """Tell which sources stay: the detected ones, and added ones that are significant and alone.

    An added source within `radius` of a brighter one has moved onto that.
    """
    brightest = np.full(shape, -np.inf)
    row, column = _pixel(x, y, shape)
    for dy, dx in _disc(radius):
        rows, columns = row + dy, column + dx
        inside = (rows >= 0) & (rows < shape[0]) & (columns >= 0) & (columns < shape[1])
        np.maximum.at(brightest, (rows[inside], columns[inside]), flux[inside])
    kept = (flux >= least_flux) & (flux >= brightest[row, column])
    kept &= (x > -0.5) & (x < shape[1] - 0.5) & (y > -0.5) & (y < shape[0] - 0.5)
    kept[:n_detected] = True
    return kept


def _torn(
    exposure: Exposure, plane: Plane, found: Detections, fits: PsfPhotometry, x: F8, y: F8
) -> Bools:
    """Tell which added sources are pieces of something extended.

    Point sources explain the light of a blend of stars.  Where the fit leaves much more than
    the noise in the footprint of a detection, it is a galaxy, a nebula or a star that the PSF
    does not describe, and what was added there explains nothing.
    """
    torn = np.zeros(x.size, np.bool_)
    residual = fits.residual.ravel()[found.pixel].astype(np.float64)
    light = plane.subtracted.ravel()[found.pixel] - residual
    variance = plane.variance_plane_at(found.pixel)
    gain = exposure.detector.gain
    if gain > 0.0:
        variance = variance + np.maximum(light, 0.0) / gain
    chi2 = np.add.reduceat(residual**2 / variance, found.first[:-1]) / np.diff(found.first)
    row, column = _pixel(x[found.n :], y[found.n :], found.segmentation.shape)
    host = np.abs(found.segmentation[row, column])
    torn[found.n :] = (host > 0) & (chi2[np.maximum(host - 1, 0)] > MAX_CHI2)
    return torn


def _extended(plane: Plane, fits: PsfPhotometry, x: F8, y: F8, fwhm: float) -> Bools:
    """Tell which fitted sources are extended: what is left around them is point-symmetric.

    In eight sectors of a ring: the light of a galaxy stands in opposite ones alike, that of
    neighbours does not.
    """
    half = int(np.ceil(RING[1] * fwhm))
    dy, dx = np.mgrid[-half : half + 1, -half : half + 1]
    radius = np.hypot(dx, dy)
    ring = (radius >= RING[0] * fwhm) & (radius <= RING[1] * fwhm)
    sector = np.where(ring, ((np.arctan2(dy, dx) / (np.pi / 4)) % 8).astype(int) % 8, 8)
    masks = np.stack([sector == k for k in range(8)]).astype(np.float64)
    windows = np.lib.stride_tricks.sliding_window_view(
        np.pad(fits.residual, half), (2 * half + 1, 2 * half + 1)
    )
    row, column = _pixel(x, y, fits.residual.shape)
    light = np.empty((x.size, 8))
    for chunk in np.array_split(np.arange(x.size), max(1, x.size // 4096)):
        light[chunk] = np.tensordot(windows[row[chunk], column[chunk]], masks, ((1, 2), (1, 2)))
    pairs = 2.0 * np.clip(np.minimum(light[:, :4], light[:, 4:]), 0.0, None).sum(axis=1)
    total = np.clip(light, 0.0, None).sum(axis=1)
    noise = np.sqrt(plane.variance_plane_at(row * fits.residual.shape[1] + column) * ring.sum())
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


def hidden_detections(
    hidden: Hidden, found: Detections, matched: MatchedFilter, run: Run,
    measure: Callable[[F4, Detections], Catalog],
) -> tuple[Detections, Catalog]:  # fmt: skip
    """Measure the added sources on the image without all other fitted sources.

    Sources that are far from each other share an image: the residual and their own models.

    Parameters
    ----------
    measure : callable
        Measures detections (as if they were all) on a background-subtracted image.

    Returns
    -------
    detections : Detections
        All sources; added ones have no pixels in the segmentation.
    measured : Catalog
        One row per added source.
    """
    x, y = hidden.x[found.n :], hidden.y[found.n :]
    flux = np.where(np.isfinite(hidden.fits.flux[found.n :]), hidden.fits.flux[found.n :], 0.0)
    rows, parts, catalogs = [], [], []
    for group in _groups(x, y, GROUP_CELL * hidden.psf.fwhm):
        image = hidden.fits.residual.copy()
        _add_models(image, hidden.psf, x[group], y[group], flux[group])
        filtered = _filtered(hidden.plane, image, matched, run)
        part = _at_positions(x[group], y[group], filtered, image, matched.core_radius, found)
        rows.append(group)
        parts.append(part)
        catalogs.append(measure(image, part))
    sequence = np.argsort(np.concatenate(rows), kind="stable")
    table = {name: np.concatenate([c[name] for c in catalogs])[sequence] for name in catalogs[0]}
    number = np.arange(found.n + 1, found.n + 1 + x.size, dtype=np.int32)
    table["NUMBER"] = number
    table["FLAGS_SKY"] = table["FLAGS_SKY"] | np.int16(FlagsSky.HIDDEN)
    return _joined(found, parts, sequence), Catalog(table)


def _groups(x: F8, y: F8, cell: float) -> Iterator[I8]:
    """Yield sets of sources that are at least a cell apart: one of every second cell."""
    column, row = (x // cell).astype(np.int64), (y // cell).astype(np.int64)
    index = row * (int(column.max(initial=0)) + 2) + column
    order = np.argsort(index, kind="stable")
    fresh = np.diff(index[order], prepend=-1) != 0
    begin = np.maximum.accumulate(np.where(fresh, np.arange(x.size), 0))
    rank = np.empty(x.size, np.int64)
    rank[order] = np.arange(x.size) - begin
    key = 4 * rank + 2 * (row % 2) + column % 2
    for value in np.unique(key):
        yield np.flatnonzero(key == value)


def _add_models(image: F4, psf: Psf, x: F8, y: F8, flux: F8) -> None:
    """Add the models of some sources to an image."""
    ny, nx = image.shape
    radius = psf.radius
    row, column = np.rint(y).astype(int), np.rint(x).astype(int)
    stamps = psf.stamps(x, y, x - column, y - row)
    for stamp, j, i, light in zip(stamps, row, column, flux, strict=True):
        a, b = max(0, j - radius), min(ny, j + radius + 1)
        c, d = max(0, i - radius), min(nx, i + radius + 1)
        inside = stamp[a - j + radius : b - j + radius, c - i + radius : d - i + radius]
        image[a:b, c:d] += np.float32(light) * inside


def _at_positions(
    x: F8, y: F8, filtered: F4, image: F4, radius: float, found: Detections
) -> Detections:
    """Return detections whose footprints are discs, of pixels with signal, about positions."""
    ny, nx = image.shape
    row, column = _pixel(x, y, image.shape)
    offsets = np.array(list(_disc(max(1.0, radius))))
    rows = row[:, None] + offsets[:, 0]
    columns = column[:, None] + offsets[:, 1]
    inside = (rows >= 0) & (rows < ny) & (columns >= 0) & (columns < nx)
    rows, columns = np.clip(rows, 0, ny - 1), np.clip(columns, 0, nx - 1)
    core = np.hypot(offsets[:, 0], offsets[:, 1]) <= 1.0
    inside &= (filtered[rows, columns] > 0.0) | core
    source = np.nonzero(inside)[0]
    pixel = (rows * nx + columns)[inside]
    first = np.searchsorted(source, np.arange(x.size + 1)).astype(np.int64)
    n_own = np.diff(first).astype(np.int32)
    values = filtered.ravel()[pixel]
    real = np.empty((x.size, deblend.N_REAL), np.float64)
    integer = np.empty((x.size, deblend.N_INTEGER), np.int32)
    deblend.measure_sources(
        (pixel % nx).astype(np.int32), (pixel // nx).astype(np.int32), values,
        image.ravel()[pixel], found.threshold, first, n_own, np.zeros(x.size, np.bool_), x, y,
        real, integer,
    )  # fmt: skip
    segmentation = np.zeros(image.shape, np.int32)
    segmentation.ravel()[pixel] = source + 1
    column_of, count = table_column(real), table_column(integer)
    beneath = np.abs(found.segmentation[row, column])
    parent = np.where(beneath > 0, found.id_parent[np.maximum(beneath - 1, 0)], 0)
    at_border = (row <= 0) | (row >= ny - 1) | (column <= 0) | (column >= nx - 1)
    return Detections(
        segmentation=segmentation, id_parent=parent.astype(np.int32), first=first, n_own=n_own,
        pixel=pixel, filtered=values,
        xmin=count(deblend.XMIN), xmax=count(deblend.XMAX),
        ymin=count(deblend.YMIN), ymax=count(deblend.YMAX),
        **{**shape_fields(column_of, count), "x": x, "y": y},
        fdnpix=count(deblend.FDNPIX), dnpix=count(deblend.DNPIX),
        fdflux=column_of(deblend.FDFLUX), dflux=column_of(deblend.DFLUX),
        fdpeak=column_of(deblend.FDPEAK).astype(np.float32),
        dpeak=column_of(deblend.DPEAK).astype(np.float32),
        xpeak=count(deblend.XPEAK), ypeak=count(deblend.YPEAK),
        dthresh=np.full(x.size, found.threshold, np.float32),
        flags=np.where(at_border, 2 | 8, 2).astype(np.int16), threshold=found.threshold,
        unclaimed=np.zeros(0, np.int64),
    )  # fmt: skip


def _joined(found: Detections, parts: list[Detections], sequence: I8) -> Detections:
    """Append the added sources, in their own order, to the detections."""
    per_source = (
        "id_parent", "n_own", "xmin", "xmax", "ymin", "ymax", "x", "y", "x2", "y2", "xy",
        "singular", "a", "b", "theta", "cxx", "cyy", "cxy", "fdnpix", "dnpix", "fdflux", "dflux",
        "fdpeak", "dpeak", "xpeak", "ypeak", "dthresh", "abcor", "flags",
    )  # fmt: skip
    fields: dict[str, Any] = {
        name: np.concatenate(
            [getattr(found, name), np.concatenate([getattr(p, name) for p in parts])[sequence]]
        )
        for name in per_source
    }
    pixels = [p.pixel[a:b] for p in parts for a, b in zip(p.first[:-1], p.first[1:], strict=True)]
    values = [
        p.filtered[a:b] for p in parts for a, b in zip(p.first[:-1], p.first[1:], strict=True)
    ]
    length = np.array([len(p) for p in pixels], np.int64)[sequence]
    return replace(
        found,
        first=np.concatenate([found.first, found.first[-1] + np.cumsum(length)]),
        pixel=np.concatenate([found.pixel, *(pixels[k] for k in sequence)]),
        filtered=np.concatenate([found.filtered, *(values[k] for k in sequence)]),
        **fields,
    )
