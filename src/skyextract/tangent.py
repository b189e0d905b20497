"""Gnomonic (TAN) world coordinates with SIP or TPV distortion, in plain numpy.

Nearly all reduced images have one of these; doing them here saves the import of astropy.wcs,
which takes longer than a whole extraction.  `Tangent.from_header` returns None for anything
else, and `skyextract.wcs` then asks wcslib.

Sources: Calabretta & Greisen 2002, A&A 395, 1077 (TAN); Shupe et al. 2005, ADASS XIV, 491
(SIP); the FITS registry's description of TPV.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_MAX_ITERATIONS = 30
_PV_KEY = re.compile(r"PV[12]_\d+$")

# (power of the own axis, of the other axis, of the radius) of the TPV terms 0..39
_TPV_POWERS = (
    (0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1),
    (2, 0, 0), (1, 1, 0), (0, 2, 0),
    (3, 0, 0), (2, 1, 0), (1, 2, 0), (0, 3, 0), (0, 0, 3),
    (4, 0, 0), (3, 1, 0), (2, 2, 0), (1, 3, 0), (0, 4, 0),
    (5, 0, 0), (4, 1, 0), (3, 2, 0), (2, 3, 0), (1, 4, 0), (0, 5, 0), (0, 0, 5),
    (6, 0, 0), (5, 1, 0), (4, 2, 0), (3, 3, 0), (2, 4, 0), (1, 5, 0), (0, 6, 0),
    (7, 0, 0), (6, 1, 0), (5, 2, 0), (4, 3, 0), (3, 4, 0), (2, 5, 0), (1, 6, 0), (0, 7, 0),
    (0, 0, 7),
)  # fmt: skip


@dataclass(frozen=True)
class Polynomial2:
    """A polynomial sum of c x^i y^j r^k with its gradient; r = hypot(x, y)."""

    terms: tuple[tuple[float, int, int, int], ...]

    def __call__(self, x: Floats, y: Floats) -> tuple[Floats, Floats, Floats]:
        """Return value, derivative by x and derivative by y."""
        value, by_x, by_y = np.zeros_like(x), np.zeros_like(x), np.zeros_like(x)
        r = np.hypot(x, y) if any(k for _, _, _, k in self.terms) else x
        for c, i, j, k in self.terms:
            if k:
                value += c * r**k
                slope = c * k * r ** (k - 2) if k > 1 else c / np.maximum(r, 1e-300)
                by_x += slope * x
                by_y += slope * y
                continue
            value += c * x**i * y**j
            if i:
                by_x += c * i * x ** (i - 1) * y**j
            if j:
                by_y += c * j * x**i * y ** (j - 1)
        return value, by_x, by_y


@dataclass(frozen=True)
class Tangent:
    """TAN, TAN-SIP or TPV.

    Attributes
    ----------
    crpix : (2,) reference pixel, 0-based
    crval : (2,) its longitude and latitude in deg
    cd : (2, 2) deg per pixel
    sip : two polynomials in pixels from `crpix` that are added, or None
    tpv : two polynomials from intermediate to tangent-plane coordinates (deg), or None
    """

    crpix: Floats
    crval: Floats
    cd: Floats
    sip: tuple[Polynomial2, Polynomial2] | None = None
    tpv: tuple[Polynomial2, Polynomial2] | None = None

    @classmethod
    def from_header(cls, header: Mapping[str, Any] | Any) -> Tangent | None:
        """Read a header; None if it is not exactly one of the three simple cases.

        Two axes, longitude first, degrees, standard LONPOLE and one form of linear matrix.
        """
        ctype = [str(header.get(f"CTYPE{i}") or "").strip().upper() for i in (1, 2)]
        form = {axis[4:].lstrip("-") for axis in ctype}
        if len(form) != 1 or not form <= {"TAN", "TAN-SIP", "TPV"}:
            return None
        pair = (ctype[0][:4].rstrip("-"), ctype[1][:4].rstrip("-"))
        if pair not in (("RA", "DEC"), ("GLON", "GLAT"), ("ELON", "ELAT")):
            return None
        try:
            return cls._read(header, form.pop())
        except (TypeError, ValueError):
            return None

    @classmethod
    def _read(cls, header: Any, form: str) -> Tangent | None:
        def number(keyword: str, default: float | None = None) -> float:
            value = header.get(keyword, default)
            if isinstance(value, str | bool) or value is None or not np.isfinite(value):
                raise ValueError(keyword)
            return float(value)

        if int(header.get("WCSAXES") or 2) != 2 or "CTYPE3" in header or "PC001001" in header:
            return None
        if any(str(header.get(f"CUNIT{i}") or "deg").strip() != "deg" for i in (1, 2)):
            return None
        crval = np.array([number("CRVAL1"), number("CRVAL2")])
        crpix = np.array([number("CRPIX1"), number("CRPIX2")]) - 1.0
        if number("LONPOLE", 180.0) != 180.0 or abs(crval[1]) >= 90.0 or "CPDIS1" in header:
            return None
        cd = _linear(header, number)
        if cd is None or not abs(np.linalg.det(cd)) > 1e-30:
            return None
        sip = tpv = None
        if "A_ORDER" in header or "B_ORDER" in header:
            sip = (_sip_terms(header, "A", number), _sip_terms(header, "B", number))
        elif form == "TPV" or has_scamp_pv(header):
            tpv = (_tpv_terms(1, number), _tpv_terms(2, number))
        return cls(crpix, crval, cd, sip, tpv)

    def to_plane(self, x: Floats, y: Floats) -> tuple[Floats, Floats]:
        """Return tangent-plane coordinates (deg) of 0-based pixels."""
        u, v = x - self.crpix[0], y - self.crpix[1]
        if self.sip is not None:
            u, v = u + self.sip[0](u, v)[0], v + self.sip[1](u, v)[0]
        xi = self.cd[0, 0] * u + self.cd[0, 1] * v
        eta = self.cd[1, 0] * u + self.cd[1, 1] * v
        if self.tpv is not None:
            xi, eta = self.tpv[0](xi, eta)[0], self.tpv[1](xi, eta)[0]
        return xi, eta

    def to_sky(self, x: Floats, y: Floats) -> tuple[Floats, Floats]:
        """Return longitude and latitude (deg) of 0-based pixels."""
        xi, eta = (np.radians(c) for c in self.to_plane(x, y))
        s, c = np.sin(np.radians(self.crval[1])), np.cos(np.radians(self.crval[1]))
        depth = c - eta * s
        lon = (self.crval[0] + np.degrees(np.arctan2(xi, depth))) % 360.0
        return lon, np.degrees(np.arctan2(s + eta * c, np.hypot(xi, depth)))

    def to_pixel(self, lon: Floats, lat: Floats) -> tuple[Floats, Floats]:
        """Return 0-based pixels; NaN behind the tangent plane or without convergence."""
        turn, lat = np.radians(lon - self.crval[0]), np.radians(lat)
        s, c = np.sin(np.radians(self.crval[1])), np.cos(np.radians(self.crval[1]))
        depth = s * np.sin(lat) + c * np.cos(lat) * np.cos(turn)
        depth = np.where(depth > 0.0, depth, np.nan)
        xi = np.degrees(np.cos(lat) * np.sin(turn) / depth)
        eta = np.degrees((c * np.sin(lat) - s * np.cos(lat) * np.cos(turn)) / depth)
        if self.tpv is not None:
            xi, eta = _invert(self.tpv, xi, eta, 1e-13)
        inverse = np.linalg.inv(self.cd)
        u = inverse[0, 0] * xi + inverse[0, 1] * eta
        v = inverse[1, 0] * xi + inverse[1, 1] * eta
        if self.sip is not None:
            identity = (Polynomial2(((1.0, 1, 0, 0),)), Polynomial2(((1.0, 0, 1, 0),)))
            whole = (
                Polynomial2(identity[0].terms + self.sip[0].terms),
                Polynomial2(identity[1].terms + self.sip[1].terms),
            )
            u, v = _invert(whole, u, v, 1e-9)
        return u + self.crpix[0], v + self.crpix[1]


def has_scamp_pv(header: Any) -> bool:
    """Whether PV cards of a TAN header are SCAMP's old way to say TPV.

    A real TAN projection has no parameters on its latitude axis; on the longitude axis it may
    have PV1_0..PV1_4 (native reference point and pole), which SCAMP always writes with PV2.
    """
    return any(f"PV2_{k}" in header for k in range(40))


def _linear(header: Any, number: Any) -> Floats | None:
    indices = [(1, 1), (1, 2), (2, 1), (2, 2)]
    has_cd = any(f"CD{i}_{j}" in header for i, j in indices)
    has_pc = any(f"PC{i}_{j}" in header for i, j in indices)
    if has_cd and has_pc:
        return None
    if has_cd:
        return np.array([number(f"CD{i}_{j}", 0.0) for i, j in indices]).reshape(2, 2)
    step = np.array([number("CDELT1", 1.0), number("CDELT2", 1.0)])
    if not step.all():
        return None
    if has_pc:
        pc = np.array([number(f"PC{i}_{j}", float(i == j)) for i, j in indices]).reshape(2, 2)
        linear: Floats = step[:, None] * pc
        return linear
    angle = np.radians(number("CROTA2", 0.0))
    turn = np.array(
        [
            [np.cos(angle), -np.sin(angle) * step[1] / step[0]],
            [np.sin(angle) * step[0] / step[1], np.cos(angle)],
        ]
    )
    rotated: Floats = step[:, None] * turn
    return rotated


def _sip_terms(header: Any, letter: str, number: Any) -> Polynomial2:
    order = int(number(f"{letter}_ORDER", 0.0))
    terms = [
        (number(f"{letter}_{i}_{j}"), i, j, 0)
        for i in range(order + 1)
        for j in range(order + 1 - i)
        if f"{letter}_{i}_{j}" in header
    ]
    return Polynomial2(tuple(terms))


def _tpv_terms(axis: int, number: Any) -> Polynomial2:
    """Read one axis of TPV; PVi_1 is 1 unless given (wcslib has 0 there, against the registry)."""
    terms = []
    for k, (own, other, radius) in enumerate(_TPV_POWERS):
        c = number(f"PV{axis}_{k}", float(k == 1))
        if c:
            i, j = (own, other) if axis == 1 else (other, own)
            terms.append((c, i, j, radius))
    return Polynomial2(tuple(terms))


def _invert(
    polynomials: tuple[Polynomial2, Polynomial2], p: Floats, q: Floats, tolerance: float
) -> tuple[Floats, Floats]:
    """Solve f(x, y) = p, g(x, y) = q by Newton's method from (p, q); NaN where it fails."""
    x, y = p.copy(), q.copy()
    step = np.full_like(x, np.inf)
    for _ in range(_MAX_ITERATIONS):
        f, fx, fy = polynomials[0](x, y)
        g, gx, gy = polynomials[1](x, y)
        determinant = fx * gy - fy * gx
        dx = ((p - f) * gy - (q - g) * fy) / determinant
        dy = ((q - g) * fx - (p - f) * gx) / determinant
        x, y = x + dx, y + dy
        step = np.maximum(np.abs(dx), np.abs(dy))
        if not np.any(step > tolerance):
            break
    lost = ~(step <= tolerance * 1e3)
    x[lost] = y[lost] = np.nan
    return x, y
