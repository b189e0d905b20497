"""Frames that are no images of the sky, or whose light is negative."""

from __future__ import annotations

import math
import re

import numpy as np

from skyextract.datamodel.arrays import F4, I8, Bools
from skyextract.datamodel.header import IMAGE_TYPE_KEYS, Header
from skyextract.datamodel.noise import MAX_SAMPLE

KINDS = {"bias": ("bias", "zero"), "dark": ("dark",), "flat": ("flat", "domeflat", "skyflat")}
"""Kinds of calibration frames, and the words that headers have for them."""
_WORD = re.compile(r"[a-z]+")
_LIGHT = re.compile(r"light|object|science|target", re.IGNORECASE)

FAR = 8.0
"""Pixels so many sigma from the sky..."""
MIN_FAR = 100
"""... that many of which are below it, and ..."""
MOST_ABOVE = 0.05
"""... of those above less than this part of them: the light is negative, if ..."""
TOGETHER = 0.5
"""... this share of them has one beside it: they are no bad pixels; and ..."""
RING, LEAST_RING, DIRECTIONS = 1.0 / 16.0, 16, 16
"""... on a ring with this part of the frame as radius, and pixels at least, in so many directions,
..."""
MOST_ON_RING, COMPACT = 1, 0.5
"""... hardly one is so dark, for this share of them: shadows and dark corners are wide, or long."""
LOOKED_AT = 2000
"""Dark pixels whose ring is looked at."""
FEW, MIN_DATA = 2, 200_000
"""Sources, on so many pixels with data, that may be chance or defects."""
CLEAR, MIN_SMALL = 8.0, 10_000
"""Isophotal S/N of a source that is none of chance, and pixels of smaller frames, on which sources
may as well be few, that want one."""


def calibration_kind(header: Header | None) -> tuple[str, str]:
    """Return the kind of calibration frame that a header says its image is, and the card."""
    if header is None:
        return "", ""
    for card in IMAGE_TYPE_KEYS:
        value = str(header.get(card) or "").strip()
        words = _WORD.findall(value.lower())
        for kind, names in KINDS.items():
            if any(name in words for name in names) and not _LIGHT.search(value):
                return kind, f"{card} = {value!r}"
    return "", ""


def is_inverted(subtracted: F4, sigma: float, bad: Bools) -> bool:
    """Tell whether what differs from the sky is darker: small groups of pixels, as stars are.

    Parameters
    ----------
    subtracted : (ny, nx) float32
        Background-subtracted image.
    sigma : float
        Noise of the background.
    bad : (ny, nx) bool
        Pixels without data.
    """
    step = max(1, subtracted.size // MAX_SAMPLE)
    rows = subtracted[::step]
    limit = np.float32(FAR * sigma)
    if rows.min() >= -limit:
        return False
    low = (rows < -limit) & ~bad[::step]
    n_low = int(np.count_nonzero(low))
    if n_low * step < MIN_FAR or n_low < MIN_FAR // 4:
        return False
    n_high = int(np.count_nonzero((rows > limit) & ~bad[::step]))
    beside = low.copy()
    beside[:, 1:] &= low[:, :-1]
    beside[:, :-1] |= low[:, 1:] & low[:, :-1]
    if n_high >= MOST_ABOVE * n_low or int(np.count_nonzero(beside)) <= TOGETHER * n_low:
        return False
    y, x = (place[:: max(1, n_low // LOOKED_AT)] for place in np.nonzero(low))
    return _are_compact(subtracted, y * step, x, -limit, bad)


def _are_compact(subtracted: F4, y: I8, x: I8, limit: np.float32, bad: Bools) -> bool:
    """Tell whether most dark pixels have no others at some distance, as those of sources have not.

    Parameters
    ----------
    y, x : (n,) int64
        Some of the pixels that are below `limit`.
    """
    ny, nx = subtracted.shape
    radius = max(RING * min(ny, nx), LEAST_RING)
    angle = 2.0 * np.pi * np.arange(DIRECTIONS) / DIRECTIONS
    at_y = np.clip(y + np.rint(radius * np.sin(angle)).astype(np.int64)[:, None], 0, ny - 1)
    at_x = np.clip(x + np.rint(radius * np.cos(angle)).astype(np.int64)[:, None], 0, nx - 1)
    dark = (subtracted[at_y, at_x] < limit) & ~bad[at_y, at_x]
    return bool(np.mean(np.count_nonzero(dark, axis=0) <= MOST_ON_RING) > COMPACT)


def doubt_of_kind(
    header: Header | None, subtracted: F4, sigma: float, bad: Bools, n_bad: int, n_sources: int,
    *, has_psf: bool = False, snr: float = math.inf,
) -> str:  # fmt: skip
    """Tell why an image may be none of the sky; empty if it is one, as far as can be seen.

    Parameters
    ----------
    header : Header or None
    subtracted, sigma, bad
        As of `is_inverted`.
    n_bad : int
        Number of pixels without data.
    n_sources : int
    has_psf : bool
        A PSF was measured or given: there are stars, be they few.
    snr : float
        Isophotal S/N of the clearest source.
    """
    kind, card = calibration_kind(header)
    n_data = bad.size - n_bad
    enough = MIN_DATA if snr > CLEAR else MIN_SMALL
    message = ""
    if kind:
        message = (
            f"the header says that this is a {kind} frame ({card}): nothing on it is a star; it "
            f"corrects raw frames (ISR_{kind.upper()})"
        )
    elif is_inverted(subtracted, sigma, bad):
        message = (
            "what differs from the sky is darker than it: an inverted image? Multiply it by -1"
        )
    elif not has_psf and 0 < n_sources <= FEW and n_data >= enough:
        message = (
            f"hardly a source in {n_data} pixels with data ({n_sources} found): a bias, dark or "
            "flat frame, a closed shutter?"
        )
    return message
