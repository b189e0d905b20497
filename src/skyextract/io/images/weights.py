"""Weight maps and flag maps that go with an image.

Meanings are SExtractor's: WEIGHT_TYPE MAP_WEIGHT is proportional to inverse variance,
MAP_VAR to the variance, MAP_RMS is the standard deviation; they become background variance,
relative or absolute, with 1e30 for pixels without weight (WEIGHT_THRESH).
"""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from skyextract.datamodel.alignment import apart_by_headers, wcs_or_none
from skyextract.datamodel.arrays import F4, I4, U2, AnyArray
from skyextract.datamodel.exposure import Exposure
from skyextract.datamodel.flags import Mask
from skyextract.errors import ConfigError, ImageError, MapSizeError
from skyextract.io.fits.file import FitsFile, HeaderUnit
from skyextract.io.fits.pixels import Scaling, plane_axes, stored_numbers, to_float
from skyextract.io.images.images import image_header, select_units
from skyextract.io.names import ImageSpec, parse_image_spec
from skyextract.kernels.values import NO_INFORMATION
from skyextract.record import record
from skyextract.run import Run
from skyextract.settings.keywords import Weights, of_image


@record
class WeightMaps:
    """Background variance for detection and for measurement.

    Attributes
    ----------
    detection, measurement : (ny, nx) float32 or None
        Image units squared or proportional to it, 1e30 for bad pixels; None: there is no map
        (WEIGHT_TYPE NONE or BACKGROUND).  The same array where the same map serves both.
    """

    detection: F4 | None = None
    measurement: F4 | None = None


def read_weights(config: Weights, exposure: Exposure, number: int, run: Run) -> WeightMaps:
    """Read the weight maps that WEIGHT_TYPE and WEIGHT_IMAGE ask for.

    Parameters
    ----------
    config : Weights
        WEIGHT_TYPE, WEIGHT_IMAGE and WEIGHT_THRESH are used; of each, the first value is for
        detection, the second, or else the same, for measurement.
    exposure : Exposure
        The image; its size must be that of the maps.
    number : int
        Its place among the images of its file, from 0: which extension of a map is meant.

    Raises
    ------
    ConfigError
        A map is needed and not named, or does not exist.
    ImageError
        A map cannot be read or does not fit the image.
    """
    maps: list[F4 | None] = []
    done: dict[tuple[str, str, float | None], F4] = {}
    for k in range(2):
        kind = of_image(config.weight_type, k)
        if kind in ("NONE", "BACKGROUND"):
            maps.append(None)
            continue
        if not config.weight_image:
            raise ConfigError(f"WEIGHT_TYPE {kind} needs a WEIGHT_IMAGE")
        name = of_image(config.weight_image, k)
        threshold = of_image(config.weight_thresh, k) if config.weight_thresh else None
        asked = (name, kind, threshold)
        if asked not in done:
            done[asked] = read_weight_map(
                name, kind, threshold, exposure=exposure, number=number, run=run
            )
        maps.append(done[asked])
    return WeightMaps(*maps)


def read_weight_map(
    name: str,
    kind: str,
    threshold: float | None,
    *,
    exposure: Exposure,
    number: int,
    run: Run,
) -> F4:
    """Read one map as background variance; see `read_weights`.

    Parameters
    ----------
    name : str
        File, maybe with an extension in brackets.
    kind : str
        MAP_WEIGHT, MAP_VAR or MAP_RMS.
    threshold : float or None
        Weights up to it (variances, rms from it on) are bad; None: 0 (1e30).
    """
    spec = _existing(name, "WEIGHT_IMAGE")
    with FitsFile(spec.path) as file:
        run.note_opened(spec.path)
        unit = matching_unit(file, spec, exposure, number)
        try:
            header = image_header(file, unit)
            numbers = stored_numbers(file, unit)
            plane, bad = to_float(numbers, Scaling.from_header(header), math.inf, run)
        except ImageError as error:
            raise ImageError(f"{spec}: {error}") from None
    _compare_sky(spec, header, exposure, run)

    def convert(band: tuple[int, int]) -> None:
        for first in range(*band, 16):
            rows = slice(first, min(first + 16, band[1]))
            _to_variance(plane[rows], bad[rows], kind, threshold)

    run.map(convert, run.bands(plane.shape[0]))
    return plane


