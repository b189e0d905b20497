"""Sky coordinates of pixels."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from skyextract.datamodel.arrays import F8
from skyextract.datamodel.projection import Projection, is_gnomonic, projection_of
from skyextract.datamodel.wcscards import read_cards
from skyextract.errors import ImageError
from skyextract.sky.angles import ARCSEC
from skyextract.sky.frames import SkyFrame, tangent_axes, to_j2000, unit_vectors

if TYPE_CHECKING:
    from skyextract.run import Run


_CELESTIAL = {
    "RA": "", "DEC": "", "GLON": "GALACTIC", "GLAT": "GALACTIC", "ELON": "ECLIPTIC",
    "ELAT": "ECLIPTIC", "SLON": "SUPERGALACTIC", "SLAT": "SUPERGALACTIC",
}  # fmt: skip

LATITUDES = ("DEC", "GLAT", "ELAT", "SLAT")
_DEGREES = {
    "deg": 1.0, "degree": 1.0, "degrees": 1.0, "rad": math.degrees(1.0), "arcmin": 1.0 / 60.0,
    "arcsec": 1.0 / ARCSEC, "mas": 1e-3 / ARCSEC,
}  # fmt: skip
"""Of the units of angles that FITS knows (Standard 4.0, table 3)."""
_NUMBER = re.compile(r"\d+\.?\d*")
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
    notes : sequence of str
        What was taken for what in a header that contradicts itself, for the user.
    """

    def __init__(
        self,
        cards: Mapping[str, Any],
        shape: tuple[int, int] | None = None,
        notes: Sequence[str] = (),
    ) -> None:
        self._cards = dict(cards)
        self._shape = shape
        self.notes = tuple(notes)
        self.frame = frame_of(self._cards)

    @classmethod
    def from_header(cls, header: Any) -> SkyWcs | None:
        """Read the WCS of a header; None if it has no celestial one.

        `wcscards.read_cards` makes standard cards of the dialects of headers.

        Parameters
        ----------
        header : Header or mapping
            A header, ours or astropy's, or a plain dictionary of cards.

        Raises
        ------
        ImageError
            Celestial axes, but a WCS that is incomplete, contradictory or singular.
        """
        read = read_cards(header)
        if read is None:
            return None
        cards, notes = read
        shape = None
        if isinstance(header.get("NAXIS1"), int) and isinstance(header.get("NAXIS2"), int):
            shape = (header["NAXIS2"], header["NAXIS1"])
        return cls(cards, shape, notes)

    @property
    def shape(self) -> tuple[int, int] | None:
        """Shape [y, x] of the image in pixels, None if the header did not tell."""
        return self._shape

    @cached_property
    def _projection(self) -> Projection:
        return projection_of(self._cards)

    @property
    def takes_wcslib(self) -> bool:
        """Whether positions take wcslib, whose import is slow."""
        return not is_gnomonic(self._cards)

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

    @property
    def reference(self) -> tuple[float, float] | None:
        """Right ascension and declination, J2000 (deg), of CRVAL; None for a plate solution."""
        if "CRVAL1" not in self._cards:
            return None
        lon, lat = (
            float(self._cards[f"CRVAL{i}"]) * _DEGREES.get(self._unit(i), math.nan) for i in (1, 2)
        )
        if str(self._cards["CTYPE1"])[:4].rstrip("-") in LATITUDES:
            lon, lat = lat, lon
        ra, dec = to_j2000(self.frame, np.array([lon % 360.0]), np.array([lat]))
        return float(ra[0]), float(dec[0])

    def _unit(self, axis: int) -> str:
        return str(self._cards.get(f"CUNIT{axis}") or "deg").strip().lower()

    def to_sky(self, x: F8, y: F8) -> tuple[F8, F8]:
        """Return longitude and latitude (deg, native frame) of 0-based pixels.

        Arrays of any one shape, or numbers; NaN where the projection has no answer.
        """
        return _apply(self._projection.to_sky, x, y)

    def to_pixel(self, lon: F8, lat: F8) -> tuple[F8, F8]:
        """Return 0-based pixels of native longitude and latitude (deg); NaN for failures."""
        return _apply(self._projection.to_pixel, lon, lat)

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
        return math.sqrt(abs(_determinant(j))) * ARCSEC

    @property
    def pixel_ratio(self) -> float:
        """Shorter over longer axis of what is round on the sky, in pixels of the centre."""
        sides = np.linalg.svd(self._central_jacobian(), compute_uv=False)
        return float(sides[1] / sides[0])

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


def read_wcs(header: Any, run: Run, name: str) -> SkyWcs | None:
    """Return the WCS of a header; one that is not usable is None and a warning."""
    try:
        wcs = SkyWcs.from_header(header)
    except ImageError as error:
        run.warn(f"{name}: {error}: no sky coordinates")
        return None
    for note in wcs.notes if wcs is not None else ():
        run.warn(f"{name}: {note}")
    return wcs


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


def frame_of(cards: Mapping[str, Any]) -> SkyFrame:
    """Return the celestial frame that WCS cards name (FITS Standard 4.0, section 8.3)."""
    system = str(cards.get("RADESYS") or cards.get("RADECSYS") or "").strip().upper()
    year = _NUMBER.search(str(cards.get("EQUINOX") or cards.get("EPOCH") or ""))
    equinox = float(year[0]) if year else math.nan
    for i in range(1, 10):
        name = _CELESTIAL.get(str(cards.get(f"CTYPE{i}") or "")[:4].rstrip("-").strip().upper())
        if name == "ECLIPTIC" and not math.isnan(equinox):
            return SkyFrame(name, equinox)
        if name:
            return SkyFrame(name)
    if system.startswith("FK4") or (not system and equinox < 1984.0):
        return SkyFrame("FK4", 1950.0 if math.isnan(equinox) else equinox)
    if system == "FK5" or (not system and not math.isnan(equinox)):
        return SkyFrame("FK5", 2000.0 if math.isnan(equinox) else equinox)
    return SkyFrame()
