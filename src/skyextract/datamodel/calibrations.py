"""Calibration frames as isr uses them: masters, defects, linearity and crosstalk."""

from __future__ import annotations

from dataclasses import field, fields
from typing import Any

from skyextract.datamodel.arrays import F4, F8, U1
from skyextract.datamodel.header import Header
from skyextract.record import record


@record
class Master:
    """A master calibration frame of one detector.

    Attributes
    ----------
    kind : str
        bias, dark, flat or fringe.
    image : (ny, nx) float32
        Trimmed and assembled.  Bias and dark in ADU, the dark without bias and for
        `exposure_time`; flat and fringe relative to the median level, freed of the gains.
        NaN where there is no value.
    variance : (ny, nx) float32 or None
        Of the mean of the frames combined; None if unknown.  The noise of the bias (dark) that
        was taken off all of them is not in it.
    exposure_time : float
        Seconds; NaN if unknown.
    header : Header
        As far as it is common to what was combined.
    name : str
        File, for messages.
    n_frames : int
        Frames combined; 0 if unknown.
    """

    kind: str
    image: F4
    variance: F4 | None
    exposure_time: float
    header: Header
    name: str
    n_frames: int = 0
    facts: dict[str, Any] = field(default_factory=dict)
    """How it was made, for its PROVENANCE."""


@record
class Linearity:
    """Correction of the response, of each amplifier or, with one row, of all.

    Attributes
    ----------
    polynomial : (n, k) float64
        Coefficients c2, c3 ... of true = x + c2 x^2 + c3 x^3 + ..., x in ADU; k = 0: none.
    table : (n, 2, m) float64
        Measured (rising) and true signal in ADU; m = 0: none.
    """

    polynomial: F8
    table: F8


@record
class Calibrations:
    """What isr corrects with; None for what is not corrected.

    Attributes
    ----------
    bias, dark, flat, fringe : Master or None
    defects : (ny, nx) uint8 or None
        Not 0: bad pixel.
    linearity : Linearity or None
    crosstalk : (n_amp, n_amp) float64 or None
        Fraction of the signal of amplifier b that appears in amplifier a.
    """

    bias: Master | None = None
    dark: Master | None = None
    flat: Master | None = None
    fringe: Master | None = None
    defects: U1 | None = None
    linearity: Linearity | None = None
    crosstalk: F8 | None = None

    @property
    def is_empty(self) -> bool:
        """Nothing to correct with."""
        return all(getattr(self, item.name) is None for item in fields(self))
