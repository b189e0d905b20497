"""What the columns say of fitted models: sizes, shapes, brightnesses, of the parameters.

The formulas of Sersic profiles are those of Graham & Driver (2005, PASA 22, 118); all are of the
model before the PSF.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import TYPE_CHECKING

import numpy as np

from skyextract.columns.derive import ellipticities
from skyextract.kernels.galaxies.source import (
    DISK,
    E1,
    E2,
    INDEX,
    POINT,
    RADIUS,
    SKY,
    SPHEROID,
    X,
    Y,
)

if TYPE_CHECKING:
    from skyextract.datamodel.arrays import F8, I8, Bools

EXPONENTIAL_RADIUS = 1.6783469900
"""Half-light radius of an exponential over its scale length."""
COMPONENTS = {"SPHEROID": SPHEROID, "DISK": DISK}
_LINEAR = {X: "XMODEL_IMAGE", Y: "YMODEL_IMAGE", SKY: "FLUX_BACKOFFSET"}
"""Parameters that one column shows as they are, and no other depends on."""
_STEP = 1e-4
"""Of ln n, for the derivative of the mean square of the radius."""
_ROUND = 1e-6
"""A shear, that of a circle."""
_BISECTIONS = 20
_SMALLEST = -7.0
"""Logarithm of a radius in pixels that stands for that of a point."""
_ACCURACY = 1e-13
"""Of series, relative."""


def parameters_of(p: F8, kinds: Collection[str]) -> dict[str, F8]:
    """Return the columns that have an error.

    Parameters
    ----------
    p : (n, N_PARAMETERS) float64
    kinds : collection of str
        Those of `COMPONENTS` that the model has.
    """
    total = total_flux(p)
    columns = {
        "XMODEL_IMAGE": p[:, X] + 1.0,
        "YMODEL_IMAGE": p[:, Y] + 1.0,
        "FLUX_MODEL": total,
        "FLUX_BACKOFFSET": p[:, SKY],
        "FLUX_POINTSOURCE": p[:, POINT],
        "FLUXRATIO_POINTSOURCE": p[:, POINT] / total,
    }
    for kind in kinds:
        first = COMPONENTS[kind]
        e = np.hypot(p[:, first + E1], p[:, first + E2])
        radius = np.exp(p[:, first + RADIUS] + e)
        columns[f"FLUX_{kind}"] = p[:, first]
        columns[f"FLUXRATIO_{kind}"] = p[:, first] / total
        columns[f"{kind}_ASPECT_IMAGE"] = np.exp(-2.0 * e)
        columns[f"{kind}_THETA_IMAGE"] = np.degrees(
            0.5 * np.arctan2(p[:, first + E2], p[:, first + E1])
        )
        if kind == "SPHEROID":
            columns["SPHEROID_REFF_IMAGE"] = radius
            columns["SPHEROID_SERSICN"] = np.exp(p[:, first + INDEX])
        else:
            columns["DISK_SCALE_IMAGE"] = radius / EXPONENTIAL_RADIUS
            columns["DISK_INCLINATION"] = np.degrees(np.arccos(np.exp(-2.0 * e)))
    moments = second_moments(p)
    for kind in ("ELLIP", "POLAR"):
        both = ellipticities(kind, *moments)
        columns[f"{kind}1MODEL_IMAGE"], columns[f"{kind}2MODEL_IMAGE"] = both
    return columns


def error_name(name: str) -> str:
    """Return the column of the error of a column of `parameters_of`."""
    for old, new in (
        ("FLUXRATIO_", "FLUXRATIOERR_"), ("FLUX_", "FLUXERR_"), ("MODEL_IMAGE", "ERRMODEL_IMAGE"),
        ("_IMAGE", "ERR_IMAGE"),
    ):  # fmt: skip
        if old in name:
            return name.replace(old, new)
    return f"{name}ERR"


def slopes_of(p: F8, free: I8, kinds: Collection[str]) -> dict[str, F8]:
    """Return the derivatives of the columns of `parameters_of` to the free parameters, (n, k)."""
    slopes = {name: np.zeros((len(p), free.size)) for name in parameters_of(p[:0], kinds)}
    place = {parameter: k for k, parameter in enumerate(free.tolist())}

    def put(name: str, parameter: int, slope: F8 | float) -> None:
        if parameter in place:
            slopes[name][:, place[parameter]] = slope

    for parameter, name in _LINEAR.items():
        put(name, parameter, 1.0)
    total, moments = total_flux(p), np.stack(second_moments(p))
    lights = {"POINTSOURCE": POINT, **{kind: COMPONENTS[kind] for kind in kinds}}
    of_moments = {POINT: -moments / total}
    for kind in kinds:
        first = COMPONENTS[kind]
        e1, e2 = p[:, first + E1], p[:, first + E2]
        e = np.maximum(np.hypot(e1, e2), _ROUND)
        aspect, radius = np.exp(-2.0 * e), np.exp(p[:, first + RADIUS] + e)
        size, scale = "SPHEROID_REFF_IMAGE", radius
        if kind == "SPHEROID":
            put("SPHEROID_SERSICN", first + INDEX, np.exp(p[:, first + INDEX]))
        else:
            size, scale = "DISK_SCALE_IMAGE", radius / EXPONENTIAL_RADIUS
        put(size, first + RADIUS, scale)
        for shear, along, across in ((first + E1, e1, -e2), (first + E2, e2, e1)):
            put(size, shear, scale * along / e)
            put(f"{kind}_ASPECT_IMAGE", shear, -2.0 * aspect * along / e)
            put(f"{kind}_THETA_IMAGE", shear, np.degrees(0.5 * across / e**2))
            if kind == "DISK":
                tilt = 2.0 * aspect / np.sqrt(1.0 - aspect**2)
                put("DISK_INCLINATION", shear, np.degrees(tilt * along / e))
        of_moments.update(_slopes_of_moments(p, first, moments))
    for light in lights.values():
        put("FLUX_MODEL", light, 1.0)
        for name, own in lights.items():
            put(f"FLUX_{name}", light, float(own == light))
            put(f"FLUXRATIO_{name}", light, (float(own == light) - p[:, own] / total) / total)
    for kind in ("ELLIP", "POLAR"):
        for parameter, change in of_moments.items():
            for i, slope in enumerate(_slopes_of_ellipticities(kind, moments, change)):
                put(f"{kind}{i + 1}MODEL_IMAGE", parameter, slope)
    return slopes


def _slopes_of_moments(p: F8, first: int, moments: F8) -> dict[int, F8]:
    """Return the derivatives of the second moments to the parameters of a component, (3, n) each.

    `moments` are those of the whole model.
    """
    total, index = total_flux(p), p[:, first + INDEX]
    e1, e2 = p[:, first + E1], p[:, first + E2]
    own = np.stack(_own_moments(p, first, _mean_square(np.exp(index))))
    share = p[:, first] / total
    low, high = (_mean_square(np.exp(index + step)) for step in (-_STEP, _STEP))
    growth = np.log(high / low) / (2.0 * _STEP)
    e = np.maximum(np.hypot(e1, e2), _ROUND)
    ratio, mean = np.sinh(2.0 * e) / e, np.cosh(2.0 * e)
    bend = (2.0 * mean - ratio) / e**2
    size = share * own[0] / (mean + ratio * e1)
    return {
        first: (own - moments) / total,
        first + RADIUS: 2.0 * share * own,
        first + INDEX: growth * share * own,
        first + E1: size * np.stack(
            [2.0 * ratio * e1 + (ratio + bend * e1**2), 2.0 * ratio * e1 - (ratio + bend * e1**2),
             bend * e1 * e2]
        ),
        first + E2: size * np.stack(
            [2.0 * ratio * e2 + bend * e1 * e2, 2.0 * ratio * e2 - bend * e1 * e2,
             ratio + bend * e2**2]
        ),
    }  # fmt: skip


def _slopes_of_ellipticities(kind: str, moments: F8, change: F8) -> tuple[F8, F8]:
    """Return by how much ELLIP or POLAR change with moments that change, (3, n) each."""
    x2, y2, xy = moments
    first, second = ellipticities(kind, x2, y2, xy)
    total, more = x2 + y2, change[0] + change[1]
    if kind == "ELLIP":
        root = np.sqrt(np.maximum(x2 * y2 - xy**2, 0.0))
        total = total + 2.0 * root
        more = more + (y2 * change[0] + x2 * change[1] - 2.0 * xy * change[2]) / root
    return (change[0] - change[1] - first * more) / total, (2.0 * change[2] - second * more) / total


def total_flux(p: F8) -> F8:
    """Return the flux of all components together."""
    total: F8 = p[:, SPHEROID] + p[:, DISK] + p[:, POINT]
    return total


def unresolved_share(p: F8, fwhm: float) -> F8:
    """Return the part of the light, 0 to 1, that a PSF of `fwhm` pixels spreads as that of a point.

    Half of it for a component whose half-light diameter is the FWHM, as of two Gaussians.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        parts = [np.where(p[:, POINT] != 0.0, p[:, POINT], 0.0)]
        for first in COMPONENTS.values():
            size = 2.0 * np.exp(p[:, first + RADIUS]) / fwhm
            parts.append(np.where(p[:, first] != 0.0, p[:, first] / (1.0 + size**2), 0.0))
        total = total_flux(p)
        share = sum(parts) / np.where(total != 0.0, total, 1.0)
    clipped: F8 = np.clip(np.where(np.isfinite(share), share, 1.0), 0.0, 1.0)
    return clipped


