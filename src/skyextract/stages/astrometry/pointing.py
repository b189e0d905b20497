"""Where a frame is thought to be: from its WCS, or from pointing keywords and a scale."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from skyextract.datamodel.arrays import F8
from skyextract.datamodel.wcs import SkyWcs
from skyextract.errors import ImageError
from skyextract.record import record
from skyextract.settings.keywords import Astrometry as AstrometryConfig
from skyextract.sky.angles import ARCSEC, is_sexagesimal, parse_angle
from skyextract.sky.plate import stereographic

POINTING_KEYS = (
    ("RA", "DEC"), ("OBJCTRA", "OBJCTDEC"), ("RA-MNT", "DEC-MNT"), ("TELRA", "TELDEC"),
    ("RA_TEL", "DEC_TEL"), ("TELESCRA", "TELESCDE"), ("RA_PNT", "DEC_PNT"),
    ("RA_OBJ", "DEC_OBJ"), ("RA_TARG", "DEC_TARG"), ("RA_DEG", "DEC_DEG"), ("RADEG", "DECDEG"),
    ("OBSRA", "OBSDEC"), ("MOUNTRA", "MOUNTDEC"), ("CAT-RA", "CAT-DEC"), ("CENTRA", "CENTDEC"),
    ("RA_CENT", "DEC_CENT"), ("RAJ2000", "DEJ2000"), ("POINTRA", "POINTDEC"),
)  # fmt: skip
"""Keyword pairs of the pointing, in order of preference; CRVAL is the last resort."""

SCALE_KEYS = ("PIXSCALE", "SECPIX", "SECPIX1", "PIXSCAL1", "PIXSCAL", "PIXELSCL", "SCALE")
"""Keywords of the pixel scale in arcsec."""

SCALE_RANGE = (0.1, 60.0)
"""Arcsec per pixel searched when nothing is known."""


@record
class Start:
    """What is known about the frame before matching, and the limits of the search.

    Attributes
    ----------
    ra, dec : float
        Expected position of the frame's centre, deg.
    wcs : SkyWcs or None
        The header's WCS; None: pointing only.
    scales : tuple of float
        Nominal pixel scales to try, arcsec; each stands for a range of a factor
        exp(log_range) to both sides.
    log_range : float
    hard_scales : tuple of float
        Smallest and largest pixel scale that is accepted, arcsec.
    position : float
        Largest error of the centre per axis, deg.
    angle : float
        Largest error of the rotation, radians.
    flips : tuple of int
        0: parity as expected, 1: mirrored.
    shape : tuple of int
        Frame [y, x].
    """

    ra: float
    dec: float
    wcs: SkyWcs | None
    scales: tuple[float, ...]
    log_range: float
    hard_scales: tuple[float, float]
    position: float
    angle: float
    flips: tuple[int, ...]
    shape: tuple[int, int]

    @property
    def centre(self) -> tuple[float, float]:
        """The middle of the frame, 0-based x, y."""
        return 0.5 * (self.shape[1] - 1.0), 0.5 * (self.shape[0] - 1.0)

    def expected(self, x: F8, y: F8) -> tuple[F8, F8]:
        """Return the expected stereographic coordinates of pixels, about (ra, dec).

        In units of a nominal pixel (`scales[0]`): positive to the east and north.  Without a WCS
        north is up and east left.
        """
        if self.wcs is None:
            x0, y0 = self.centre
            return x0 - x, y - y0
        lon, lat = self.wcs.to_j2000(x, y)
        east, north = stereographic(lon, lat, self.ra, self.dec)
        unit = self.scales[0] / ARCSEC
        return east / unit, north / unit


_HOURS = re.compile(r"hour|[\[(]\s*h(rs?)?\s*[\])]|\bin h\b")
_RADIANS = re.compile(r"\brad(ians?)?\b")


def pointing(header: Mapping[str, Any]) -> tuple[float, float, str] | None:
    """Find where the telescope pointed.

    Returns
    -------
    tuple or None
        RA and Dec (deg, J2000) and the keyword of the RA; None if there is no pair of
        keywords with a value on the sphere.
    """
    for ra_key, dec_key in POINTING_KEYS:
        ra = parse_angle(header.get(ra_key), hours=True)
        dec = parse_angle(header.get(dec_key), hours=False)
        comment = comment_of(header, ra_key).lower()
        if not is_sexagesimal(header.get(ra_key)):
            if _HOURS.search(comment):
                ra *= 15.0
            elif _RADIANS.search(comment):
                ra, dec = math.degrees(ra), math.degrees(dec)
        if math.isfinite(ra) and -180.0 <= ra <= 360.0 and -90.0 <= dec <= 90.0:
            return *_to_j2000(ra % 360.0, dec, header), ra_key
    return _reference_point(header)


def unread_pointing(header: Mapping[str, Any]) -> str:
    """Quote the first pair of pointing keywords that have values; empty if none have."""
    for pair in POINTING_KEYS:
        values = [str(header.get(key, "")).strip() for key in pair]
        if any(values):
            return ", ".join(f"{k} = {v!r}" for k, v in zip(pair, values, strict=True))
    return ""


def _reference_point(header: Mapping[str, Any]) -> tuple[float, float, str] | None:
    """Return CRVAL in the frame, order and units of its WCS; of a WCS without axes, in degrees."""
    try:
        wcs = SkyWcs.from_header(header)
    except ImageError:
        wcs = None
    if wcs is not None and wcs.reference is not None:
        ra, dec = wcs.reference
    else:
        axes = [str(header.get(f"CTYPE{i}") or "").strip().upper() for i in (1, 2)]
        if not (axes[0][:2] in ("RA", "") and axes[1][:3] in ("DEC", "")):
            return None
        ra, dec = (parse_angle(header.get(f"CRVAL{i}"), hours=False) for i in (1, 2))
        if not (math.isfinite(ra) and -180.0 <= ra <= 360.0):
            return None
        ra, dec = _to_j2000(ra % 360.0, dec, header)
    return (ra, dec, "CRVAL1") if math.isfinite(ra) and -90.0 <= dec <= 90.0 else None


def comment_of(header: Mapping[str, Any], key: str) -> str:
    """Return the comment of a card; a plain mapping has none."""
    comments = getattr(header, "comments", None)
    return "" if comments is None or key not in header else str(comments[key])


def _to_j2000(ra: float, dec: float, header: Mapping[str, Any]) -> tuple[float, float]:
    """Precess a pointing given for another equinox (IAU 1976, Lieske et al. 1977).

    The rotation angles to second order are good to a few arcsec over centuries.
    """
    equinox = parse_angle(header.get("EQUINOX", header.get("EPOCH")), hours=False)
    if not 1850.0 <= equinox <= 2150.0 or equinox == 2000.0:
        return ra, dec
    t = (equinox - 2000.0) / 100.0
    zeta, z, theta = (
        np.deg2rad((a * t + b * t * t) / ARCSEC)
        for a, b in ((2306.2181, 0.30188), (2306.2181, 1.09468), (2004.3109, -0.42665))
    )
    # From the equinox of date back to J2000: the inverse of the usual rotation.
    a, d = np.deg2rad(ra) - z, np.deg2rad(dec)
    x = np.cos(theta) * np.cos(d) * np.cos(a) + np.sin(theta) * np.sin(d)
    y = np.cos(d) * np.sin(a)
    w = -np.sin(theta) * np.cos(d) * np.cos(a) + np.cos(theta) * np.sin(d)
    right = np.rad2deg(np.arctan2(y, x) - zeta) % 360.0
    return float(right), float(np.rad2deg(np.arctan2(w, np.hypot(x, y))))


def header_scale(header: Mapping[str, Any]) -> float:
    """Return the pixel scale (arcsec) that keywords give; NaN if none does.

    Scale keywords first, then CDELT, then focal length (mm) and pixel size (micron): XPIXSZ
    includes the binning, PIXSIZE1 does not (SBFITSEXT and INDI conventions).
    """
    for key in SCALE_KEYS:
        value = parse_angle(header.get(key), hours=False)
        if _is_scale(abs(value)):
            return abs(value)
    step = ARCSEC * abs(parse_angle(header.get("CDELT1"), hours=False))
    if _is_scale(step) and step < 360.0:  # 1 degree is what says nothing
        return step
    focal = parse_angle(header.get("FOCALLEN"), hours=False)
    size = parse_angle(header.get("XPIXSZ"), hours=False)
    if not math.isfinite(size):
        binning = parse_angle(header.get("XBINNING", 1), hours=False)
        size = parse_angle(header.get("PIXSIZE1"), hours=False) * binning
    if focal > 0.0 and size > 0.0 and _is_scale(206.264806 * size / focal):
        return 206.264806 * size / focal
    return math.nan


def _is_scale(scale: float) -> bool:
    """Tell whether a number can be the size of a pixel on the sky (arcsec)."""
    return 1e-4 < scale < 3600.0  # not true of NaN


def read_start(
    header: Mapping[str, Any], shape: tuple[int, int], wcs: SkyWcs | None,
    config: AstrometryConfig, pixel_scale: float = 0.0,
) -> Start | None:  # fmt: skip
    """Collect what is known about the frame, and the limits of the search.

    Limits that are not set (None) are 1.0 arcmin, 5 deg, a factor 1.2 and the header's parity
    with a WCS; 60 arcmin, 180 deg, 1.2 and both parities with pointing keywords only.

    Returns
    -------
    Start or None
        None if there is neither a WCS nor a pointing.
    """
    centre = 0.5 * (shape[1] - 1.0), 0.5 * (shape[0] - 1.0)
    factor = config.pixscale_maxerr or 1.2
    if wcs is not None:
        lon, lat = wcs.to_j2000(np.array([centre[0]]), np.array([centre[1]]))
        scale = wcs.pixel_scale(*centre)
        if math.isfinite(float(lon[0])) and _is_scale(scale):
            return Start(
                float(lon[0]), float(lat[0]), wcs, (scale,), math.log(factor),
                (scale / factor, scale * factor),
                _default(config.position_maxerr, 1.0) / 60.0,
                math.radians(_default(config.posangle_maxerr, 5.0)),
                (0, 1) if config.match_flipped else (0,), shape,
            )  # fmt: skip
    found = pointing(header)
    if found is None:
        return None
    scale = pixel_scale or header_scale(header)
    if math.isfinite(scale):
        scales, log_range, hard = (scale,), math.log(factor), (scale / factor, scale * factor)
    else:
        # Ranges of a factor 1.25 to both sides that overlap a little.
        hard, log_range = SCALE_RANGE, math.log(1.25)
        n = math.ceil(math.log(hard[1] / hard[0]) / (1.9 * log_range))
        scales = tuple(np.geomspace(hard[0] * 1.2, hard[1] / 1.2, n).tolist())
    return Start(
        found[0], found[1], None, scales, log_range, hard,
        _default(config.position_maxerr, 60.0) / 60.0,
        math.radians(_default(config.posangle_maxerr, 180.0)),
        (0,) if config.match_flipped is False else (0, 1), shape,
    )  # fmt: skip


def search_region(
    header: Mapping[str, Any], shape: tuple[int, int], wcs: SkyWcs | None,
    config: AstrometryConfig, pixel_scale: float = 0.0,
) -> tuple[float, float, float] | None:  # fmt: skip
    """Return RA, Dec and radius (deg) of the sky where the frame can be; None if unknown.

    What `skyextract.io.reference.read_reference` needs to read only a part of a catalogue.
    """
    start = read_start(header, shape, wcs, config, pixel_scale)
    if start is None:
        return None
    half = 0.5 * math.hypot(*shape) * start.hard_scales[1] / ARCSEC
    return start.ra, start.dec, min(1.1 * half + math.sqrt(2.0) * start.position, 180.0)


def _default(value: float | None, default: float) -> float:
    return default if value is None else value
