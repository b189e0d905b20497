"""A plate solution: polynomials from pixels to the tangent plane, and their FITS cards.

Projections after Calabretta & Greisen (2002, A&A 395, 1077); TAN-SIP cards after Shupe et
al. (2005, ASP Conf. 347, 491); TPV cards after the registered TPV convention (FITS registry,
https://fits.gsfc.nasa.gov/registry/tpvwcs.html).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from skyextract.record import record
from skyextract.sky.angles import ARCSEC

if TYPE_CHECKING:
    from skyextract.datamodel.arrays import F8

    ToSky = Callable[[F8, F8], tuple[F8, F8]]


TPV_FIRST = (0, 1, 4, 7, 12, 17, 24, 31)
"""Number of the first PV coefficient of each order; r, r^3 ... stand at 3, 11, 23, 39."""


def gnomonic(ra: F8, dec: F8, ra0: float, dec0: float) -> tuple[F8, F8]:
    """Project onto the tangent plane at (ra0, dec0); all in degrees.

    Points 90 degrees or more from the tangent point are NaN.
    """
    x, y, z = _rotated(ra, dec, ra0, dec0)
    with np.errstate(divide="ignore", invalid="ignore"):
        factor = np.where(z > 0.0, np.rad2deg(1.0 / z), np.nan)
    return x * factor, y * factor


def gnomonic_inverse(xi: F8, eta: F8, ra0: float, dec0: float) -> tuple[F8, F8]:
    """Return the sky position (deg) of tangent-plane coordinates (deg)."""
    xi, eta = np.deg2rad(xi), np.deg2rad(eta)
    sin0, cos0 = np.sin(np.deg2rad(dec0)), np.cos(np.deg2rad(dec0))
    across = cos0 - eta * sin0
    ra = (np.rad2deg(np.arctan2(xi, across)) + ra0) % 360.0
    dec = np.rad2deg(np.arctan2(sin0 + eta * cos0, np.hypot(xi, across)))
    return ra, dec


def stereographic(ra: F8, dec: F8, ra0: float, dec0: float) -> tuple[F8, F8]:
    """Project stereographically about (ra0, dec0); all in degrees.

    The projection is conformal: the shape of a small pattern is right at any distance.
    """
    x, y, z = _rotated(ra, dec, ra0, dec0)
    with np.errstate(divide="ignore", invalid="ignore"):
        factor = np.where(z > -0.999, np.rad2deg(2.0 / (1.0 + z)), np.nan)
    return x * factor, y * factor


def equidistant(ra: F8, dec: F8, ra0: float, dec0: float) -> tuple[F8, F8]:
    """Project so that distances from (ra0, dec0) are those on the sky (ARC); all in degrees.

    It has all of the sky; across, distances are larger than on the sky, by 1.1 at 45 degrees and
    1.6 at 90.
    """
    x, y, z = _rotated(ra, dec, ra0, dec0)
    sine = np.hypot(x, y)
    angle = np.rad2deg(np.arctan2(sine, z))
    factor = np.where(sine > 0.0, angle / np.maximum(sine, 1e-300), np.rad2deg(1.0))
    return x * factor, y * factor


def stereographic_inverse(x: F8, y: F8, ra0: float, dec0: float) -> tuple[F8, F8]:
    """Return the sky position (deg) of stereographic coordinates (deg)."""
    x, y = np.deg2rad(x), np.deg2rad(y)
    s = 0.25 * (x * x + y * y)
    # Unit vector east, north, towards the centre: it works beyond 90 degrees, too.
    a, b, c = x / (1.0 + s), y / (1.0 + s), (1.0 - s) / (1.0 + s)
    sin0, cos0 = np.sin(np.deg2rad(dec0)), np.cos(np.deg2rad(dec0))
    across = c * cos0 - b * sin0
    ra = (np.rad2deg(np.arctan2(a, across)) + ra0) % 360.0
    return ra, np.rad2deg(np.arctan2(c * sin0 + b * cos0, np.hypot(a, across)))


def _rotated(ra: F8, dec: F8, ra0: float, dec0: float) -> tuple[F8, F8, F8]:
    """Return unit vectors: east, north and towards (ra0, dec0)."""
    da, d = np.deg2rad(np.asarray(ra) - ra0), np.deg2rad(np.asarray(dec))
    sin0, cos0 = np.sin(np.deg2rad(dec0)), np.cos(np.deg2rad(dec0))
    sd, cd, sa, ca = np.sin(d), np.cos(d), np.sin(da), np.cos(da)
    # 1 - cos without cancellation keeps small offsets exact.
    versine = 2.0 * np.sin(0.5 * da) ** 2
    return cd * sa, np.sin(d - np.deg2rad(dec0)) + sin0 * cd * versine, sin0 * sd + cos0 * cd * ca


def exponents(degree: int) -> list[tuple[int, int]]:
    """Return (p, q) of the terms u^p v^q up to a total degree, by order."""
    return [(n - q, q) for n in range(degree + 1) for q in range(n + 1)]


def monomials(u: F8, v: F8, degree: int) -> F8:
    """Return the design matrix (n, terms) of u^p v^q."""
    powers_u, powers_v = [np.ones_like(u)], [np.ones_like(v)]
    for _ in range(degree):
        powers_u.append(powers_u[-1] * u)
        powers_v.append(powers_v[-1] * v)
    terms = exponents(degree)
    rows = np.empty((u.size, len(terms)))  # numpy.stack takes longer than the products
    for k, (p, q) in enumerate(terms):
        np.multiply(powers_u[p], powers_v[q], out=rows[:, k])
    return rows


@record
class Plate:
    """Polynomials from pixels to the tangent plane.

    Attributes
    ----------
    ra0, dec0 : float
        Tangent point, deg (ICRS).
    x0, y0 : float
        Reference pixel, 0-based.
    unit : float
        Pixels per unit of the polynomials' variables u = (x - x0) / unit.
    coefficients : float64 (2, terms)
        Of xi and eta (deg), in the order of `exponents`.
    """

    ra0: float
    dec0: float
    x0: float
    y0: float
    unit: float
    coefficients: F8

    @property
    def degree(self) -> int:
        """Total degree of the polynomials."""
        return (math.isqrt(8 * self.coefficients.shape[1] + 1) - 3) // 2

    @property
    def matrix(self) -> F8:
        """Linear part: the CD matrix (deg/pixel)."""
        return self.coefficients[:, 1:3] / self.unit

    @property
    def pixel_scale(self) -> float:
        """Arcsec per pixel at the reference pixel."""
        (a, b), (c, d) = self.matrix
        return ARCSEC * float(np.sqrt(abs(a * d - b * c)))

    def to_plane(self, x: F8, y: F8) -> tuple[F8, F8]:
        """Return xi, eta (deg) of 0-based pixels."""
        u = (np.asarray(x, np.float64) - self.x0) / self.unit
        v = (np.asarray(y, np.float64) - self.y0) / self.unit
        plane = self.coefficients @ monomials(np.ravel(u), np.ravel(v), self.degree).T
        return plane[0].reshape(u.shape), plane[1].reshape(u.shape)

    def to_sky(self, x: F8, y: F8) -> tuple[F8, F8]:
        """Return RA, Dec (deg) of 0-based pixels."""
        return gnomonic_inverse(*self.to_plane(x, y), self.ra0, self.dec0)

    def to_pixel(self, xi: F8, eta: F8) -> tuple[F8, F8]:
        """Return 0-based pixels of tangent-plane coordinates (deg); NaN far off the frame.

        Fixed-point iteration with the linear part, within 2 units of the reference pixel.
        """
        linear = np.linalg.inv(self.matrix) / self.unit
        target = np.stack([np.ravel(xi), np.ravel(eta)])
        with np.errstate(invalid="ignore"):
            first = linear @ (target - self.coefficients[:, :1])
            near = np.hypot(first[0], first[1]) < 2.0
        result = np.full_like(target, np.nan)
        uv = first[:, near]
        for _ in range(50):
            step = self.coefficients @ monomials(uv[0], uv[1], self.degree).T - target[:, near]
            step = linear @ step
            uv = np.clip(uv - step, -3.0, 3.0)
            if step.size == 0 or np.abs(step).max() < 1e-13:
                break
        result[:, near] = uv * self.unit
        shape = np.shape(xi)
        return (result[0] + self.x0).reshape(shape), (result[1] + self.y0).reshape(shape)

    def cards(self, projection: str, shape: tuple[int, int]) -> dict[str, Any]:
        """Return the FITS cards; `projection` is TAN, TAN-SIP or TPV.

        The constant terms must be zero.  For TAN the higher terms must be, too.
        `shape` [y, x] is where the inverse SIP polynomials are fitted.
        """
        kind = "TAN" if projection == "TAN-SIP" and self.degree == 1 else projection
        cards: dict[str, Any] = {
            "WCSAXES": 2,
            "CTYPE1": f"RA---{kind}", "CTYPE2": f"DEC--{kind}",
            "CUNIT1": "deg", "CUNIT2": "deg",
            "CRVAL1": self.ra0, "CRVAL2": self.dec0,
            "CRPIX1": self.x0 + 1.0, "CRPIX2": self.y0 + 1.0,
            "CD1_1": float(self.matrix[0, 0]), "CD1_2": float(self.matrix[0, 1]),
            "CD2_1": float(self.matrix[1, 0]), "CD2_2": float(self.matrix[1, 1]),
            "LONPOLE": 180.0,  # the default is another one at a pole
            "RADESYS": "ICRS", "EQUINOX": 2000.0,
        }  # fmt: skip
        if kind == "TAN-SIP":
            cards |= self._sip(shape)
        elif kind == "TPV":
            cards |= self._tpv()
        return cards

    def _sip(self, shape: tuple[int, int]) -> dict[str, Any]:
        degree = self.degree
        forward = np.linalg.solve(self.matrix, self.coefficients)
        names = list(zip("AB", forward, strict=True))
        cards: dict[str, Any] = {}
        for axis, row in names:
            cards[f"{axis}_ORDER"] = degree
            for (p, q), c in zip(exponents(degree), row, strict=True):
                if p + q > 1:
                    cards[f"{axis}_{p}_{q}"] = float(c / self.unit ** (p + q))
        order, inverse, unit = self._inverse_sip(shape)
        for axis, row in zip("AB", inverse, strict=True):
            cards[f"{axis}P_ORDER"] = order
            for (p, q), c in zip(exponents(order), row, strict=True):
                if p + q > 0:
                    cards[f"{axis}P_{p}_{q}"] = float(c / unit ** (p + q))
        return cards

    def _inverse_sip(self, shape: tuple[int, int]) -> tuple[int, F8, float]:
        """Fit the polynomials from undistorted to true pixel offsets over the frame.

        The degree rises until they are good to 1e-4 pixel.
        """
        y, x = np.mgrid[-0.02:1.02:40j, -0.02:1.02:40j]
        u, v = x.ravel() * shape[1] - self.x0, y.ravel() * shape[0] - self.y0
        plane = np.stack(self.to_plane(u + self.x0, v + self.y0))
        far_u, far_v = np.linalg.solve(self.matrix, plane)
        unit = float(max(np.abs(far_u).max(), np.abs(far_v).max()))
        wanted = np.stack([u - far_u, v - far_v], axis=1)
        for order in range(self.degree, 10):
            design = monomials(far_u / unit, far_v / unit, order)[:, 1:]
            inverse = np.linalg.lstsq(design, wanted, rcond=None)[0]
            if np.abs(design @ inverse - wanted).max() < 1e-4:
                break
        return order, np.concatenate([np.zeros((1, 2)), inverse]).T, unit

    def _tpv(self) -> dict[str, Any]:
        """Rewrite the polynomials in the variables x', y' = CD (x - x0)."""
        n = self.degree + 1
        (a, b), (c, d) = np.linalg.inv(self.coefficients[:, 1:3])
        u, v = np.zeros((n, n)), np.zeros((n, n))
        u[1, 0], u[0, 1], v[1, 0], v[0, 1] = a, b, c, d
        one = np.zeros((n, n))
        one[0, 0] = 1.0
        powers_u, powers_v = [one], [one]
        for _ in range(self.degree):
            powers_u.append(_product(powers_u[-1], u))
            powers_v.append(_product(powers_v[-1], v))
        cards: dict[str, Any] = {}
        for axis, row in enumerate(self.coefficients, start=1):
            total = np.zeros((n, n))
            for (p, q), value in zip(exponents(self.degree), row, strict=True):
                total += value * _product(powers_u[p], powers_v[q])
            for order in range(1, n):
                for k in range(order + 1):
                    # The second axis counts its terms with x' and y' exchanged.
                    p, q = (order - k, k) if axis == 1 else (k, order - k)
                    cards[f"PV{axis}_{TPV_FIRST[order] + k}"] = float(total[p, q])
        return cards


def _product(first: F8, second: F8) -> F8:
    """Product of two polynomials [p, q]; terms beyond the table vanish."""
    n = len(first)
    result = np.zeros((n, n))
    for p, q in zip(*np.nonzero(first), strict=True):
        result[p:, q:] += first[p, q] * second[: n - p, : n - q]
    return result


def plate_of(to_sky: ToSky, shape: tuple[int, int], degree: int) -> tuple[Plate, float]:
    """Approximate any WCS by a plate solution over a frame.

    Parameters
    ----------
    to_sky : callable
        Gives longitude and latitude (deg) of 0-based pixels, as `SkyWcs.to_sky` does.
    shape : tuple of int
        Frame [y, x].
    degree : int
        Degree of the polynomials.

    Returns
    -------
    plate : Plate
        With zero constant terms; the reference pixel is the centre of the frame.
    error : float
        Largest difference on a grid over the frame, pixels; NaN where the WCS is undefined.
    """
    ny, nx = shape
    y, x = np.mgrid[0.0 : ny - 1.0 : 25j, 0.0 : nx - 1.0 : 25j]
    x, y = x.ravel(), y.ravel()
    lon, lat = to_sky(x, y)
    x0, y0 = 0.5 * (nx - 1.0), 0.5 * (ny - 1.0)
    centre_lon, centre_lat = to_sky(np.array([x0]), np.array([y0]))
    unit = 0.5 * max(nx, ny)
    xi, eta = gnomonic(lon, lat, float(centre_lon[0]), float(centre_lat[0]))
    design = monomials((x - x0) / unit, (y - y0) / unit, degree)
    plane = np.stack([xi, eta], axis=1)
    if not np.all(np.isfinite(plane)):
        return Plate(np.nan, np.nan, x0, y0, unit, np.full((2, design.shape[1]), np.nan)), np.nan
    # The centre is the tangent point exactly, so there is no constant term.
    solved = np.linalg.lstsq(design[:, 1:], plane, rcond=None)[0]
    coefficients = np.concatenate([np.zeros((1, 2)), solved]).T
    plate = Plate(float(centre_lon[0]), float(centre_lat[0]), x0, y0, unit, coefficients)
    error = np.abs(design[:, 1:] @ solved - plane).max() * ARCSEC / plate.pixel_scale
    return plate, float(error)
