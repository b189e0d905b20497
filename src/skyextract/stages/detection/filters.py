"""Detection filters: the built-in ones, and the text format of SExtractor's .conv files."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np

from skyextract.datamodel.arrays import F4, F8
from skyextract.errors import ConfigError

_PATTERN = re.compile(
    r"(?P<kind>gauss|mexhat|tophat|block)(?:_(?P<size>\d+(?:\.\d+)?))?_(?P<n>\d+)x(?P=n)"
)
_FWHM_PER_SIGMA = 2.35
_SUBPIXELS = 10
_NO_SUM = 1e-6
"""Of the sum of absolute values; the mexhat filters that come with SExtractor have 2e-4 or more."""
_MAX_TAP = 1e12


MIN_SIZE = 0.3
"""Filters narrower than this, in pixels, have no pixel in them."""


def builtin_filter(name: str) -> F4 | None:
    """Return the convolution kernel of a built-in filter, None if there is no such filter.

    Parameters
    ----------
    name : str
        ``default``, ``block_<n>x<n>``, ``gauss_<FWHM>_<n>x<n>``, ``mexhat_<FWHM>_<n>x<n>`` or
        ``tophat_<diameter>_<n>x<n>``, sizes in pixels, with or without ``.conv``: the filters
        that come with SExtractor, and any other size of them.

    Notes
    -----
    The functions are averaged over 10 x 10 points per pixel, and FWHM = 2.35 sigma, as in
    SExtractor's files, to the digits given there.  A Mexican hat is a Gaussian of
    FWHM / sqrt(2) less half a Gaussian of sqrt(2) times its width: its sum vanishes.
    """
    name = name.removesuffix(".conv")
    if name == "default":
        return _normalised(np.array([[1.0, 2.0, 1.0], [2.0, 4.0, 2.0], [1.0, 2.0, 1.0]]))
    match = _PATTERN.fullmatch(name)
    if match is None or (match["size"] is None) != (match["kind"] == "block"):
        return None
    n = int(match["n"])
    if n % 2 == 0 or n > 255:
        return None
    if match["kind"] == "block":
        return _normalised(np.ones((n, n)))
    size = float(match["size"])
    if size < MIN_SIZE:
        return None
    if match["kind"] == "tophat":
        return _normalised(_averaged(lambda r2: (r2 <= 0.25 * size * size).astype(np.float64), n))
    if match["kind"] == "gauss":
        sigma = size / _FWHM_PER_SIGMA
        return _normalised(_averaged(lambda r2: np.exp(-0.5 * r2 / sigma**2), n))
    sigma = round(size / np.sqrt(2.0), 2) / _FWHM_PER_SIGMA
    return _normalised(
        _averaged(lambda r2: np.exp(-0.5 * r2 / sigma**2) - 0.5 * np.exp(-0.25 * r2 / sigma**2), n)
    )


def parse_filter(text: str, name: str) -> F4:
    """Return the convolution kernel that the text of a .conv file describes.

    Parameters
    ----------
    text : str
        First line ``CONV NORM`` or ``CONV NONORM``, then one line per row; # starts a comment.
    name : str
        Name of the file, for messages.

    Raises
    ------
    ConfigError
        If the text is no such file, or a neural ("retina") filter.
    """
    lines = text.splitlines()
    if not lines or not lines[0].startswith("CONV"):
        if text.lstrip().startswith(("BPANN", "SIMPLE")):
            raise ConfigError(f"FILTER_NAME = {name}: neural (retina) filters are not supported")
        raise ConfigError(f"FILTER_NAME = {name}: not a convolution filter (no CONV line)")
    rows = [line.split() for line in lines[1:] if line.strip() and not line.startswith("#")]
    if not rows or any(len(row) != len(rows[0]) for row in rows):
        raise ConfigError(f"FILTER_NAME = {name}: rows of unequal length, or none")
    try:
        taps = np.array([[float(word) for word in row] for row in rows])
    except ValueError as error:
        raise ConfigError(f"FILTER_NAME = {name}: {error}") from None
    if not (np.abs(taps) <= _MAX_TAP).all() or not np.abs(taps).max() >= 1.0 / _MAX_TAP:
        raise ConfigError(f"FILTER_NAME = {name}: its values must be finite and not all 0")
    if abs(taps.sum()) <= _NO_SUM * np.abs(taps).sum():
        raise ConfigError(f"FILTER_NAME = {name}: its values add up to 0, so it finds edges only")
    if "NONORM" in lines[0]:
        return np.ascontiguousarray(taps, np.float32)
    return _normalised(taps)


def _averaged(function: Callable[[F8], F8], n: int) -> F8:
    step = (np.arange(_SUBPIXELS) + 0.5) / _SUBPIXELS - 0.5
    points = (np.arange(n)[:, None] - n // 2 + step).ravel()
    values = function(points[:, None] ** 2 + points**2)
    mean: F8 = values.reshape(n, _SUBPIXELS, n, _SUBPIXELS).mean((1, 3))
    return mean


def _normalised(taps: F8) -> F4:
    """Return the kernel over the sum of its absolute values, SExtractor's CONV NORM."""
    taps = taps.astype(np.float32).astype(np.float64)
    return np.ascontiguousarray(taps / np.abs(taps).sum(), np.float32)
