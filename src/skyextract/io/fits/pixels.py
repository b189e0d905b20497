"""Pixels of an image unit: from the bytes of the file to native float32 in one pass.

The conversion (byte order, BSCALE/BZERO, BLANK, NaN, saturation) runs over blocks of rows
that fit the cache, so the frame goes through memory once; numpy's casts release the GIL,
so threads share the rows.
"""

from __future__ import annotations

import math

import numpy as np

from skyextract.datamodel.arrays import F4, U2, AnyArray, unmarked, whole
from skyextract.datamodel.flags import Mask
from skyextract.datamodel.header import Header
from skyextract.datamodel.noise import median
from skyextract.errors import ImageError
from skyextract.io.fits.file import FitsFile, HeaderUnit
from skyextract.kernels.stored import pixels_of_shorts, pixels_of_singles
from skyextract.record import record
from skyextract.run import Run

MAX_COLOURS, MIN_SIDE = 4, 16
"""A cube with so few pixels in a row, and more of them in a column and planes, is turned."""
_BLOCK_PIXELS = 1 << 18
_SHORT, _SINGLE = np.dtype(">i2"), np.dtype(">f4")


@record
class Scaling:
    """How stored numbers become pixel values: zero + scale * number."""

    scale: float = 1.0
    zero: float = 0.0
    blank: int | None = None

    @classmethod
    def from_header(cls, header: Header) -> Scaling:
        """Read BSCALE, BZERO, BLANK; ImageError for values that are no finite numbers."""
        scale, zero = _number(header, "BSCALE", 1.0), _number(header, "BZERO", 0.0)
        if scale == 0.0:
            raise ImageError("BSCALE = 0: all pixels would be the same")
        blank = header.get("BLANK")
        return cls(scale, zero, blank if isinstance(blank, int) else None)


def _number(header: Header, keyword: str, default: float) -> float:
    value = header.get(keyword)
    if value is None:
        return default
    number = math.nan
    if not isinstance(value, bool):
        try:
            number = float(value)  # some write numbers in quotes
        except ValueError:
            number = math.nan
    if not math.isfinite(number):
        raise ImageError(f"{keyword} = {value} is no number")
    return number


def n_planes(shape: tuple[int, ...]) -> int:
    """Return the number of planes of an image, from its FITS axes; more than 1 of a cube."""
    return math.prod(shape[2:])


def plane_axes(shape: tuple[int, ...], *, of_cube: bool = False) -> tuple[int, int]:
    """Return (width, height) of an image from its FITS axes.

    Parameters
    ----------
    of_cube : bool
        Whether it may be a cube, of which one plane is meant.

    Raises
    ------
    ImageError
        1-D, a cube of more than one plane, one of colours beside each other, or an axis of length
        zero.
    """
    text = " x ".join(str(n) for n in shape)
    if 0 in shape:
        raise ImageError(f"the image has no pixels ({text})")
    if len(shape) < 2:
        raise ImageError(f"the image has {len(shape)} axes ({text}), not 2")
    if n_planes(shape) > MIN_SIDE and shape[0] <= MAX_COLOURS and shape[1] > MIN_SIDE:
        raise ImageError(
            f"the first axis ({text}) has the colours, not the pixels of a row: put it last"
        )
    if n_planes(shape) != 1 and not of_cube:
        raise ImageError(f"a cube ({text}), not a 2-D image")
    return shape[0], shape[1]


def stored_numbers(
    file: FitsFile, unit: HeaderUnit, plane: int | None = None, run: Run | None = None
) -> AnyArray:
    """Return the (ny, nx) numbers of an image unit as stored, before BSCALE and BZERO.

    Big-endian and not copied, or native where they had to be decompressed.

    Parameters
    ----------
    plane : int, optional
        Which plane of a cube, from 0.
    run : Run, optional
        Lends its threads to decompress.

    Raises
    ------
    ImageError
        Not a 2-D image, or truncated, or broken compression.
    """
    width, height = plane_axes(unit.shape, of_cube=plane is not None)
    numbers = file.numbers(unit, run)
    size = width * height * n_planes(unit.shape)
    if numbers.size != size:
        raise ImageError(f"{numbers.size} numbers for {size} pixels (PCOUNT, GCOUNT)")
    chosen: AnyArray = numbers.reshape(-1, height, width)[plane or 0]
    return chosen


_ROWS, _FEW = 16, 100
_RANDOM, _CONSTANT = 0.2, 0.2
"""Share of the most frequent value of a byte that noise fills, and of one that it does not."""
_SMOOTHER = 20.0
_DECADES, _FEW_DECADES, _EXTREME = 12.0, 4.0, 37.0
"""Powers of ten: range that the sizes of pixels do not have, one that they have, and the end of
single precision."""


