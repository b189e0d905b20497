"""IRAF's projections TNX and ZPX: the surfaces of their WAT cards, as cards that wcslib knows.

A TNX is a TAN, a ZPX a ZPN, after polynomial corrections of the intermediate coordinates (deg):
xi' = xi + lngcor(xi, eta), eta' = eta + latcor(xi, eta).  So a TNX is a TPV, and a ZPX is a ZPN
with SIP polynomials, without loss.  Format: NOAO, "The TNX World Coordinate System" and "The ZPX
World Coordinate System"; surfaces: IRAF's gsurfit.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from skyextract.sky.plate import TPV_FIRST

if TYPE_CHECKING:
    from skyextract.datamodel.arrays import F8

_CARD_LENGTH = 68
_CHEBYSHEV, _LEGENDRE, _POLYNOMIAL = 1, 2, 3
_NO_CROSS_TERMS, _FULL, _HALF = 0, 1, 2
_MAX_SIP = 9


def attributes(header: Mapping[str, Any], axis: int) -> dict[str, str]:
    """Return the words of the cards WATn_001, WATn_002 ... of an axis: name and value.

    A value that ends in blanks loses them when it is read, so that cards are filled up again
    before they are joined.
    """
    text, number = "", 1
    while (part := header.get(f"WAT{axis}_{number:03d}")) is not None:
        text += str(part).ljust(_CARD_LENGTH)
        number += 1
    found = re.findall(r'(\w+)\s*=\s*(?:"([^"]*)"?|(\S+))', text)
    return {name.lower(): quoted or plain for name, quoted, plain in found}


def surface(text: str) -> F8:
    """Return the power series of a gsurfit surface: [i, j] is the coefficient of xi^i eta^j.

    Raises
    ------
    ValueError
        No surface, or one of an unknown kind.
    """
    values = [float(word) for word in text.split()]
    if len(values) < 9:
        raise ValueError("a surface with fewer than nine numbers")
    kind, n_xi, n_eta, cross = (round(value) for value in values[:4])
    if kind not in (_CHEBYSHEV, _LEGENDRE, _POLYNOMIAL) or cross not in (0, 1, 2):
        raise ValueError(f"a surface of the unknown kind {kind} {cross}")
    if not (1 <= n_xi <= 10 and 1 <= n_eta <= 10):
        raise ValueError(f"a surface of the orders {n_xi} and {n_eta}")
    powers = _powers(kind, n_xi, values[4], values[5]), _powers(kind, n_eta, values[6], values[7])
    coefficients = iter(values[8:])
    series = np.zeros((n_xi, n_eta))
    n_terms = n_xi
    for j in range(n_eta):
        for i in range(n_terms):
            value = next(coefficients, None)
            if value is None:
                raise ValueError("a surface with too few coefficients")
            term = np.outer(powers[0][i], powers[1][j])
            series[: term.shape[0], : term.shape[1]] += value * term
        if cross == _NO_CROSS_TERMS:
            n_terms = 1
        elif cross == _HALF and j + 1 + n_xi > max(n_xi, n_eta):
            n_terms -= 1
    return series


def _powers(kind: int, n: int, low: float, high: float) -> list[F8]:
    """Return each basis function of one variable as a power series of that variable."""
    if kind == _POLYNOMIAL:
        return [np.eye(n)[k] for k in range(n)]
    if not high > low:
        raise ValueError("a surface with an empty range")
    from numpy.polynomial import Polynomial, chebyshev, legendre  # only these headers need it

    scaled = Polynomial([-(high + low) / (high - low), 2.0 / (high - low)])
    convert = chebyshev.cheb2poly if kind == _CHEBYSHEV else legendre.leg2poly
    basis = []
    for k in range(n):
        series = np.asarray(Polynomial(convert(np.eye(k + 1)[k]))(scaled).coef, dtype=np.float64)
        basis.append(np.pad(series, (0, n - len(series))))
    return basis


def standard_cards(header: Mapping[str, Any], lng: int, lat: int, kind: str) -> dict[str, Any]:
    """Return CTYPE, PV and SIP cards that say what the WAT cards of a TNX or ZPX say.

    Parameters
    ----------
    header : mapping
        All cards; the linear part must be a CD matrix.
    lng, lat : int
        Axes (1 or 2) of longitude and latitude.
    kind : {'TNX', 'ZPX'}

    Raises
    ------
    ValueError
        What cannot be said in standard cards.
    """
    words = {axis: attributes(header, axis) for axis in (lng, lat)}
    corrections = [
        surface(words[axis][name]) if name in words[axis] else np.zeros((1, 1))
        for axis, name in ((lng, "lngcor"), (lat, "latcor"))
    ]
    projection = {"TNX": "TPV", "ZPX": "ZPN"}[kind]
    cards: dict[str, Any] = {}
    if kind == "TNX":
        cards |= _tpv(corrections[0], lng) | _tpv(corrections[1].T, lat)
    else:
        cards |= {
            f"PV{lat}_{name[5:]}": float(value)
            for name, value in words[lat].items()
            if re.fullmatch(r"projp\d+", name)
        }
        if not any(key.startswith(f"PV{lat}_") for key in cards):
            cards[f"PV{lat}_1"] = 1.0
        if any(np.any(series) for series in corrections):
            cards |= _sip(header, corrections, lng, lat)
            projection += "-SIP"
    for axis in (lng, lat):
        cards[f"CTYPE{axis}"] = str(header[f"CTYPE{axis}"]).strip().upper()[:5] + projection
    return cards


def _tpv(series: F8, axis: int) -> dict[str, float]:
    """Return the PV cards of own + series[i, j] own^i other^j."""
    total = _degree(series)
    if total >= len(TPV_FIRST):
        raise ValueError(f"a distortion of degree {total}")
    series = np.pad(series, ((0, max(0, 2 - series.shape[0])), (0, 0)))
    series[1, 0] += 1.0
    return {
        f"PV{axis}_{TPV_FIRST[i + j] + j}": float(value)
        for (i, j), value in np.ndenumerate(series)
        if value != 0.0 or i + j == 1
    }


def _degree(series: F8) -> int:
    return max((i + j for (i, j), value in np.ndenumerate(series) if value != 0.0), default=0)


def _sip(header: Mapping[str, Any], corrections: list[F8], lng: int, lat: int) -> dict[str, Any]:
    """Return the SIP polynomials, in pixels, of corrections in degrees."""
    matrix = np.array(
        [[float(header.get(f"CD{axis}_{k}", 0.0)) for k in (1, 2)] for axis in (lng, lat)]
    )
    degree = max(_degree(series) for series in corrections)
    if degree > _MAX_SIP:
        raise ValueError(f"a distortion of degree {degree}")
    inverse = np.linalg.inv(matrix)
    in_pixels = [_substituted(series, matrix) for series in corrections]
    cards: dict[str, Any] = {"A_ORDER": degree, "B_ORDER": degree}
    for name, row in zip("AB", inverse, strict=True):
        series = row[0] * in_pixels[0] + row[1] * in_pixels[1]
        cards |= {
            f"{name}_{i}_{j}": float(value)
            for (i, j), value in np.ndenumerate(series)
            if value != 0.0 and i + j <= degree
        }
    return cards


def _substituted(series: F8, matrix: F8) -> F8:
    """Return a polynomial of (xi, eta) as one of (u, v), where (xi, eta) = matrix (u, v)."""
    n = _MAX_SIP + 1
    out = np.zeros((n, n))
    lines = [np.array([[0.0, row[1]], [row[0], 0.0]]) for row in matrix]
    for (i, j), value in np.ndenumerate(series):
        if value != 0.0:
            term = np.ones((1, 1))
            for factor in [lines[0]] * i + [lines[1]] * j:
                term = _product(term, factor)
            out[: term.shape[0], : term.shape[1]] += value * term
    return out


def _product(a: F8, b: F8) -> F8:
    out = np.zeros((a.shape[0] + b.shape[0] - 1, a.shape[1] + b.shape[1] - 1))
    for (i, j), value in np.ndenumerate(b):
        out[i : i + a.shape[0], j : j + a.shape[1]] += value * a
    return out
