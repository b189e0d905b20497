"""From pixels to the sky and back: gnomonic frames in closed form, all others by wcslib."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from skyextract.datamodel.arrays import F8
from skyextract.datamodel.header import Header, set_cards
from skyextract.errors import ImageError
from skyextract.messages import quiet
from skyextract.sky.frames import unit_vectors

_LONGITUDES = {"RA---TAN": "DEC--TAN", "GLON-TAN": "GLAT-TAN"}
_LINEAR = {f"{name}{i}" for name in ("CTYPE", "CRVAL", "CRPIX", "CDELT", "CUNIT") for i in (1, 2)}
_MATRIX = {f"{name}{i}_{j}" for name in ("CD", "PC") for i in (1, 2) for j in (1, 2)}
_FRAME = {"CROTA2", "LONPOLE", "LATPOLE", "RADESYS", "RADECSYS", "EQUINOX", "EPOCH", "WCSAXES"}
_WCSLIB_PLACE = re.compile(r"ERROR \d+ in \w+\(\) at line \d+ of file \S+:")
"""What wcslib puts before each line of a message."""


class Projection(Protocol):
    """Flat arrays of 0-based pixels to longitude and latitude (deg), and back."""

    def to_sky(self, x: F8, y: F8) -> tuple[F8, F8]:
        """Return longitude and latitude; NaN where there is no answer."""

    def to_pixel(self, lon: F8, lat: F8) -> tuple[F8, F8]:
        """Return pixels; NaN where there is no answer."""


def projection_of(cards: Mapping[str, Any]) -> Projection:
    """Return the projection that WCS cards describe; ImageError if wcslib refuses them."""
    return Gnomonic(cards) if is_gnomonic(cards) else Wcslib(cards)


def is_gnomonic(cards: Mapping[str, Any]) -> bool:
    """Whether WCS cards are a TAN projection in degrees without distortion.

    One with its pole elsewhere (LONPOLE), centred on a pole, or with a CROTA2 that is not that
    of the latitude, is wcslib's.
    """
    first, second = (str(cards.get(f"CTYPE{i}")) for i in (1, 2))
    straight = _LONGITUDES.get(first) == second
    if not straight and (_LONGITUDES.get(second) != first or "CROTA2" in cards):
        return False
    return (
        set(cards) <= _LINEAR | _MATRIX | _FRAME
        and all(str(cards.get(f"CUNIT{i}", "deg")).strip() == "deg" for i in (1, 2))
        and cards.get("LONPOLE", 180.0) == 180.0
        and cards.get("WCSAXES", 2) == 2
        and abs(float(cards["CRVAL2" if straight else "CRVAL1"])) < 90.0
    )


class Gnomonic:
    """The tangent plane (Calabretta & Greisen 2002, A&A 395, 1077, section 5.1.3).

    Parameters
    ----------
    cards : mapping
        For which `is_gnomonic` holds; CD, or PC or CROTA2 with CDELT.

    Raises
    ------
    ImageError
        The matrix is singular.
    """

    def __init__(self, cards: Mapping[str, Any]) -> None:
        self._lon = 0 if cards["CTYPE1"] in _LONGITUDES else 1
        centre = [float(cards[f"CRVAL{i}"]) for i in (1, 2)]
        self._lon0, self._lat0 = centre[self._lon], math.radians(centre[1 - self._lon])
        self._pixel = np.array([float(cards[f"CRPIX{i}"]) - 1.0 for i in (1, 2)])
        self._matrix = _matrix(cards)
        (a, b), (c, d) = self._matrix
        area = a * d - b * c
        if not (math.isfinite(area) and area != 0.0):
            raise ImageError("WCS is not usable (a pixel has no area)")
        self._inverse: F8 = np.array([[d, -b], [-c, a]]) / area

    def to_sky(self, x: F8, y: F8) -> tuple[F8, F8]:
        """Return longitude and latitude."""
        plane = np.radians(
            self._matrix @ np.stack([np.ravel(x - self._pixel[0]), np.ravel(y - self._pixel[1])])
        )
        east, north = plane[self._lon], plane[1 - self._lon]
        sine, cosine = math.sin(self._lat0), math.cos(self._lat0)
        along = cosine - north * sine
        lon = self._lon0 + np.degrees(np.arctan2(east, along))
        lat = np.degrees(np.arctan2(sine + north * cosine, np.hypot(east, along)))
        return np.asarray(lon % 360.0), np.asarray(lat)

    def to_pixel(self, lon: F8, lat: F8) -> tuple[F8, F8]:
        """Return pixels; NaN for the half of the sky that is behind the plane."""
        sine, cosine = math.sin(self._lat0), math.cos(self._lat0)
        turn, lat = np.radians(lon - self._lon0), np.radians(lat)
        depth = sine * np.sin(lat) + cosine * np.cos(lat) * np.cos(turn)
        depth = np.where(depth > 0.0, depth, np.nan)
        east = np.cos(lat) * np.sin(turn) / depth
        north = (cosine * np.sin(lat) - sine * np.cos(lat) * np.cos(turn)) / depth
        axes = (east, north) if self._lon == 0 else (north, east)
        pixel = self._inverse @ np.degrees(np.stack(axes))
        return pixel[0] + self._pixel[0], pixel[1] + self._pixel[1]


def _matrix(cards: Mapping[str, Any]) -> F8:
    """Return degrees per pixel (Greisen & Calabretta 2002, A&A 395, 1061, section 2.1)."""
    if any(key.startswith("CD") and "_" in key for key in cards):
        return np.array([[float(cards.get(f"CD{i}_{j}", 0.0)) for j in (1, 2)] for i in (1, 2)])
    steps = [float(cards.get(f"CDELT{i}", 1.0)) for i in (1, 2)]
    if any(key.startswith("PC") for key in cards):
        pc = [[float(cards.get(f"PC{i}_{j}", float(i == j))) for j in (1, 2)] for i in (1, 2)]
        scaled: F8 = np.array(steps)[:, np.newaxis] * np.array(pc)
        return scaled
    angle = math.radians(float(cards.get("CROTA2", 0.0)))
    sine, cosine = math.sin(angle), math.cos(angle)
    return np.array([[steps[0] * cosine, -steps[1] * sine], [steps[0] * sine, steps[1] * cosine]])


class Wcslib:
    """Any projection, and the distortions that go with it, by wcslib through `astropy.wcs`.

    Parameters
    ----------
    cards : mapping
        The FITS cards of the WCS.

    Raises
    ------
    ImageError
        wcslib refuses them, or they have no pair of celestial axes.
    """

    def __init__(self, cards: Mapping[str, Any]) -> None:
        from astropy.io import fits
        from astropy.wcs import WCS

        text = set_cards(Header(), cards).tostring(padding=False)
        try:
            with quiet():
                wcs = WCS(fits.Header.fromstring(text))
                wcs = wcs.celestial if wcs.naxis > 2 else wcs
                wcs.wcs.set()
        except (ValueError, KeyError, TypeError, AssertionError, MemoryError) as error:
            text = _WCSLIB_PLACE.sub(" ", str(error))
            reason = " ".join(text.split()) or type(error).__name__
            raise ImageError(f"WCS is not usable ({reason[:120]})") from None
        if wcs.naxis != 2 or wcs.wcs.lng < 0 or wcs.wcs.lat < 0:
            raise ImageError("WCS without a pair of celestial axes")
        self._wcs = wcs

    def _order(self, a: F8, b: F8) -> tuple[F8, F8]:
        return (a, b) if self._wcs.wcs.lng == 0 else (b, a)

    def to_sky(self, x: F8, y: F8) -> tuple[F8, F8]:
        """Return longitude and latitude."""
        lon, lat = self._order(*self._wcs.all_pix2world(x, y, 0))
        return lon % 360.0, lat

    def to_pixel(self, lon: F8, lat: F8) -> tuple[F8, F8]:
        """Return pixels."""
        pixel = self._wcs.all_world2pix(*self._order(lon, lat), 0, quiet=True, tolerance=1e-9)
        x, y = (np.array(c, np.float64) for c in pixel)
        # an inverse that did not converge comes back as any pixel
        error = np.linalg.norm(unit_vectors(*self.to_sky(x, y)) - unit_vectors(lon, lat), axis=-1)
        x[~(error < 1e-8)] = np.nan
        return x, y
