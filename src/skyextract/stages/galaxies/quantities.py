"""What the columns say of fitted models: sizes, shapes, brightnesses, of the parameters.

The formulas of Sersic profiles are those of Graham & Driver (2005, PASA 22, 118); all are of the
model before the PSF.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
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
_STEP = 1e-3
"""Of the derivatives, in errors of the parameters."""
_BISECTIONS = 20
_SMALLEST = -7.0
"""Logarithm of a radius in pixels that stands for that of a point."""
_ACCURACY = 1e-13
"""Of series, relative."""


def parameters_of(
    p: F8, kinds: Collection[str], mean_squares: Mapping[int, F8] | None = None
) -> dict[str, F8]:
    """Return the columns that have an error.

    Parameters
    ----------
    p : (n, N_PARAMETERS) float64
    kinds : collection of str
        Those of `COMPONENTS` that the model has.
    mean_squares : mapping of int to (n,) float64, optional
        As for `second_moments`.
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
    moments = second_moments(p, mean_squares)
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


def slopes_of(p: F8, covariance: F8, free: I8, kinds: Collection[str]) -> dict[str, F8]:
    """Return the derivatives of the columns of `parameters_of` to the free parameters, (n, k)."""
    names = parameters_of(p[:0], kinds)
    slopes = {name: np.zeros((len(p), free.size)) for name in names}
    indices = {first: first + INDEX for first in COMPONENTS.values() if p[:, first].any()}
    unchanged = {first: _mean_square(np.exp(p[:, n])) for first, n in indices.items()}
    for f, parameter in enumerate(free.tolist()):
        if parameter in _LINEAR:
            slopes[_LINEAR[parameter]][:, f] = 1.0
            continue
        step = _STEP * np.sqrt(covariance[:, parameter, parameter])
        step = np.where(np.isfinite(step) & (step > 0.0), step, 1e-6)
        low, high = p.copy(), p.copy()
        low[:, parameter] -= step
        high[:, parameter] += step
        squares = None if parameter in indices.values() else unchanged
        below, above = (parameters_of(end, kinds, squares) for end in (low, high))
        for name in names:
            change = above[name] - below[name]
            if "THETA" in name:
                change = 90.0 - (90.0 - change) % 180.0
            slopes[name][:, f] = change / (2.0 * step)
    return slopes


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


def second_moments(p: F8, mean_squares: Mapping[int, F8] | None = None) -> tuple[F8, F8, F8]:
    """Return the second moments about the centre, square pixels, of the whole model.

    Parameters
    ----------
    p : (n, N_PARAMETERS) float64
    mean_squares : mapping of int to (n,) float64, optional
        Mean squares of the radius in half-light radii, by component, where these are known.
    """
    total = total_flux(p)
    moments = np.zeros((3, len(p)))
    for first in COMPONENTS.values():
        if not p[:, first].any():
            continue
        e1, e2 = p[:, first + E1], p[:, first + E2]
        e = np.hypot(e1, e2)
        ratio = np.where(e > 1e-6, np.sinh(2.0 * e) / np.maximum(e, 1e-6), 2.0)
        if mean_squares is None or first not in mean_squares:
            square = _mean_square(np.exp(p[:, first + INDEX]))
        else:
            square = mean_squares[first]
        size = 0.5 * square * np.exp(2.0 * p[:, first + RADIUS])
        share = np.where(p[:, first] != 0.0, p[:, first] / total, 0.0)
        shape = (np.cosh(2.0 * e) + ratio * e1, np.cosh(2.0 * e) - ratio * e1, ratio * e2)
        moments += np.stack(shape) * size * share
    return moments[0], moments[1], moments[2]


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
