"""Sky coordinates of pixels, by wcslib through `astropy.wcs`, which is imported at first use."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from skyextract.datamodel.arrays import F8
from skyextract.datamodel.header import set_cards
from skyextract.errors import ImageError
from skyextract.messages import quiet
from skyextract.sky.frames import SkyFrame, tangent_axes, to_j2000, unit_vectors

if TYPE_CHECKING:
    from astropy.wcs import WCS


_CELESTIAL = {
    "RA": "", "DEC": "", "GLON": "GALACTIC", "GLAT": "GALACTIC", "ELON": "ECLIPTIC",
    "ELAT": "ECLIPTIC", "SLON": "SUPERGALACTIC", "SLAT": "SUPERGALACTIC",
}  # fmt: skip
_PARTNER = {"DEC": "RA", "GLAT": "GLON", "ELAT": "ELON", "SLAT": "SLON"}
_PROJECTIONS = (
    "AZP SZP TAN TPV TPD TNX ZPX DSS STG SIN ARC ZPN ZEA AIR CYP CEA CAR MER COP COE COD COO SFL"
    " PAR MOL AIT BON PCO TSC CSC QSC HPX XPH"
)


_NO_SIZE = 1e-10
"""Side of a pixel (deg) that is rounding noise."""
_SINGULAR = 1e-6
"""Area of a pixel on the sky, over the square of its size, that counts as none."""


class SkyWcs:
    """The celestial WCS of an image; positions in pixels are 0-based.  Immutable.

    Parameters
    ----------
    cards : mapping
        The FITS cards that describe it, as `to_header` returns them.
    shape : (int, int), optional
        Shape [y, x] of the image, of which `centre` is the middle.
    """

    def __init__(self, cards: Mapping[str, Any], shape: tuple[int, int] | None = None) -> None:
        self._cards = dict(cards)
        self._shape = shape
        self.frame = frame_of(self._cards)

    @classmethod
    def from_header(cls, header: Any) -> SkyWcs | None:
        """Read the WCS of a header; None if it has no celestial one.

        TAN with SCAMP's PV coefficients becomes TPV, and TPV without any becomes TAN, as in
        SCAMP.  Missing ones among others are 0 for wcslib and for SCAMP, PVi_1 too.

        Parameters
        ----------
        header : Header or mapping
            An astropy header, or a plain dictionary of cards.

        Raises
        ------
        ImageError
            Celestial axes, but a WCS that is incomplete, contradictory or singular.
        """
        axes = [str(header.get(f"CTYPE{i}") or "").strip().upper() for i in range(1, 10)]
        if not any(axis[:4].rstrip("-") in _PARTNER and axis[4:5] == "-" for axis in axes):
            return None
        shape = None
        if isinstance(header.get("NAXIS1"), int) and isinstance(header.get("NAXIS2"), int):
            shape = (header["NAXIS2"], header["NAXIS1"])
        cards = _numbers(wcs_cards(header))
        _check_complete(cards, axes)
        kinds = {axis[4:] for axis in axes[:2]}
        projection = ""
        if kinds == {"-TAN"} and "A_ORDER" not in cards and _has_scamp_pv(cards):
            projection = "-TPV"
        elif kinds == {"-TPV"} and not any(key.startswith("PV") for key in cards):
            projection = "-TAN"
        if projection:
            cards.update({f"CTYPE{i}": axes[i - 1][:4] + projection for i in (1, 2)})
        return cls(cards, shape)

    @property
    def shape(self) -> tuple[int, int] | None:
        """Shape [y, x] of the image in pixels, None if the header did not tell."""
        return self._shape

    @cached_property
    def wcs(self) -> WCS:
        """The mapping as an astropy WCS; ImageError if wcslib refuses the cards."""
        return _astropy_wcs(self._cards)

    def check(self) -> None:
        """Raise an ImageError if wcslib refuses the cards, or they map a pixel to a line."""
        j = self._central_jacobian()
        if abs(_determinant(j)) <= _SINGULAR * (float(np.sum(j * j)) + _NO_SIZE**2):
            raise ImageError("WCS is not usable (singular at the centre of the image)")

    @property
    def centre(self) -> tuple[float, float]:
        """The 0-based middle of the image, or the reference pixel if its size is unknown."""
        if self._shape is not None:
            return (self._shape[1] - 1) / 2.0, (self._shape[0] - 1) / 2.0
        return float(self._cards["CRPIX1"]) - 1.0, float(self._cards["CRPIX2"]) - 1.0

    def to_sky(self, x: F8, y: F8) -> tuple[F8, F8]:
        """Return longitude and latitude (deg, native frame) of 0-based pixels.

        Arrays of any one shape, or numbers; NaN where the projection has no answer.
        """
        return _apply(self._to_sky, x, y)

    def to_pixel(self, lon: F8, lat: F8) -> tuple[F8, F8]:
        """Return 0-based pixels of native longitude and latitude (deg); NaN for failures."""
        return _apply(self._to_pixel, lon, lat)

    def _order(self, a: F8, b: F8) -> tuple[F8, F8]:
        return (a, b) if self.wcs.wcs.lng == 0 else (b, a)

    def _to_sky(self, x: F8, y: F8) -> tuple[F8, F8]:
        lon, lat = self._order(*self.wcs.all_pix2world(x, y, 0))
        return lon % 360.0, lat

    def _to_pixel(self, lon: F8, lat: F8) -> tuple[F8, F8]:
        pixel = self.wcs.all_world2pix(*self._order(lon, lat), 0, quiet=True, tolerance=1e-9)
        x, y = (np.array(c, np.float64) for c in pixel)
        # an inverse that did not converge comes back as any pixel
        error = np.linalg.norm(unit_vectors(*self._to_sky(x, y)) - unit_vectors(lon, lat), axis=-1)
        x[~(error < 1e-8)] = np.nan
        return x, y

    def to_j2000(self, x: F8, y: F8) -> tuple[F8, F8]:
        """Return right ascension and declination, equinox J2000 (deg), of 0-based pixels."""
        return to_j2000(self.frame, *self.to_sky(x, y))

    def jacobian(self, x: F8, y: F8) -> F8:
        """Return the local derivative of the sky by the pixels.

        Returns
        -------
        (..., 2, 2) float64
            Degrees on the sky per pixel: [0] eastwards (longitude times cos latitude),
            [1] northwards; last axis x, y.  Central differences over one pixel of unit
            vectors, so that it holds at the poles and at longitude 0.
        """
        x, y = np.broadcast_arrays(np.asarray(x, np.float64), np.asarray(y, np.float64))
        east, north = tangent_axes(*self.to_sky(x, y))
        columns = []
        for dx, dy in ((0.5, 0.0), (0.0, 0.5)):
            step = unit_vectors(*self.to_sky(x + dx, y + dy))
            step -= unit_vectors(*self.to_sky(x - dx, y - dy))
            columns.append(
                np.stack([np.sum(step * east, axis=-1), np.sum(step * north, axis=-1)], axis=-1)
            )
        derivative: F8 = np.degrees(np.stack(columns, axis=-1))
        return derivative

    def pixel_scale(self, x: float | None = None, y: float | None = None) -> float:
        """Return the side (arcsec) of a square of the area of a pixel, by default of the centre."""
        cx, cy = self.centre
        j = self.jacobian(np.array(cx if x is None else x), np.array(cy if y is None else y))
        return math.sqrt(abs(_determinant(j))) * 3600.0

    def _central_jacobian(self) -> F8:
        x, y = self.centre
        return self.jacobian(np.array(x), np.array(y))

    @property
    def parity(self) -> int:
        """Handedness: -1 as the sky is seen (north up, east left), +1 mirrored."""
        return 1 if _determinant(self._central_jacobian()) > 0 else -1

    @property
    def rotation(self) -> float:
        """Position angle (deg, north through east, -180..180) of the +y axis at the centre."""
        j = self._central_jacobian()
        return math.degrees(math.atan2(j[0, 1], j[1, 1]))

    def to_header(self) -> dict[str, Any]:
        """Return the FITS cards of the WCS."""
        return dict(self._cards)


def _determinant(j: F8) -> float:
    return float(j[0, 0] * j[1, 1] - j[0, 1] * j[1, 0])


def _apply(function: Any, a: F8, b: F8) -> tuple[F8, F8]:
    """Apply a function of two flat arrays to arrays of any shape; NaN where it fails."""
    a, b = np.broadcast_arrays(np.asarray(a, np.float64), np.asarray(b, np.float64))
    flat_a, flat_b = np.array(a).ravel(), np.array(b).ravel()
    lost = ~np.isfinite(flat_a + flat_b)
    flat_a[lost] = flat_b[lost] = 0.0
    with np.errstate(all="ignore"):
        first, second = (np.array(c, np.float64) for c in function(flat_a, flat_b))
    lost |= ~np.isfinite(first + second)
    first[lost] = second[lost] = np.nan
    return first.reshape(a.shape), second.reshape(a.shape)


_WCS_KEY = re.compile(
    r"(WCSAXES|CTYPE\d|CRVAL\d|CRPIX\d|CDELT\d|CROTA\d|CUNIT\d|CD\d_\d|PC\d_\d|PC00\d00\d"
    r"|P[VS]\d_\d+|LONPOLE|LATPOLE|RADESYS|RADECSYS|EQUINOX|EPOCH"
    r"|[AB]P?_(ORDER|\d+_\d+)|[AB]_DMAX|CPDIS\d|CQDIS\d|D2IMDIS\d)$"
)

_NUMERIC_KEY = re.compile(r"(CRVAL|CRPIX|CDELT|CROTA|CD\d_|PC\d|PV\d_|LONPOLE|LATPOLE|[AB]P?_)")


def is_wcs_keyword(keyword: str) -> bool:
    """Whether a card belongs to the primary celestial WCS of an image."""
    return _WCS_KEY.match(keyword) is not None


def wcs_cards(header: Any) -> dict[str, Any]:
    """Return the cards of the primary WCS that have a value."""
    found: dict[str, Any] = {}
    for keyword in header:
        if is_wcs_keyword(keyword) and keyword not in found and header[keyword] is not None:
            found[keyword] = header[keyword]
    return found


def _numbers(cards: dict[str, Any]) -> dict[str, Any]:
    """Return the cards with numbers that were written as text read as numbers."""
    checked = dict(cards)
    for keyword, value in cards.items():
        if not _NUMERIC_KEY.match(keyword):
            continue
        try:
            number = float(value)
        except (TypeError, ValueError):
            number = math.nan
        if not math.isfinite(number):
            raise ImageError(f"WCS card {keyword} = {value} is no number")
        if isinstance(value, str):
            checked[keyword] = number
    return checked


def frame_of(cards: Mapping[str, Any]) -> SkyFrame:
    """Return the celestial frame that WCS cards name (FITS Standard 4.0, section 8.3)."""
    for i in range(1, 10):
        name = _CELESTIAL.get(str(cards.get(f"CTYPE{i}") or "")[:4].rstrip("-").strip().upper())
        if name:
            return SkyFrame(name)
    system = str(cards.get("RADESYS") or cards.get("RADECSYS") or "").strip().upper()
    year = re.search(r"\d+\.?\d*", str(cards.get("EQUINOX") or cards.get("EPOCH") or ""))
    equinox = float(year[0]) if year else math.nan
    if system.startswith("FK4") or (not system and equinox < 1984.0):
        return SkyFrame("FK4", 1950.0 if math.isnan(equinox) else equinox)
    if system == "FK5" or (not system and not math.isnan(equinox)):
        return SkyFrame("FK5", 2000.0 if math.isnan(equinox) else equinox)
    return SkyFrame()


def _has_scamp_pv(cards: Mapping[str, Any]) -> bool:
    """Whether PV cards of a TAN header are SCAMP's old way to say TPV.

    A real TAN projection has no parameters on its latitude axis; on the longitude axis it may
    have PV1_0..PV1_4 (native reference point and pole), which SCAMP always writes with PV2.
    """
    return any(key.startswith("PV2_") for key in cards)


def _check_complete(cards: Mapping[str, Any], axes: Sequence[str]) -> None:
    kinds = {axis[:4].rstrip("-"): axis[5:8] for axis in axes if axis[4:5] == "-"}
    latitude = next(kind for kind in kinds if kind in _PARTNER)
    if kinds.get(_PARTNER[latitude]) != kinds[latitude]:
        raise ImageError(f"WCS without a pair of celestial axes ({' '.join(filter(None, axes))})")
    if kinds[latitude] not in _PROJECTIONS:
        raise ImageError(f"WCS with the unknown projection {kinds[latitude]}")
    missing = [key for key in ("CRVAL1", "CRVAL2", "CRPIX1", "CRPIX2") if key not in cards]
    if missing:
        raise ImageError(f"WCS without {' '.join(missing)}")
    if not any(key.startswith(("CD", "PC")) for key in cards):
        raise ImageError("WCS without CD matrix or CDELT: the pixel scale is unknown")
    keys = [f"CD{i}_{j}" for i in (1, 2) for j in (1, 2)]
    cd = [cards.get(key, 0.0) for key in keys]
    if any(key in cards for key in keys) and cd[0] * cd[3] == cd[1] * cd[2]:
        raise ImageError("WCS with a singular CD matrix")
    if 0.0 in (cards.get("CDELT1"), cards.get("CDELT2")) and not set(keys) & set(cards):
        raise ImageError("WCS with CDELT = 0")
    if any(key.startswith(("CPDIS", "CQDIS", "D2IMDIS")) for key in cards):
        raise ImageError("WCS with a distortion table (CPDIS, D2IMDIS), which is not supported")


def _astropy_wcs(cards: Mapping[str, Any]) -> WCS:
    """Build an astropy WCS without its chatter; ImageError if wcslib refuses."""
    from astropy.io.fits import Header
    from astropy.wcs import WCS

    try:
        with quiet():
            wcs = WCS(set_cards(Header(), cards))
            wcs = wcs.celestial if wcs.naxis > 2 else wcs
            wcs.wcs.set()
    except (ValueError, KeyError, TypeError, AssertionError, MemoryError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ImageError(f"WCS is not usable ({reason[:120]})") from None
    if wcs.naxis != 2 or wcs.wcs.lng < 0 or wcs.wcs.lat < 0:
        raise ImageError("WCS without a pair of celestial axes")
    return wcs