def second_moments(p: F8) -> tuple[F8, F8, F8]:
    """Return the second moments about the centre, square pixels, of the whole model."""
    total = total_flux(p)
    moments = np.zeros((3, len(p)))
    for first in COMPONENTS.values():
        if p[:, first].any():
            share = np.where(p[:, first] != 0.0, p[:, first] / total, 0.0)
            moments += share * _own_moments(p, first, _mean_square(np.exp(p[:, first + INDEX])))
    return moments[0], moments[1], moments[2]


def _own_moments(p: F8, first: int, mean_square: F8) -> tuple[F8, F8, F8]:
    """Return those of a component; `mean_square` is that of the radius in half-light radii."""
    e1, e2 = p[:, first + E1], p[:, first + E2]
    e = np.maximum(np.hypot(e1, e2), _ROUND)
    size = 0.5 * mean_square * np.exp(2.0 * p[:, first + RADIUS])
    mean, ratio = np.cosh(2.0 * e), np.sinh(2.0 * e) / e
    return size * (mean + ratio * e1), size * (mean - ratio * e1), size * ratio * e2


def surface_brightness(p: F8, first: int) -> tuple[F8, F8, F8]:
    """Return peak, effective and mean effective flux per pixel of a Sersic component."""
    n, area = np.exp(p[:, first + INDEX]), np.exp(2.0 * p[:, first + RADIUS])
    b = _b(n)
    peak = p[:, first] * b ** (2.0 * n) / (2.0 * np.pi * n * _gamma(2.0 * n) * area)
    return peak, peak * np.exp(-b), p[:, first] / (2.0 * np.pi * area)


