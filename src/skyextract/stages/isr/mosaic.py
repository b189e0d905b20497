"""One colour of a Bayer mosaic as an image of its own."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from skyextract.datamodel.flags import Mask
from skyextract.datamodel.header import Header, binning_of, remove, set_cards
from skyextract.datamodel.mosaic import (
    MOSAIC_CARDS,
    STEP,
    Cells,
    MosaicPlane,
    cells_of,
    mosaic_pattern,
    says_xtrans,
)
from skyextract.datamodel.noise import median
from skyextract.datamodel.wcs import SkyWcs
from skyextract.kernels.values import MAD_TO_SIGMA
from skyextract.stages.isr.starcolours import is_of_one_colour
from skyextract.stages.isr.widemosaic import period_of_colours

if TYPE_CHECKING:
    from skyextract.datamodel.arrays import F4, F8, AnyArray
    from skyextract.datamodel.exposure import Exposure
    from skyextract.run import Run

_N_PIXELS = STEP * STEP
FEW_CELLS, N_CELLS, MIN_CELLS = 5000, 40_000, 400
"""Cells of 2 x 2 pixels that tell whether an image is a mosaic: so many are taken, first few, for
most are none beyond doubt, and needed."""
SURE, MIN_CONTRAST = 8.0, 0.2
"""Their diagonals then differ by so many times the error, and by such a part of the scatter."""
ALIKE = 0.25
"""The pixels of one diagonal are green if they differ by such a part of what those of the other
do; or, where both differ by such a part of the contrast, those of the brighter diagonal."""


def colour_plane(exposure: Exposure, colour: str, run: Run) -> Exposure:
    """Return one colour of an exposure that is a mosaic; any other as it is.

    A pixel of the plane is four times the mean of its colour's pixels in a cell of 2 x 2
    (SUPERPIXEL: of all four; X-Trans: nine times that in 3 x 3): fluxes are those of the same
    frame with one filter before all of its pixels, whatever the number of them.  Nothing is
    interpolated, so that noise stays independent from pixel to pixel.

    Parameters
    ----------
    colour : str
        GREEN, R, B, SUPERPIXEL, or NONE: the mosaic as if it were monochrome.
    """
    if colour == "NONE" or exposure.plane or min(exposure.shape) < STEP:
        return exposure
    header = exposure.header
    if header is None or not mosaic_pattern(header, exposure.shape):
        exposure = _without_checkerboard(exposure, run)
    pattern = _pattern(exposure, colour, run)
    if not pattern:
        return exposure
    cells = cells_of(pattern, colour)
    plane = MosaicPlane(colour, *cells.middle(), cells.step, cells.column, cells.row)
    named = pattern if cells.period == STEP else f"{cells.period} x {cells.period}"
    times = "twice" if cells.step == STEP else f"{cells.step} times"
    run.tell(
        f"{exposure.path}: a colour mosaic ({named}): {colour} is measured (BAYER), positions "
        f"and sizes are in pixels of the full frame, PHOT_APERTURES in pixels {times} as wide"
    )
    n_pixels = cells.step**2
    scale = n_pixels / cells.n_pixels
    detector = replace(
        exposure.detector,
        gain=exposure.detector.gain / scale,
        read_noise=exposure.detector.read_noise * cells.n_pixels**0.5,
        saturation=exposure.detector.saturation * n_pixels,
        pedestal=exposure.detector.pedestal * n_pixels,
    )
    return replace(
        exposure,
        image=_total(exposure.image, cells, scale),
        mask=_any(exposure.mask, cells),
        variance=_total(exposure.variance, cells, scale**2),
        weight=_total(exposure.weight, cells, scale**2),
        detector=detector,
        header=_plane_header(header, plane, cells.shape(exposure.shape), detector.gain),
        wcs=_plane_wcs(exposure.wcs, plane, cells.shape(exposure.shape)),
    )


def _pattern(exposure: Exposure, colour: str, run: Run) -> str:
    """Return the colours of the pixels of one period, RGGB ...; empty if it is measured as it is.

    Where no card names them the pixels tell which are green ("G--G", "-GG-"), and whether the
    card counts rows from the end at which the file begins.  Binning adds colours up, after which
    the card is often left.
    """
    header = exposure.header
    pattern = "" if header is None else mosaic_pattern(header, exposure.shape)
    is_plane = MosaicPlane.from_header(header) is not None
    if not is_plane:
        wide = _wide_pattern(exposure, pattern, colour, run)
        if wide is not None:
            return wide
    looks = None if is_plane else _looks_of_mosaic(exposure)
    if looks is None:
        binning = binning_of(header) if header is not None and pattern else None
        if binning is not None and max(binning) >= STEP:
            run.warn(
                f"{exposure.name}: pixels of all colours of {pattern} are alike, and are sums of "
                f"{binning[0]} x {binning[1]}: measured as one colour"
            )
            return ""
        if pattern and not is_plane and is_of_one_colour(exposure, pattern):
            run.warn(
                f"{exposure.name}: pixels of all colours of {pattern} are alike, in the sky and in "
                "stars: BAYERPAT was left in the header of what is no mosaic, measured as one "
                "colour"
            )
            return ""
        return pattern
    green, is_sure = looks
    if pattern:
        if not is_sure or pattern[green[0]] == "G":
            return pattern
        turned = pattern[2:] + pattern[:2]
        run.warn(
            f"{exposure.name}: the pixels that the header calls green differ, those of the other "
            f"diagonal are alike: {turned} is taken for {pattern} (rows from the other end?)"
        )
        return turned
    if not green or colour not in ("GREEN", "SUPERPIXEL"):
        run.warn(
            f"{exposure.name}: pixels of one diagonal of each 2 x 2 have another level than those "
            "of the other: a colour mosaic without its card BAYERPAT? It is measured as one colour"
        )
        return ""
    run.warn(
        f"{exposure.name}: a colour mosaic without its card BAYERPAT: its pixels tell which are "
        "green (BAYER NONE measures it as one colour)"
    )
    return "".join("G" if k in green else "-" for k in range(_N_PIXELS))


def _wide_pattern(exposure: Exposure, pattern: str, colour: str, run: Run) -> str | None:
    """Return the colours of a mosaic whose period is not 2; None if it may be one of 2 x 2.

    Parameters
    ----------
    pattern : str
        What the header says; empty if it says nothing.
    """
    shown = period_of_colours(exposure)
    if not shown:
        if says_xtrans(exposure.header):
            run.warn(
                f"{exposure.name}: the header says X-Trans, and its pixels do not tell which are "
                "green: measured as one colour (BAYERPAT with 36 letters tells)"
            )
        return None if len(pattern) == _N_PIXELS else pattern or None
    if pattern and _greens(pattern) == _greens(shown):
        return pattern
    n = math.isqrt(len(shown))
    if colour not in ("GREEN", "SUPERPIXEL"):
        run.warn(
            f"{exposure.name}: levels of pixels repeat after {n} x {n}, as of a colour mosaic, and "
            f"no card tells which are {colour}: measured as one colour"
        )
        return ""
    because = "against its card BAYERPAT" if pattern else "without its card BAYERPAT"
    run.warn(
        f"{exposure.name}: a colour mosaic of {n} x {n} pixels {because}: its pixels tell which "
        "are green (BAYER NONE measures it as one colour)"
    )
    return shown


def _greens(pattern: str) -> list[bool]:
    return [letter == "G" for letter in pattern]


def _without_checkerboard(exposure: Exposure, run: Run) -> Exposure:
    """Take off what one diagonal of each 2 x 2 has more in the sky, where stars show no colours.

    Two converters that read pixels by turns have another level each; filters would share the light
    of stars unevenly, too.
    """
    looks = _looks_of_mosaic(exposure)
    if looks is None:
        return exposure
    diagonals = [looks[0]] if looks[0] else [(0, 3), (1, 2)]
    if not all(is_of_one_colour(exposure, "G--G" if 0 in green else "-GG-") for green in diagonals):
        return exposure
    a, b, c, d = _levels(exposure, N_CELLS)
    step = 0.25 * median(a - b - c + d)
    image = exposure.image.copy()
    for row in range(STEP):
        for column in range(STEP):
            image[row::STEP, column::STEP] -= np.float32(step if row == column else -step)
    image[(exposure.mask & np.uint16(Mask.NO_DATA)) != 0] = 0.0
    run.warn(
        f"{exposure.name}: every other pixel is {2.0 * abs(step):.3g} higher, as on a checkerboard "
        "(two converters?), and stars do not show it: subtracted"
    )
    return replace(exposure, image=image)


def _looks_of_mosaic(exposure: Exposure) -> tuple[tuple[int, ...], bool] | None:
    """Return the green pixels of each 2 x 2, and whether these are alike and the others not.

    None if the diagonals do not differ, which amplifiers of columns or rows have alike: the four
    colours have levels a, b, c, d; a - b - c + d is 0 of what changes from column to column, or
    from row to row, and with the pixels beside these also of a smooth sky.  The pixels are empty
    if none is alike.
    """
    for n_cells in (FEW_CELLS, N_CELLS):
        a, b, c, d = _levels(exposure, n_cells)
        contrast = a - b - c + d
        middle = median(contrast)
        scatter = MAD_TO_SIGMA * median(np.abs(contrast - middle))
        error = 1.25 * scatter / math.sqrt(max(contrast.size, 1))
        if abs(middle) + SURE * error < MIN_CONTRAST * scatter:
            return None
    least = max(SURE * error, MIN_CONTRAST * scatter)
    if contrast.size < MIN_CELLS or not 0.0 < least < abs(middle):
        return None
    first, second = abs(median(a - d)), abs(median(b - c))
    brighter = (0, 3) if middle > 0.0 else (1, 2)
    alike = (0, 3) if first < second else (1, 2)
    most, differs = max(first, second), min(first, second) <= ALIKE * max(first, second)
    if differs and alike == brighter and most > SURE * error:
        return alike, True
    if most < ALIKE * abs(middle):
        return brighter, False
    return (alike if differs else ()), False


def _levels(exposure: Exposure, most: int) -> tuple[F8, F8, F8, F8]:
    """Return the four pixels of about so many cells that are good, about one column."""
    ny, nx = (n // STEP * STEP for n in exposure.shape)
    step = STEP * max(1, math.isqrt(ny * nx // _N_PIXELS // most))
    places = [(slice(row, ny, step), slice(column, nx - STEP + column, step))
              for row in range(STEP) for column in range(STEP + 1)]  # fmt: skip
    a, b, a2, c, d, c2 = (exposure.image[place].astype(np.float64) for place in places)
    good = np.bitwise_or.reduce([exposure.mask[place] for place in places]) == 0
    good &= np.isfinite(a + a2 + b + c + c2 + d)
    return 0.5 * (a + a2)[good], b[good], 0.5 * (c + c2)[good], d[good]


def colour_flags(flags: AnyArray, exposure: Exposure) -> AnyArray:
    """Return a flag map of the full frame for the plane that an exposure is."""
    plane = MosaicPlane.from_header(exposure.header)
    if plane is None or flags.shape == exposure.shape:
        return flags
    return _any(flags, plane.cells())


def _total(array: F4 | None, cells: Cells, scale: float) -> Any:
    if array is None:
        return None
    total = np.zeros(cells.shape(array.shape), np.float32)
    for target, part in cells.parts(array):
        total[target] += part
    total *= np.float32(scale)
    return total


def _any(array: AnyArray, cells: Cells) -> AnyArray:
    """Return the bits that are set in any pixel of a cell."""
    bits = np.zeros(cells.shape(array.shape), array.dtype)
    for target, part in cells.parts(array):
        bits[target] |= part
    return bits


def _plane_header(
    header: Header | None, plane: MosaicPlane, shape: tuple[int, int], gain: float
) -> Header:
    new = Header() if header is None else header.copy()
    remove(new, MOSAIC_CARDS)
    set_cards(new, plane.cards())
    if "GAIN" in new and gain > 0.0:
        new["GAIN"] = gain
    new["NAXIS1"], new["NAXIS2"] = shape[::-1]
    return new


def _plane_wcs(wcs: SkyWcs | None, plane: MosaicPlane, shape: tuple[int, int]) -> SkyWcs | None:
    if wcs is None:
        return None
    return SkyWcs(plane.plane_wcs(wcs.to_header()), shape)
