"""Data-quality planes of observatories, translated to our mask planes.

Sources: ACS, WFC3, STIS, WFPC2 and NICMOS data handbooks (STScI), tables of DQ flags; JWST
pipeline documentation, "Data Quality Flags"; BANZAI (LCO) user documentation; DES Data Management
(Morganson et al. 2018, PASP 130, 074501, table 9); NOAO Data Handbook, DECam Community Pipeline;
GMOS and other DRAGONS data (Gemini); the `MP_` cards of LSST's masks and of our own.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from skyextract.datamodel.flags import Mask
from skyextract.record import record

if TYPE_CHECKING:
    from skyextract.datamodel.arrays import U2, AnyArray


MAX_REPAIRED = 0.1
"""Share of repaired pixels in a single exposure, at most; of a coadd, whose inputs were repaired
in different places, more are marked, and they are good."""


@record
class Quality:
    """What the numbers of a data-quality plane mean.

    Attributes
    ----------
    name : str
        Whose convention it is, for the user.
    bits : tuple of (int, Mask)
        Bits and the planes that they set; bits that are not listed harm no measurement.
    is_code : bool
        The numbers are codes 1, 2, 3 ... instead of bits.
    """

    name: str
    bits: tuple[tuple[int, Mask], ...]
    is_code: bool = False

    of_coadds: bool = False
    """Of a coadd, repaired pixels of all its input frames are marked."""

    def translate(self, numbers: AnyArray) -> U2:
        """Return the mask (uint16) of a plane of integers."""
        mask = np.zeros(numbers.shape, np.uint16)
        for bit, plane in self.bits:
            hit = numbers == bit if self.is_code else (numbers & numbers.dtype.type(bit)) != 0
            if self.of_coadds and plane in (Mask.INTRP, Mask.CR) and np.mean(hit) > MAX_REPAIRED:
                mask |= np.where(hit, np.uint16(Mask.SUSPECT), np.uint16(0))
            else:
                mask |= np.where(hit, np.uint16(plane), np.uint16(0))
        return mask


_CR = Mask.CR | Mask.BAD  # nobody has repaired it
ANY_NUMBER = Quality("any number but 0 is bad", ())
"""The meaning of a mask that nothing is known of."""

_HST_CCD = (
    (1 | 2 | 4 | 8 | 16, Mask.BAD), (32 | 64 | 128 | 512 | 1024, Mask.SUSPECT),
    (256 | 2048, Mask.SAT), (4096 | 8192, _CR),
)  # fmt: skip
_HST = {
    "ACS": _HST_CCD,
    "WFC3": _HST_CCD,
    "STIS": (
        (1 | 2 | 4 | 8 | 16, Mask.BAD), (32 | 512 | 1024, Mask.SUSPECT), (256, Mask.SAT),
        (8192, _CR),
    ),
    "WFPC2": (
        (1 | 2 | 4 | 16 | 32 | 512, Mask.BAD), (8, Mask.SAT), (256 | 1024, Mask.SUSPECT),
    ),
    "NICMOS": (
        (1 | 32 | 128 | 256, Mask.BAD), (2 | 4 | 8 | 16, Mask.SUSPECT), (64, Mask.SAT),
    ),
}  # fmt: skip
_WFC3_IR = (
    (1 | 2 | 4 | 8 | 16, Mask.BAD), (32 | 64 | 128 | 512 | 2048, Mask.SUSPECT), (256, Mask.SAT),
    (4096, _CR),
)  # fmt: skip
"""calwf3 fits cosmic rays (8192) out of the ramps of the IR channel: the pixel is good."""

_JWST = Quality("JWST", ((1 | 512, Mask.BAD), (2, Mask.SAT)))
_BANZAI = Quality("BANZAI", ((1, Mask.BAD), (2, Mask.SAT), (4 | 16, Mask.SUSPECT), (8, _CR)))
_DES = Quality(
    "DES",
    (
        (1 | 8 | 64 | 512, Mask.BAD), (2, Mask.SAT), (4 | 4096, Mask.INTRP), (16, _CR),
        (128 | 1024 | 2048, Mask.SUSPECT), (256, Mask.CROSSTALK), (8192, Mask.EDGE),
    ),
)  # fmt: skip
_DECAM_CODES = Quality(
    "DECam community pipeline",
    (
        (1, Mask.BAD), (2, Mask.NO_DATA), (3, Mask.SAT), (4, Mask.SAT), (5, _CR),
        (6, Mask.BAD), (7, Mask.SUSPECT), (8, Mask.BAD),
    ),
    is_code=True,
)  # fmt: skip
_DRAGONS = Quality(
    "DRAGONS",
    ((1 | 16, Mask.BAD), (2, Mask.SUSPECT), (4, Mask.SAT), (8, _CR)),
)
_OURS = {"BAD", "SAT", "INTRP", "CR", "EDGE", "NO_DATA", "SUSPECT", "CROSSTALK"}


def quality_of(header: Mapping[str, Any]) -> Quality:
    """Return the convention of a data-quality plane, by the cards of its file.

    Parameters
    ----------
    header : mapping
        Header of the plane, with what the image and the primary header say.
    """

    def card(keyword: str) -> str:
        return str(header.get(keyword) or "").strip().upper()

    planes = _named_planes(header)
    if planes:
        return Quality("MP_ cards", planes, of_coadds=True)
    instrument, telescope = card("INSTRUME"), card("TELESCOP")
    if telescope == "HST" and instrument in _HST:
        infrared = instrument == "WFC3" and card("DETECTOR") == "IR"
        return Quality(f"HST {instrument}", _WFC3_IR if infrared else _HST[instrument])
    if telescope == "JWST":
        return _JWST
    if telescope.startswith("GEMINI"):
        return _DRAGONS
    if "L1IDMASK" in header or card("ORIGIN") in ("LCOGT", "LCO"):
        return _BANZAI
    if instrument == "DECAM" or "DES_EXT" in header:
        return _DECAM_CODES if "PLVER" in header else _DES
    return ANY_NUMBER


def _named_planes(header: Mapping[str, Any]) -> tuple[tuple[int, Mask], ...]:
    """Return the bits that MP_ cards name; of LSST's many, those that mean something here."""
    found: list[tuple[int, Mask]] = []
    for keyword in header:
        match = re.match(r"(?:HIERARCH )?MP_(\w+)$", keyword.upper())
        number = header[keyword] if match else None
        if match is None or isinstance(number, bool) or not isinstance(number, int):
            continue
        if match[1] in _OURS and 0 <= number < 31:
            found.append((1 << number, Mask[match[1]]))
    return tuple(found)