def total_surface_brightness(p: F8) -> tuple[F8, F8, F8]:
    """Return the same of the whole model, its components taken as circles of equal area."""
    bright = [surface_brightness(p, first) for first in COMPONENTS.values()]
    used = [p[:, first] != 0.0 for first in COMPONENTS.values()]
    peak = np.zeros(len(p))
    for on, own in zip(used, bright, strict=True):
        peak += np.where(on, own[0], 0.0)
    half = 0.5 * total_flux(p)
    radius = np.exp(_log_half_light_radius(p, used, half))
    effective = np.zeros(len(p))
    for on, own, first in zip(used, bright, COMPONENTS.values(), strict=True):
        n = np.exp(p[:, first + INDEX])
        x = (radius / np.exp(p[:, first + RADIUS])) ** (1.0 / n)
        effective += np.where(on, own[0] * np.exp(-_b(n) * x), 0.0)
    return peak, effective, half / (np.pi * radius**2)


def _log_half_light_radius(p: F8, used: list[Bools], half: F8) -> F8:
    """Return the logarithm of the radius with `half` the light of all components inside."""
    # between those of the components; that of a point is none
    radii = [np.where(p[:, POINT] != 0.0, _SMALLEST, np.nan)]
    for on, first in zip(used, COMPONENTS.values(), strict=True):
        radii.append(np.where(on, p[:, first + RADIUS], np.nan))
    low, high = np.fmin.reduce(radii), np.fmax.reduce(radii)
    log_radius: F8 = np.where(np.isfinite(low), low, _SMALLEST)
    for on, first in zip(used, COMPONENTS.values(), strict=True):
        log_radius[on & np.isnan(p[:, first + RADIUS])] = np.nan
    several = low < high
    own, light, low, high = p[several], half[several], low[several], high[several]
    for _ in range(_BISECTIONS if len(own) else 0):
        middle = 0.5 * (low + high)
        inside = own[:, POINT] + sum(
            np.where(on[several], _inside(own, first, middle), 0.0)
            for on, first in zip(used, COMPONENTS.values(), strict=True)
        )
        low, high = np.where(inside < light, middle, low), np.where(inside < light, high, middle)
    log_radius[several] = 0.5 * (low + high)
    return log_radius


