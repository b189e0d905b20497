"""Sources from the branches of detections: share out faint pixels, measure basic shapes.

The pixels of a detection that are in none of its branches (see `tree`) go to one of them at
random, with probabilities from Gaussian fits to the branches (Bertin & Arnouts 1996, A&AS
117, 393, section 5; SExtractor's manual).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from skyextract.kernels.detection.branches import Branches
from skyextract.kernels.detection.clean import cleaning_limit
from skyextract.kernels.detection.draws import RANDOM_MAX
from skyextract.kernels.detection.pixels import Components, Pixels, lowest_limit
from skyextract.kernels.detection.shape import (
    ABCOR,
    CXX,
    CXY,
    CYY,
    FDNPIX,
    FDPEAK,
    FLAGS,
    MTHRESH,
    N_INTEGER,
    N_REAL,
    PARENT,
    A,
    B,
    X,
    Y,
    measure_source,
)
from skyextract.kernels.jit import kernel
from skyextract.kernels.values import BLENDED, TRUNCATED

if TYPE_CHECKING:
    from skyextract.datamodel.arrays import F4, F8, I4, I8


_FAR = 70.0
_MIN_CHANCE = 1e-31


class Draws(NamedTuple):
    """Random numbers, 0 to `RANDOM_MAX`, and the number of each component's first one."""

    numbers: F4
    first: I8


class Sources(NamedTuple):
    """The sources that components make.

    Attributes
    ----------
    first : (n_components,)
        Number of each component's first source.
    members : (n_pixels,)
        Pixels of source s: ``members[start[s]:start[s + 1]]``.
    start : (n_sources + 1,)
    real, integer : (n_sources, N_REAL), (n_sources, N_INTEGER)
        Measurements; see the column numbers in `shape`.
    """

    first: I8
    members: I4
    start: I8
    real: F8
    integer: I4


class _Fits(NamedTuple):
    """The branches of one component as Gaussians.

    Attributes
    ----------
    start : (n + 1,)
        Pixels of branch b: ``members[start[b]:start[b + 1]]``.
    real : (n, N_REAL)
        Measurements of the branches' own pixels.
    amplitude : (n,)
        In units of about the threshold.
    chance : (n,)
        Work space: running sum of the Gaussians at a pixel.
    """

    start: I8
    real: F8
    amplitude: F4
    chance: F4


@kernel
def _truncated(pixels: Pixels, members: I4, begin: int, end: int, nx: int, ny: int) -> bool:
    """Whether any pixel lies on the image border."""
    px, py = pixels.x, pixels.y
    for k in range(begin, end):
        p = members[k]
        if px[p] == 0 or py[p] == 0 or px[p] == nx - 1 or py[p] == ny - 1:
            return True
    return False


@kernel
def _collect(branch: I4, order: I4, begin: int, end: int, n: int, members: I4, start: I8) -> None:
    """List the pixels of each branch, ``members[start[b]:start[b + 1]]``, its core first.

    Cores are marked by their number b >= 0 in `branch`, shared-out pixels by -b - 2.
    """
    start[: n + 1] = 0
    for k in range(begin, end):
        b = branch[k]
        if b != -1:
            start[(b if b >= 0 else -b - 2) + 1] += 1
    start[0] = begin
    for b in range(n):
        start[b + 1] += start[b]
    for k in range(begin, end):
        b = branch[k]
        if b >= 0:
            members[start[b]] = order[k]
            start[b] += 1
    for k in range(begin, end):
        b = -branch[k] - 2
        if b >= 0:
            members[start[b]] = order[k]
            start[b] += 1
    for b in range(n, 0, -1):
        start[b] = start[b - 1]
    start[0] = begin


@kernel
def _fit_branches(
    pixels: Pixels, components: Components, branches: Branches, c: int, threshold: float,
    members: I4,
) -> _Fits:  # fmt: skip
    """List the pixels of the branches of component c, and fit Gaussians to them."""
    n = branches.number[c]
    begin = components.first[c]
    end = components.first[c + 1]
    start = np.empty(n + 1, np.int64)
    real = np.empty((n, N_REAL), np.float64)
    integer = np.empty(N_INTEGER, np.int32)
    amplitude = np.empty(n, np.float32)
    threshold = lowest_limit(pixels, components.order, begin, end, threshold)
    # Chances are told from none by a number: in units of a power of two, which rounds nothing.
    unit = 2.0 ** math.floor(math.log2(threshold)) if threshold > 0.0 else 1.0
    _collect(branches.of_pixel, components.order, begin, end, n, members, start)
    for b in range(n):
        measure_source(
            pixels, members, start[b], start[b + 1], np.float64(branches.level[begin + b]), True,
            0.0, 0.0, real[b], integer,
        )  # fmt: skip
        area = 2.0 * math.pi * real[b, ABCOR] * real[b, A] * real[b, B]
        depth = integer[FDNPIX] / area if area > 0.0 else _FAR
        highest = 4.0 * real[b, FDPEAK]
        # the Gaussian falls to the detection threshold at the edge of its isophote
        grown = threshold * math.exp(depth) if depth < _FAR else highest
        amplitude[b] = np.float32(min(grown, highest) / unit)
    return _Fits(start, real, amplitude, np.empty(n, np.float32))


