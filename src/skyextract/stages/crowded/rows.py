"""Rows of the sources that were found beneath others: measured without their neighbours."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from skyextract.datamodel.arrays import F4, F8, I4, I8, each_of, scattered
from skyextract.datamodel.catalog import Catalog
from skyextract.datamodel.detections import PER_SOURCE, Detections
from skyextract.datamodel.flags import Flags, FlagsSky
from skyextract.stages.crowded.hidden import Hidden
from skyextract.stages.crowded.rest import (
    disc_offsets,
    filtered_about,
    nearest_pixel,
)
from skyextract.stages.detection.measurements import measure_footprints
from skyextract.stages.pointsources.pairs import pairs_within
from skyextract.stages.pointsources.sweeps import add_models

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from skyextract.datamodel.psf import Psf
    from skyextract.run import Run
    from skyextract.stages.detection.matched import MatchedFilter
    from skyextract.stages.pointsources.sweeps import FittedSources

APART = 6.0
"""Sources farther apart than this, in FWHM, are measured on one image without their neighbours."""

SHARE = 0.02
"""Of the light of a detection: what a source beneath it has more than that, its columns feel."""


def with_shared_light_flagged(
    sources: Catalog, found: Detections, hidden: Hidden, rows: I8
) -> Catalog:
    """Flag detections whose footprints hold light of sources that were found beneath them.

    As detection flags what it takes apart itself.

    Parameters
    ----------
    found : Detections
        All sources; those that were added have no pixels in the segmentation.
    rows : (m,) int64
        Sources that have a row.
    """
    flux = hidden.flux
    beneath = rows[(sources["FLAGS_SKY"][rows] & np.int16(FlagsSky.HIDDEN)) != 0]
    row, column = nearest_pixel(hidden.x[beneath], hidden.y[beneath], hidden.plane.subtracted.shape)
    host = np.abs(found.labels_at(row, column)).astype(np.int64) - 1
    shared = np.bincount(host[host >= 0], flux[beneath[host >= 0]], flux.size)
    flags = sources["FLAGS"].copy()
    flags[shared > SHARE * np.maximum(flux, 0.0)] |= np.int16(Flags.NEIGHBOURS | Flags.BLENDED)
    return sources.with_columns(FLAGS=flags)


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
    added = hidden.sources.take(np.arange(found.n, hidden.x.size))
    x, y = hidden.x[found.n :], hidden.y[found.n :]
    rows, parts, catalogs = [], [], []
    labels = scattered(hidden.plane.subtracted.shape, np.int32)
    with _residual(hidden) as residual:
        for group in _groups(x, y, APART * hidden.psf.fwhm):
            with drawn(residual, hidden.psf, added.take(group), 1.0) as image:
                part = _at_positions(x[group], y[group], hidden, image, matched, found, labels, run)
                rows.append(group)
                catalogs.append(measure(image, part))
                labels.ravel()[part.pixel] = 0
                parts.append(part.without_segmentation())
    sequence = np.argsort(np.concatenate(rows), kind="stable")
    table = {name: np.concatenate([c[name] for c in catalogs])[sequence] for name in catalogs[0]}
    number = np.arange(found.n + 1, found.n + 1 + x.size, dtype=np.int32)
    table["NUMBER"] = number
    table["FLAGS_SKY"] = table["FLAGS_SKY"] | np.int16(FlagsSky.HIDDEN)
    return _joined(found, parts, sequence), Catalog(table)


@contextmanager
def _residual(hidden: Hidden) -> Iterator[F4]:
    """Give what the models leave of the image, for a while where that is the image itself."""
    if hidden.is_of_companions:
        with drawn(hidden.plane.subtracted, hidden.psf, hidden.sources, -1.0) as image:
            yield image
    else:
        yield hidden.residual


@contextmanager
def drawn(image: F4, psf: Psf, sources: FittedSources, factor: float) -> Iterator[F4]:
    """Give an image to which models are added, times a factor; in the end it is as it was."""
    sources = sources.take(np.flatnonzero(sources.reach >= 0))
    ny, nx = image.shape
    if sources.reach.size == 0:
        yield image
        return
    _, x, y = sources.parameters.T
    row, column = nearest_pixel(x, y, image.shape)
    # Of a crowd the whole image is kept, which takes less than the windows of its sources.
    reach = int(sources.reach.max()) + 2
    windows = [
        np.s_[max(0, v - reach) : v + reach + 1, max(0, u - reach) : u + reach + 1]
        for v, u in zip(row.tolist(), column.tolist(), strict=True)
    ]
    if len(windows) * (2 * reach + 1) ** 2 > ny * nx:
        windows = [np.s_[:, :]]
    before = [image[window].copy() for window in windows]
    try:
        add_models(image, psf, sources, factor)
        yield image
    finally:
        for window, values in zip(windows, before, strict=True):
            image[window] = values


def _groups(x: F8, y: F8, distance: float) -> Iterator[I8]:
    """Yield sets of sources that are no nearer to each other than `distance`.

    Each source takes the first set that none of its neighbours before it has.
    """
    first, second = pairs_within(x, y, distance)
    begin = np.searchsorted(second, np.arange(x.size + 1)).tolist()
    chosen: list[int] = []
    neighbours = first.tolist()
    for k in range(x.size):
        others = {chosen[j] for j in neighbours[begin[k] : begin[k + 1]]}
        number = 0
        while number in others:
            number += 1
        chosen.append(number)
    taken = np.array(chosen, np.int64)
    for number in range(int(taken.max(initial=-1)) + 1):
        yield np.flatnonzero(taken == number)


def _at_positions(
    x: F8, y: F8, hidden: Hidden, image: F4, matched: MatchedFilter, found: Detections, labels: I4,
    run: Run,
) -> Detections:  # fmt: skip
    """Return detections whose footprints are discs, of pixels with signal, about positions.

    Parameters
    ----------
    labels : (ny, nx) int32
        Zeros, which become the segmentation.
    """
    ny, nx = image.shape
    row, column = nearest_pixel(x, y, image.shape)
    radius = max(1.0, matched.core_radius)
    offsets = disc_offsets(radius)
    rows = row[:, None] + offsets[:, 0]
    columns = column[:, None] + offsets[:, 1]
    inside = (rows >= 0) & (rows < ny) & (columns >= 0) & (columns < nx)
    rows, columns = np.clip(rows, 0, ny - 1), np.clip(columns, 0, nx - 1)
    filtered = filtered_about(hidden.plane, image, row, column, int(radius), matched, run)
    core = np.hypot(offsets[:, 0], offsets[:, 1]) <= 1.0
    inside &= (filtered[rows, columns] > 0.0) | core
    source = np.nonzero(inside)[0]
    pixel = (rows * nx + columns)[inside]
    first = np.searchsorted(source, np.arange(x.size + 1)).astype(np.int64)
    n_own = np.diff(first).astype(np.int32)
    measured = measure_footprints(
        filtered, image, pixel, first, n_own, found.threshold,
        recentre=np.zeros(x.size, np.bool_), x=x, y=y, run=run,
    )  # fmt: skip
    labels.ravel()[pixel] = source + 1
    beneath = np.abs(found.labels_at(row, column))
    parent = np.where(beneath > 0, found.id_parent[np.maximum(beneath - 1, 0)], 0)
    at_border = (row <= 0) | (row >= ny - 1) | (column <= 0) | (column >= nx - 1)
    return Detections(
        labels=labels, id_parent=parent.astype(np.int32), first=first, n_own=n_own,
        pixel=pixel,
        **(measured | {"x": x, "y": y}),
        dthresh=np.full(x.size, found.threshold, np.float32),
        flags=np.where(at_border, 2 | 8, 2).astype(np.int16), threshold=found.threshold,
        unclaimed=np.zeros(0, np.int64),
    )  # fmt: skip


def _joined(found: Detections, parts: list[Detections], sequence: I8) -> Detections:
    """Append the added sources, in their own order, to the detections."""
    fields: dict[str, Any] = {
        name: np.concatenate(
            [getattr(found, name), np.concatenate([getattr(p, name) for p in parts])[sequence]]
        )
        for name in PER_SOURCE
    }
    length = np.concatenate([np.diff(p.first) for p in parts])
    begin = np.cumsum(length) - length
    source, place = each_of(length[sequence])
    place += begin[sequence][source]
    end = found.first[-1] + np.cumsum(length[sequence])
    return replace(
        found,
        first=np.concatenate([found.first, end]),
        pixel=np.concatenate([found.pixel, np.concatenate([p.pixel for p in parts])[place]]),
        filtered=np.concatenate(
            [found.filtered, np.concatenate([p.filtered for p in parts])[place]]
        ),
        n_labelled=found.n,
        **fields,
    )
