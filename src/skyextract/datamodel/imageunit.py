"""Quantities in the unit of the pixels: declared at their fields, so that all can be converted.

An image in erg/s/cm2/A is worked on in another unit (`columns.unit`); a field that depends on it
says so where it is declared, ``image: Annotated[F4, FLUX]``, and nobody else needs to know.
"""

from __future__ import annotations

import math
import re
from dataclasses import fields
from functools import lru_cache
from typing import Any

import numpy as np

from skyextract.kernels.values import MAX_VARIANCE, NO_INFORMATION
from skyextract.record import record


@record
class ImageUnit:
    """How a quantity depends on the unit of the pixels.

    Attributes
    ----------
    power : int
        1: pixel values and fluxes, 2: variances, -1: per unit.
    magnitude : bool
        It is the magnitude of such a quantity: 1 a zero point, -1 an instrumental magnitude.
    """

    power: int
    magnitude: bool = False

    def convert(self, value: Any, unit: float) -> Any:
        """Return a number or an array in a new unit, given its size in the present one.

        The type stays; what single precision cannot hold becomes 0 or infinite.  A variance
        without information stays that.
        """
        if self.magnitude:
            return value - 2.5 * self.power * math.log10(unit)
        if not isinstance(value, np.ndarray):
            return value / unit**self.power
        with np.errstate(under="ignore", over="ignore"):
            result = (value / np.float64(unit) ** self.power).astype(value.dtype)
        if self.power == 2:
            result[~(value < MAX_VARIANCE)] = NO_INFORMATION
        return result


FLUX = ImageUnit(1)
VARIANCE = ImageUnit(2)
PER_FLUX = ImageUnit(-1)
ZERO_POINT = ImageUnit(1, magnitude=True)
INSTRUMENTAL = ImageUnit(-1, magnitude=True)


KINDS = {
    "FLUX": FLUX, "VARIANCE": VARIANCE, "PER_FLUX": PER_FLUX, "ZERO_POINT": ZERO_POINT,
}  # fmt: skip
"""What a field can be annotated with."""


@lru_cache(maxsize=256)
def image_units(cls: type) -> dict[str, ImageUnit | None]:
    """Return the fields of a dataclass, and what they are annotated with: `Annotated[F4, FLUX]`.

    Annotations are text; most of them name types that are imported for type checkers only.
    """
    kinds: dict[str, ImageUnit | None] = {}
    for item in fields(cls):
        found = re.fullmatch(r"Annotated\[.+, (\w+)\]", str(item.type))
        kinds[item.name] = KINDS[found[1]] if found else None
    return kinds
