"""Cubes of planes: which filter each one was taken through."""

from __future__ import annotations

import re

from skyextract.datamodel.header import Header
from skyextract.sky.bands import card_text, frame_filter

_NUMBERED = ("FILTER{}", "FILTER_{}", "FILT{}", "BAND{}", "BAND_{}", "CHANNEL{}", "PLANE{}")
_WHEELS = 2
"""FILTER1 and FILTER2 of a frame are two wheels, one behind the other."""


def plane_filters(header: Header, n: int) -> list[str]:
    """Return the names of the filters of the planes of a cube; empty where the header has none.

    From FILTER1, FILTER2 ... of three planes and more, BAND1 and the like, or a list in FILTER
    ('g, r, i', 'RGB').

    Parameters
    ----------
    n : int
        Number of planes.
    """
    if n < _WHEELS:
        return []
    for pattern in _NUMBERED:
        if n == _WHEELS and pattern == _NUMBERED[0]:
            continue
        names = [card_text(header.get(pattern.format(k))) for k in range(1, n + 1)]
        if all(names):
            return names
    listed = frame_filter(header)
    names = [name for name in re.split(r"[\s,;/+|]+", listed) if name]
    if len(names) == 1 and re.fullmatch(r"(?i)[LRGBugriz]+", listed):
        names = list(listed)
    return names if len(names) == n and len(set(names)) == n else []
