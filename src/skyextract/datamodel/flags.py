"""Flag bits: of sources (FLAGS, FLAGS_SKY) and of pixels (the mask planes)."""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntFlag
from typing import Self

from skyextract.kernels import values


class DescribedFlag(IntFlag):
    """An IntFlag whose members carry their meaning in words, `text`."""

    text: str

    def __new__(cls, value: int, text: str = "") -> Self:
        """Return a member, or a combination of members without a text."""
        member = int.__new__(cls, value)
        member._value_ = value
        member.text = text
        return member


class Flags(DescribedFlag):
    """SExtractor's extraction flags, column FLAGS (int16)."""

    NEIGHBOURS = values.NEIGHBOURS, "neighbours or bad pixels bias the aperture photometry"
    BLENDED = values.BLENDED, "deblended from another source"
    SATURATED = values.SATURATED, "a pixel is saturated"
    TRUNCATED = values.TRUNCATED, "cut by the edge of the image"
    APERTURE_INCOMPLETE = values.APERTURE_INCOMPLETE, "aperture data incomplete"
    ISOPHOTE_INCOMPLETE = values.ISOPHOTE_INCOMPLETE, "isophotal data incomplete"
    DEBLEND_OVERFLOW = (
        values.DEBLEND_OVERFLOW,
        "memory overflow in deblending (cannot happen here)",
    )
    EXTRACT_OVERFLOW = (
        values.EXTRACT_OVERFLOW,
        "memory overflow in extraction (cannot happen here)",
    )


class FlagsSky(DescribedFlag):
    """Our own source flags, column FLAGS_SKY (int16)."""

    DEFAULT_PSF = 1, "the default PSF was used"
    COSMIC_RAY = 2, "a cosmic ray was repaired in the footprint"
    BAD_PIXEL = 4, "interpolated or bad pixel in the footprint"
    PSF_NOT_CONVERGED = 8, "the PSF fit did not converge"
    PSF_STAR = 16, "used as PSF star"
    ASTROMETRY = 32, "used for astrometry"
    ZERO_POINT = 64, "used for the zero point"
    NO_VARIANCE = 128, "no variance information"
    HIDDEN = 256, "found beneath other sources, when their fits were subtracted"
    GHOST = 512, "the image of a brighter source: a ghost, crosstalk"
    SHARP = 1024, "sharper than the PSF allows: a hot pixel, a cosmic ray"
    TRACK = 2048, "a piece of a line: a satellite, smear, bleeding, a spike; a flash of an aircraft"
    NO_POINT = (
        4096,
        "no point source by its PSF fit: extended, several not told apart, or in a part of the "
        "frame whose stars are not those of the PSF, or whose exposure is another",
    )


class Mask(DescribedFlag):
    """Mask planes (uint16), named as in LSST; the `MP_` cards give the bit numbers."""

    BAD = values.BAD, "bad pixel of the detector or of the weight map"
    SAT = values.SAT, "saturated"
    INTRP = values.INTRP, "interpolated over"
    CR = values.CR, "cosmic ray"
    EDGE = values.EDGE, "edge of the detector"
    NO_DATA = values.NO_DATA, "no value"
    DETECTED = values.DETECTED, "part of a source"
    SUSPECT = values.SUSPECT, "not to be trusted"
    CROSSTALK = values.CROSSTALK, "crosstalk of a bright source"


NO_SKY = Mask.BAD | Mask.SAT | Mask.NO_DATA | Mask.INTRP | Mask.CR
"""Pixels that do not show the sky."""


def flag_table(flags: Iterable[DescribedFlag]) -> str:
    """Return a Markdown table of bits and their meaning."""
    rows = [f"| {flag.value} | {flag.text} |" for flag in flags]
    return "\n".join(["| bit | meaning |", "| --- | --- |", *rows])