@kernel
def _chances(x: float, y: float, fits: _Fits) -> tuple[int, np.float32]:
    """Accumulate the branches' Gaussians at a pixel; return the nearest branch, the sum."""
    real, amplitude, chance = fits.real, fits.amplitude, fits.chance
    nearest = 0
    least = 1e31
    total = np.float32(0.0)
    for b in range(len(amplitude)):
        dx = x - real[b, X]
        dy = y - real[b, Y]
        distance = (
            0.5
            * (real[b, CXX] * dx * dx + real[b, CYY] * dy * dy + real[b, CXY] * dx * dy)
            / real[b, ABCOR]
        )
        if distance < _FAR:
            total += amplitude[b] * np.float32(math.exp(-distance))
        chance[b] = total
        if distance < least:
            least = distance
            nearest = b
    return nearest, total


@kernel
def count_draws(
    pixels: Pixels, components: Components, branches: Branches, threshold: float,
    first_component: int, past_component: int, members: I4, n_draws: I8,
) -> None:  # fmt: skip
    """Count the random numbers that `gather_components` needs for each component.

    Parameters are those of `gather_components`; `members` is work space, and `n_draws`,
    (n_components,), output.
    """
    order, first = components
    px, py, branch = pixels.x, pixels.y, branches.of_pixel
    for c in range(first_component, past_component):
        n_draws[c] = 0
        if branches.number[c] < 2:
            continue
        fits = _fit_branches(pixels, components, branches, c, threshold, members)
        for k in range(first[c], first[c + 1]):
            if branch[k] == -1:
                p = order[k]
                _, total = _chances(np.float64(px[p]), np.float64(py[p]), fits)
                n_draws[c] += int(np.float64(total) > _MIN_CHANCE)


@kernel
def _share_out(
    pixels: Pixels, components: Components, branches: Branches, c: int, fits: _Fits, draws: Draws
) -> None:
    """Give each pixel of component c that is in no branch to one: b is marked as -b - 2."""
    order, first = components
    px, py, branch, chance = pixels.x, pixels.y, branches.of_pixel, fits.chance
    n = len(chance)
    unit = np.float32(RANDOM_MAX)
    draw = draws.first[c]
    for k in range(first[c], first[c + 1]):
        if branch[k] != -1:
            continue
        p = order[k]
        b, total = _chances(np.float64(px[p]), np.float64(py[p]), fits)
        if np.float64(total) > _MIN_CHANCE:
            pick = total * draws.numbers[draw] / unit
            draw += 1
            i = 0
            while i < n and chance[i] < pick:
                i += 1
            b = i if i < n else b
        branch[k] = -b - 2


@kernel
def gather_components(
    pixels: Pixels, components: Components, branches: Branches, draws: Draws, sources: Sources,
    threshold: float, nx: int, ny: int, min_area: int, first_component: int, past_component: int,
) -> None:  # fmt: skip
    """Share out the pixels outside branches, and measure the resulting sources.

    Parameters
    ----------
    branches : Branches
        `of_pixel` is updated: a pixel shared out to branch b becomes -b - 2.
    sources : Sources, output
        But for `first`, which is input.
    nx, ny : int
        Size of the image.
    min_area : int
        DETECT_MINAREA, for the cleaning limit.
    """
    order, first = components
    first_source, members, start_of_source, real, integer = sources
    for c in range(first_component, past_component):
        begin = first[c]
        end = first[c + 1]
        n = branches.number[c]
        s = first_source[c]
        if n < 2:
            for k in range(begin, end):
                members[k] = order[k]
            measure_source(
                pixels, members, begin, end, threshold, True, 0.0, 0.0, real[s], integer[s]
            )
            real[s, MTHRESH] = cleaning_limit(pixels, members, begin, end, threshold, min_area)
            cut = _truncated(pixels, members, begin, end, nx, ny)
            integer[s, FLAGS] = TRUNCATED if cut else 0
            integer[s, PARENT] = c + 1
            start_of_source[s] = begin
            continue
        fits = _fit_branches(pixels, components, branches, c, threshold, members)
        start = fits.start
        for b in range(n):
            cut = _truncated(pixels, members, start[b], start[b + 1], nx, ny)
            integer[s + b, FLAGS] = BLENDED + (TRUNCATED if cut else 0)
        _share_out(pixels, components, branches, c, fits, draws)
        _collect(branches.of_pixel, order, begin, end, n, members, start)
        for b in range(n):
            measure_source(
                pixels, members, start[b], start[b + 1], threshold, False, fits.real[b, X],
                fits.real[b, Y], real[s], integer[s],
            )  # fmt: skip
            real[s, MTHRESH] = cleaning_limit(
                pixels, members, start[b], start[b + 1], threshold, min_area
            )
            integer[s, PARENT] = c + 1
            start_of_source[s] = start[b]
            s += 1