def has_swapped_bytes(numbers: AnyArray) -> bool:
    """Tell whether the pixels were written in the wrong order of bytes.

    Of 16-bit numbers the lower byte then is nearly the same everywhere while the higher one is
    that of the noise, and neighbours are far more alike the other way round; numbers with a point
    have sizes of all powers of ten.

    Parameters
    ----------
    numbers : (ny, nx)
        As stored, any type and byte order.
    """
    kind, size = numbers.dtype.kind, numbers.dtype.itemsize
    if not (kind == "f" or (kind in "iu" and size == 2)):
        return False
    sample = np.ascontiguousarray(numbers[:: max(1, numbers.shape[0] // _ROWS)][:_ROWS])
    if kind == "f":
        low, high = _sizes(sample)
        if not (high - low > _DECADES or high < -_EXTREME or low > _EXTREME):
            return False
        low, high = _sizes(sample.byteswap())
        return high - low < _FEW_DECADES and low > -_EXTREME
    step = _typical_step(sample)
    if not (step > _SMOOTHER and step > _SMOOTHER * _typical_step(sample.byteswap())):
        return False
    native = sample.astype(sample.dtype.newbyteorder("="))
    both = native.view(np.uint16).ravel().astype(np.int64)
    counts = [np.bincount(both >> 8), np.bincount(both & 0xFF)]
    most = [float(count.max()) / sample.size for count in counts]
    # Numbers of 8 bits that were shifted have a lower byte of one value.
    return most[0] < _RANDOM and most[1] > _CONSTANT and int(np.count_nonzero(counts[1])) > 1


def _typical_step(values: AnyArray) -> float:
    """Return the median difference of neighbours in a row, without sign."""
    return median(np.abs(np.diff(values.astype(np.int32))))


def _sizes(values: AnyArray) -> tuple[float, float]:
    """Return the limits of the sizes of nine tenths of the numbers, in powers of ten."""
    with np.errstate(over="ignore", invalid="ignore"):
        sizes = np.abs(values.astype(np.float64))
    sizes = np.sort(sizes[np.isfinite(sizes) & (sizes > 0.0)])
    if sizes.size < _FEW:
        return 0.0, 0.0
    return math.log10(sizes[int(0.05 * sizes.size)]), math.log10(sizes[int(0.95 * sizes.size)])


NO_VALUE = 1e35
"""Such numbers stand for no value: programs write the largest ones of single precision (3.4e38)
for it, and means of some thousand others are still finite."""


def to_float(
    numbers: AnyArray,
    scaling: Scaling,
    saturation: float,
    run: Run,
    no_value: float = math.inf,
) -> tuple[F4, U2]:
    """Convert stored numbers to an image and its mask.

    Parameters
    ----------
    numbers : (ny, nx)
        As stored, any type and byte order.
    saturation : float
        Pixels at or above it are SAT; inf: none.
    no_value : float
        Numbers of this size stand for no value.

    Returns
    -------
    image : (ny, nx) float32
        0 where there is no value (BLANK, NaN, inf, from `no_value` on).
    mask : (ny, nx) uint16
        NO_DATA and SAT.
    """
    image = whole(numbers.shape, np.float32)
    mask = unmarked(numbers.shape, np.uint16)
    step = max(1, _BLOCK_PIXELS // numbers.shape[1])
    limits = saturation, no_value

    def convert(band: tuple[int, int]) -> None:
        with np.errstate(over="ignore", invalid="ignore"):
            for first in range(*band, step):
                rows = slice(first, min(first + step, band[1]))
                _convert(numbers[rows], scaling, limits, image[rows], mask[rows])

    run.map(convert, run.bands(numbers.shape[0]))
    return image, mask


def _convert(
    numbers: AnyArray,
    scaling: Scaling,
    limits: tuple[float, float],
    image: F4,
    mask: U2,
) -> None:
    """Convert one block of rows, from the arrays into the arrays; the mask is 0 on entry."""
    integer = numbers.dtype.kind in "iu"
    saturation, no_value = limits
    is_whole = integer and numbers.dtype.itemsize <= 2 and scaling.scale == 1.0
    as_stored = scaling.scale == 1.0 and scaling.zero == 0.0
    plain = numbers.flags.carray and numbers.ndim == 2  # as the kernels take them
    reached, odd = True, not integer or scaling.scale != 1.0
    if plain and is_whole and numbers.dtype == _SHORT:
        shorts = numbers.view(np.uint16)
        zero = np.float32(scaling.zero)
        reached = pixels_of_shorts(shorts, zero, np.float32(saturation), image)
    elif plain and as_stored and numbers.dtype == _SINGLE:
        singles = numbers.view(np.uint32)
        reached, odd = pixels_of_singles(
            singles, np.float32(no_value), np.float32(saturation), image
        )
    elif is_whole or as_stored:
        image[...] = numbers
        if scaling.zero:
            image += np.float32(scaling.zero)
    else:
        image[...] = numbers.astype(np.float64) * scaling.scale + scaling.zero
    if reached:
        mask[image >= saturation] = Mask.SAT
    bad = None
    if integer and scaling.blank is not None:
        bad = numbers == scaling.blank
    if odd:
        no_number = ~(np.abs(image) < no_value)
        bad = no_number if bad is None else bad | no_number
    if bad is not None and bad.any():
        image[bad] = 0.0
        mask[bad] = Mask.NO_DATA
