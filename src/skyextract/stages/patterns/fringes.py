"""Fringes and interference in a frame: measured on the frame itself, and subtracted.

Thinned detectors show the lines of the night sky as waves of some ten pixels, and interference of
the electronics is a herringbone.  They are as fine as stars and are neither noise nor background:
detection takes their crests for sources, or trails, and fluxes and positions have parts of them.
All over a frame, though, each part has its waves in few directions and lengths, as no stars and
clouds have: sky and stars are taken apart in turns, in which the pixels of stars are filled with
the waves about them (Papoulis 1975, IEEE Trans. CAS 22, 735).  The wings of stars reach beyond
these pixels, and are taken off by their profile.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from skyextract.datamodel.arrays import F4, U2, Bools, widened
from skyextract.datamodel.flags import NO_SKY, Mask
from skyextract.datamodel.noise import median
from skyextract.kernels.values import MAX_VARIANCE
from skyextract.stages.patterns.starlight import light_of_stars
from skyextract.stages.patterns.waves import (
    BIN,
    SAMPLE,
    TILE,
    Frequencies,
    Tiles,
    binned,
    level_and_noise,
    strongest,
)

if TYPE_CHECKING:
    from skyextract.datamodel.exposure import Exposure
    from skyextract.run import Run

ABOVE = 6.0
"""Fringes are where the strongest wave has so many times the power of others of its length in other
directions, in half of the tiles: frames without have 0 to 5..."""
FIRST, HOPELESS = 4, 5.0
"""... so that where it is below this in all but one of the first tiles, no others are asked."""
MIN_TILES, MAX_TILES = 4, 4
"""Tiles that tell, at least; along an axis, at most."""
STRIDE = 5
"""Each so many-th tile comes first: a diagonal of them."""
MIN_KNOWN = 0.6
"""Part of a tile that is sky."""
LONGEST = 50.0
"""Wavelengths up to which fringes are told, pixels; those that are found have any."""
ROUNDS, SETTLED = 10, 0.015
"""Turns, at most, first without and then with wide sources, or until the waves change by less than
this part of the noise."""


def without_fringes(exposure: Exposure, run: Run) -> Exposure:
    """Subtract the fringes that a frame shows; the same if it shows none.

    Parameters
    ----------
    exposure : Exposure
        With its mask.  Pixels at or above saturation stay as they are.
    """
    image, mask = exposure.image, exposure.mask
    if min(image.shape) < 2 * TILE or not shows_fringes(image, mask, run):
        return exposure
    known = (mask & np.uint16(NO_SKY)) == 0
    if exposure.weight is not None:
        known &= exposure.weight < MAX_VARIANCE
    fringes = measure_fringes(image, known, run)
    rms = float(fringes[known].std(dtype=np.float64))
    message = (
        "waves that cover the frame (fringes, interference) are measured and subtracted (rms "
        f"{rms:.4g} in image units; DATA_CHECK N leaves them)"
    )
    run.warn(message)
    has_sky = (mask & np.uint16(Mask.SAT | Mask.NO_DATA)) == 0
    has_sky &= image < np.float32(exposure.detector.saturation)
    return replace(exposure, image=np.where(has_sky, image - fringes, image), waves=fringes)


def shows_fringes(image: F4, mask: U2, run: Run) -> bool:
    """Tell whether waves in few directions cover a frame."""
    # Patterns of the detector that are shorter than two bins pass for long waves in these.
    return all(_shows_waves(image, mask, size, run) for size in (BIN, 1))


def _shows_waves(image: F4, mask: U2, size: int, run: Run) -> bool:
    """Tell whether a frame has them in bins of `size` x `size` pixels."""
    frequencies = Frequencies.of_tile(TILE // size)
    firsts = [_spread(size) for size in image.shape]
    corners = [(y, x) for y in firsts[0] for x in firsts[1]]
    # The first ones are far apart.
    corners = corners[::STRIDE] + [at for k, at in enumerate(corners) if k % STRIDE]

    def wave(corner: tuple[int, int]) -> float | None:
        part = tuple(slice(first, first + TILE) for first in corner)
        tile, known = binned(image[part], (mask[part] & np.uint16(NO_SKY)) == 0, size)
        sky = _sky(tile, known)
        is_sky = np.count_nonzero(sky) > MIN_KNOWN * sky.size
        return strongest(tile, sky, frequencies, LONGEST) if is_sky else None

    found: list[float] = []
    for first in range(0, len(corners), FIRST):
        before = len(found)
        waves = run.map(wave, corners[first : first + FIRST])
        found += [strength for strength in waves if strength is not None]
        if before < FIRST <= len(found) and np.sort(found[:FIRST])[-2] < HOPELESS:
            return False
    return len(found) >= MIN_TILES and float(np.median(found)) > ABOVE


def _spread(size: int) -> list[int]:
    """Return where tiles begin that are spread over an axis."""
    n = min(MAX_TILES, size // TILE)
    return [(size - TILE) * (2 * k + 1) // (2 * n) for k in range(n)]


def _sky(tile: F4, known: Bools) -> Bools:
    """Return the pixels of a tile without stars."""
    values = tile[known]
    if not values.size:
        return known
    level, noise = level_and_noise(values)
    stars = np.abs(tile - level) > 3.0 * noise
    return known & ~widened(stars, 1)


def measure_fringes(image: F4, known: Bools, run: Run) -> F4:
    """Return the fringes of a frame, 0 in the mean.

    Parameters
    ----------
    image : (ny, nx) float32
    known : (ny, nx) bool
        Pixels with data.
    """
    sample = image[known][:: max(1, image.size // SAMPLE)]
    level = np.float32(median(sample))
    # In its own unit: squares of pixels of 1e28 are more than float32 holds.
    unit = np.float32(median(np.abs(sample - level)) or 1.0)
    tiles = Tiles.of((image - level) / unit, known, run)
    none = np.zeros(tiles.data.shape, np.bool_)
    waves, stars, noise = _settled(tiles, np.zeros_like(tiles.data), none, (False, True))
    rest = np.where(tiles.known, tiles.data - waves - tiles.level(waves), np.float32(0.0))
    tiles = replace(tiles, data=tiles.data - light_of_stars(rest, tiles.known, noise))
    waves, stars, _ = _settled(tiles, waves, stars, (True,))
    return unit * tiles.fine(waves, stars, tiles.level(waves), image.shape)


def _settled(
    tiles: Tiles, waves: F4, hidden: Bools, wide_ones: tuple[bool, ...]
) -> tuple[F4, Bools, float]:
    """Take sky and stars apart in turns; return waves, bins with stars, and the noise of a bin.

    Parameters
    ----------
    waves : (n_y, n_x) float32
        To begin with.
    hidden : (n_y, n_x) bool
        Bins that stars are in whatever is seen of them.
    wide_ones : tuple of bool
        Whether wide sources are looked for, one time after the other.
    """
    for wide in wide_ones:
        for _ in range(ROUNDS):
            sky = tiles.level(waves)
            stars, noise = tiles.stars(waves, sky, wide=wide)
            new = tiles.filtered(waves, stars | hidden, sky)
            change = float((new - waves)[tiles.frame].std())
            waves = new
            if change < SETTLED * noise:
                break
    stars, noise = tiles.stars(waves, tiles.level(waves), wide=wide_ones[-1])
    return waves, stars | hidden, noise
