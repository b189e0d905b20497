"""Areas of a frame that hold no data: of one exact value, not exposed, or copies of others."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from skyextract.datamodel.arrays import F4, Bools, has_bits, n_set
from skyextract.datamodel.exposure import Exposure
from skyextract.datamodel.flags import Mask
from skyextract.kernels.values import MAX_VARIANCE
from skyextract.run import Run
from skyextract.stages.pixels.darklines import dark_lines, tell_of_dark_lines
from skyextract.stages.pixels.deadparts import Patches, dead_parts, look_at
from skyextract.stages.pixels.padding import mark_padding
from skyextract.stages.pixels.repeats import mark_mirrored, mark_repeats
from skyextract.stages.pixels.strips import edge_strips
from skyextract.stages.pixels.unlit import unlit

MOST_MEANT = 0.5
"""Share of the frame without weight from which the map may be that of another image, or be wrong:
what is less is told, and no warning."""
MIN_SHARE = 1e-3
"""Share of the frame from which on NaN and pixels without weight are worth a line."""


def without_empty_areas(exposure: Exposure, run: Run) -> tuple[Exposure, Bools]:
    """Mark areas that hold no data NO_DATA, and tell of them.

    Returns
    -------
    Exposure
        The same if there are none but those that are known.
    without : (ny, nx) bool
        All pixels without data.
    """
    image = exposure.image
    without = has_bits(exposure.mask, int(Mask.NO_DATA), run)
    n_known = n_set(without, run)
    constant = mark_padding(exposure, without, run)
    _mark_strips(image, without, run)
    patches = look_at(image, without)
    _mark_dead_parts(image, without, patches, run)
    _mark_dark_lines(image, without, run)
    mark_repeats(image, without, run)
    mark_mirrored(image, without, run)
    _mark_unlit(image, without, patches, run)
    _tell_shares(exposure, without, n_known, constant, run)
    if n_set(without, run) > n_known:
        image = image.copy()
        image[without] = 0.0
        mask = exposure.mask | np.where(without, np.uint16(Mask.NO_DATA), np.uint16(0))
        mask[without] &= ~np.uint16(Mask.SAT)
        exposure = replace(exposure, image=image, mask=mask)
    return exposure, without


def _mark_strips(image: F4, without: Bools, run: Run) -> None:
    strips = edge_strips(image, without)
    if not strips:
        return
    for strip in strips:
        without[strip.part] = True
    names = ", ".join(map(str, strips))
    run.warn(
        f"{names} are {strips[0].step:.4g} below the image beside, with a sharp edge: overscan "
        "or bias of a raw frame? They take no part; isr corrects raw frames (--steps isr)"
    )


def _mark_dead_parts(image: F4, without: Bools, patches: Patches | None, run: Run) -> None:
    dead = dead_parts(image, without, patches)
    if not dead:
        return
    for part in dead:
        without[part.part] = True
    names = "; ".join(map(str, dead))
    run.warn(
        f"{names} are {dead[0].step:.4g} below the image beside, with less noise and sharp "
        "edges: a dead amplifier or detector? They take no part"
    )


def _mark_dark_lines(image: F4, without: Bools, run: Run) -> None:
    between = dark_lines(image, without, run)
    for group in between:
        without[group.part] = True
    if between:
        tell_of_dark_lines(between, without.shape, run)


def _mark_unlit(image: F4, without: Bools, patches: Patches | None, run: Run) -> None:
    outside = unlit(image, without, patches)
    if outside is None:
        return
    without |= outside.dark
    run.warn(
        f"{_percent(int(outside.dark.sum()), without)} of the frame are {outside.step:.4g} "
        "below the rest, with less noise, no stars and a sharp edge: no light reached them (a "
        "round field, trees, a dome?). They take no part"
    )


def _tell_shares(
    exposure: Exposure,
    without: Bools,
    n_known: int,
    constant: list[tuple[float, int]],
    run: Run,
) -> None:
    """Tell which shares of the frame are no data, of `n_known` pixels and of `constant` areas."""
    n_weightless = 0
    if exposure.weight is not None:
        n_weightless = int(np.count_nonzero((exposure.weight >= MAX_VARIANCE) & ~without))
    parts = [f"{_percent(n, without)} are exactly {value:g}" for value, n in constant]
    if n_known > MIN_SHARE * without.size:
        parts.append(f"{_percent(n_known, without)} have no value")
    if n_weightless > MIN_SHARE * without.size:
        parts.append(f"{_percent(n_weightless, without)} have no weight")
    if not parts:
        return
    total = n_set(without, run) + n_weightless
    message = f"{_percent(total, without)} of the frame are no data: {', '.join(parts)}"
    # What a map says of a smaller part is what it was given for.
    meant = total == n_weightless and n_weightless < MOST_MEANT * without.size
    (run.tell if meant else run.warn)(message)


def _percent(n: int, frame: Bools) -> str:
    percent = 100.0 * n / frame.size
    return f"{percent:.2g} %" if percent < 99.0 else f"{percent:.4g} %"
