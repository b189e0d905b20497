"""Words of a header for the names of products: {object}, {filter}, {date}."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from skyextract.datamodel.header import OBJECT_KEYS, header_text
from skyextract.errors import ImageError
from skyextract.io.names import ImageSpec, safe_word
from skyextract.io.raw.calibration import read_frame_header
from skyextract.sky.bands import frame_filter
from skyextract.sky.dates import frame_date

_MJD_ZERO = datetime(1858, 11, 17, tzinfo=UTC)


def header_words(spec: ImageSpec) -> dict[str, str]:
    """Return the words of an image's header; `unknown` for what it does not tell.

    An image that cannot be read has none: what is wrong with it is said when it is processed.
    """
    try:
        header: Mapping[str, Any] = read_frame_header(str(spec))
    except (ImageError, OSError):
        header = {}
    mjd = frame_date(header).mjd if header else math.nan
    day = f"{_MJD_ZERO + timedelta(days=mjd):%Y-%m-%d}" if math.isfinite(mjd) else ""
    found = {
        "object": header_text(header, *OBJECT_KEYS) or "",
        "filter": frame_filter(header) if header else "",
        "date": day,
    }
    return {key: safe_word(text) for key, text in found.items()}