def _to_variance(plane: F4, bad: U2, kind: str, threshold: float | None) -> None:
    """Turn weights (variances, rms) into variances, in place."""
    if kind == "MAP_WEIGHT":
        good = plane > np.float32(0.0 if threshold is None else max(threshold, 0.0))
    else:
        # SExtractor takes rms 0 for an infinite weight; it can only mean that none is known
        good = (plane > 0.0) & (plane < np.float32(1e30 if threshold is None else threshold))
    good &= bad == 0
    with np.errstate(over="ignore", divide="ignore"):
        if kind == "MAP_WEIGHT":
            np.divide(np.float32(1.0), plane, out=plane, where=good)
        elif kind == "MAP_RMS":
            np.multiply(plane, plane, out=plane)
        elif kind != "MAP_VAR":
            raise ConfigError(f"WEIGHT_TYPE {kind} is no map")
    plane[~good | (plane > NO_INFORMATION)] = NO_INFORMATION


def with_weight(exposure: Exposure, variance: F4 | None) -> Exposure:
    """Return the exposure with a weight map; its pixels without weight are BAD in the mask."""
    if variance is None:
        return exposure
    mask = exposure.mask | np.where(variance >= NO_INFORMATION, np.uint16(Mask.BAD), np.uint16(0))
    return replace(exposure, weight=variance, mask=mask)


def read_flag_maps(config: Weights, exposure: Exposure, number: int, run: Run) -> list[I4]:
    """Read the FLAG_IMAGEs.

    Returns
    -------
    list of (ny, nx) int32
        One per FLAG_IMAGE, in order.

    Raises
    ------
    ConfigError
        A map does not exist.
    ImageError
        A map cannot be read, does not fit the image, or does not hold 32-bit integers.
    """
    return [read_flag_map(name, exposure, number, run) for name in config.flag_image]


def read_flag_map(name: str, exposure: Exposure, number: int, run: Run) -> I4:
    """Read one flag map; see `read_flag_maps`."""
    spec = _existing(name, "FLAG_IMAGE")
    with FitsFile(spec.path) as file:
        run.note_opened(spec.path)
        unit = matching_unit(file, spec, exposure, number)
        try:
            header = image_header(file, unit)
            _compare_sky(spec, header, exposure, run)
            return _integers(stored_numbers(file, unit), Scaling.from_header(header))
        except ImageError as error:
            raise ImageError(f"{spec}: {error}") from None


def _integers(numbers: AnyArray, scaling: Scaling) -> I4:
    plain = scaling.scale == 1.0 and scaling.zero == 0.0
    if plain and numbers.dtype.kind in "iu" and numbers.dtype.itemsize <= 4:
        return np.ascontiguousarray(numbers, np.int32)
    values = numbers.astype(np.float64) * scaling.scale + scaling.zero
    if not np.all(np.isfinite(values)) or np.any(values != np.rint(values)):
        raise ImageError("flags must be integers")
    if values.size and (values.min() < -(2.0**31) or values.max() >= 2.0**32):
        raise ImageError("flags do not fit 32 bits")
    return values.astype(np.int64).astype(np.uint32).view(np.int32)


def _compare_sky(spec: ImageSpec, header: Any, exposure: Exposure, run: Run) -> None:
    """Warn where the headers say that a map is that of another sky.

    It may be that of the detector, with the header of another exposure: no more than a warning.
    """
    apart = apart_by_headers(wcs_or_none(header), exposure.wcs, exposure.shape)
    if apart:
        run.warn(
            f"{exposure.name}: by their headers it lies {apart} from its map {spec}: the map of "
            "another image?"
        )


def _existing(name: str, keyword: str) -> ImageSpec:
    spec = parse_image_spec(name)
    if not Path(spec.path).exists():
        raise ConfigError(f"{keyword} {name}: no such file")
    return spec


def matching_unit(file: FitsFile, spec: ImageSpec, exposure: Exposure, number: int) -> HeaderUnit:
    """Return the image of a map that belongs to an exposure.

    The only image of the file serves every extension; of several, the one with the EXTNAME
    (and EXTVER) of the exposure, or else the one in the same place.

    Raises
    ------
    ImageError
        None fits, or it has another size (MapSizeError).
    """
    units = [unit for unit, _ in select_units(file, spec)]
    if len(units) > 1:
        header = exposure.header
        version = None if header is None else header.get("EXTVER")
        same = [u for u in units if u.name and u.name == exposure.extension_name]
        if len(same) > 1:
            same = [u for u in same if u.header.get("EXTVER") == version]
        if len(same) != 1:
            same = units[number : number + 1]
        if not same:
            raise ImageError(
                f"{spec}: {len(units)} images, none for image {number + 1} of {exposure.path}"
            )
        units = same
    try:
        width, height = plane_axes(units[0].shape)
    except ImageError as error:
        raise ImageError(f"{spec}: {error}") from None
    if (height, width) != exposure.shape:
        raise MapSizeError(
            f"{spec}: {width} x {height} pixels, but the image has "
            f"{exposure.shape[1]} x {exposure.shape[0]}"
        )
    return units[0]