def _inside(p: F8, first: int, log_radius: F8) -> F8:
    """Return the flux of a component within a radius."""
    n = np.exp(p[:, first + INDEX])
    x = _b(n) * np.exp((log_radius - p[:, first + RADIUS]) / n)
    inside: F8 = p[:, first] * _lower_gamma(2.0 * n, x)
    return inside


def _b(n: F8) -> F8:
    """Return b of half the light within R = 1 (Ciotti & Bertin 1999, A&A 352, 447)."""
    series = 4 / (405 * n) + 46 / (25515 * n**2) + 131 / (1148175 * n**3)
    b: F8 = 2.0 * n - 1 / 3 + series - 2194697 / (30690717750 * n**4)
    return b


def _gamma(x: F8) -> F8:
    """Return the gamma function of positive numbers, by Stirling's series of x + 8, to 1e-12."""
    z = x + 8.0
    series = 1 / 12 - (1 / 360 - (1 / 1260 - (1 / 1680 - 1 / (1188 * z**2)) / z**2) / z**2) / z**2
    gamma: F8 = math.sqrt(2.0 * math.pi) * np.exp((z - 0.5) * np.log(z) - z + series / z)
    for k in range(8):
        gamma /= x + k
    return gamma


def _lower_gamma(a: F8, x: F8) -> F8:
    """Return the regularized incomplete gamma function (Abramowitz & Stegun 6.5.29)."""
    x = np.minimum(x, 60.0 + 3.0 * a)
    term = 1.0 / a
    total = term.copy()
    for k in range(1, 200):
        term = term * x / (a + k)
        total += term
        if not np.any(term > _ACCURACY * total):
            break
    value: F8 = np.minimum(total * np.exp(a * np.log(x) - x) / _gamma(a), 1.0)
    return value


def _mean_square(n: F8) -> F8:
    """Return the mean of R^2 for a half-light radius of 1."""
    mean: F8 = _gamma(4.0 * n) / _gamma(2.0 * n) * _b(n) ** (-2.0 * n)
    return mean
