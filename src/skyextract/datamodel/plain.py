"""Values as JSON and header cards can hold them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any


def plain(value: Any, *, infinite: bool = False) -> Any:
    """Return a value as JSON can hold it: numpy scalars unpacked, what is unknown is None.

    Parameters
    ----------
    value : object
        A number, a text, or mappings and sequences of them.
    infinite : bool
        Infinity is a value, and becomes a text (`inf`) that `float` reads back, and an empty
        text stays; else both are unknown, as NaN always is.
    """
    if isinstance(value, Mapping):
        return {str(key): plain(item, infinite=infinite) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item, infinite=infinite) for item in value]
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return str(value) if infinite and not math.isnan(value) else None
    return None if value == "" and not infinite else value
