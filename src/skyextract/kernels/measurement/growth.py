"""Curves of growth: the light of fitted point sources within circular apertures."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from skyextract.kernels.jit import kernel
from skyextract.kernels.values import MAX_VARIANCE

if TYPE_CHECKING:
    from skyextract.datamodel.arrays import F4, F8, U2


STRIPS = 32
"""A pixel at the edge of a circle is cut into this many strips."""


@kernel
def _overlap(dx: float, dy: float, radius: float) -> float:
    """Part of a pixel, (dx, dy) from the centre of a circle, that lies within the circle."""
    distance = math.hypot(dx, dy)
    if distance < radius - 0.71:
        return 1.0
    if distance > radius + 0.71:
        return 0.0
    inside = 0.0
    for i in range(STRIPS):
        u = dx + (i + 0.5) / STRIPS - 0.5
        chord = radius * radius - u * u
        if chord > 0.0:
            chord = math.sqrt(chord)
            inside += max(0.0, min(chord, dy + 0.5) - max(-chord, dy - 0.5))
    return inside / STRIPS


@kernel
def growth_curves(
    image: F4, residual: F4, variance: F4, mask: U2, bad: int, inverse_gain: float,
    x: F8, y: F8, flux: F8, stamps: F4, radii: F8, light: F8, error: F8, lost: F8,
) -> None:  # fmt: skip
    """Sum the light of stars within apertures, as a fraction of their fitted flux.

    The light is that of the fitted model and what is left of it in the residual image, so
    that neighbours are subtracted and bad pixels hold what the model says.

    Parameters
    ----------
    image, residual, variance : (ny, nx) float32
        Background-subtracted image, the same minus all models, background variance.
    mask, bad : (ny, nx) uint16, int
        Pixels with one of the bits `bad` hold no data.
    inverse_gain : float
        Photon noise of a flux f is ``f * inverse_gain``.
    x, y, flux : (n,) float64
        Fitted positions (0-based) and fluxes.
    stamps : (n, k, k) float32
        Fitted models of unit sum, the middle pixel nearest to (x, y).
    radii : (n, m) float64
        Radii of each star's apertures in pixels.
    light, error : (n, m) float64
        Result: light within each aperture / flux, and its error.
    lost : (n, m) float64
        Result: the part of the aperture without data.
    """
    n_y, n_x = image.shape
    half = stamps.shape[1] // 2
    for n in range(x.size):
        x_middle = math.floor(x[n] + 0.5)
        y_middle = math.floor(y[n] + 0.5)
        for m in range(radii.shape[1]):
            radius = radii[n, m]
            reach = math.ceil(radius) + 1
            total = 0.0
            square = 0.0
            measured = 0.0
            # no farther than the image and the model
            j_first = max(y_middle - reach, min(0, y_middle - half))
            j_last = min(y_middle + reach, max(n_y - 1, y_middle + half))
            i_first = max(x_middle - reach, min(0, x_middle - half))
            i_last = min(x_middle + reach, max(n_x - 1, x_middle + half))
            for j in range(j_first, j_last + 1):
                for i in range(i_first, i_last + 1):
                    part = _overlap(i - x[n], j - y[n], radius)
                    if part == 0.0:
                        continue
                    a = j - y_middle + half
                    b = i - x_middle + half
                    if 0 <= a < stamps.shape[1] and 0 <= b < stamps.shape[1]:
                        total += part * stamps[n, a, b]
                    if i < 0 or i >= n_x or j < 0 or j >= n_y:
                        continue
                    v = float(variance[j, i])
                    d = float(residual[j, i])
                    if (
                        (mask[j, i] & bad) != 0
                        or not (0.0 < v < MAX_VARIANCE)
                        or not math.isfinite(d)
                    ):
                        continue
                    measured += part
                    total += part * d / flux[n]
                    v += max(0.0, float(image[j, i]) - d) * inverse_gain
                    square += part * part * v
            area = math.pi * radius * radius
            light[n, m] = total
            error[n, m] = math.sqrt(square) / flux[n]
            lost[n, m] = max(0.0, 1.0 - measured / area) if area > 0.0 else 0.0
