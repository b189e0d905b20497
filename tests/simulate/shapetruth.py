"""What of the flux and position of simulated stars noise alone hides."""

from __future__ import annotations

from dataclasses import dataclass

import galsim
import numpy as np
from numpy.typing import NDArray

from tests.simulate.shapes import NOISE, SCENES, SKY, ShapeFrame, draw_star

STEP = 0.02
"""Pixels by which a star is displaced for the slopes of its light."""


@dataclass(frozen=True)
class BestFits:
    """Fits of flux, x and y (0-based) of each star of a frame, and their errors."""

    flux: NDArray[np.float64]
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    flux_error: NDArray[np.float64]
    x_error: NDArray[np.float64]
    y_error: NDArray[np.float64]


def best_fits(name: str, frame: ShapeFrame) -> BestFits:
    """Fit each star of a frame of `simulate_scene` where its PSF, sky and neighbours are known.

    One step of weighted least squares from the truth, with the true variance of each pixel.
    """
    shape = SCENES[name]
    n = shape.size
    total = galsim.ImageD(np.zeros((n, n)), xmin=0, ymin=0)
    stars = []
    for x, y, flux in zip(frame.x, frame.y, frame.flux, strict=True):
        light = draw_star(shape, x, y)
        bounds = light.bounds & total.bounds
        total[bounds] += flux * light[bounds]
        slopes = [
            flux * (draw_star(shape, x, y, dx, dy) - draw_star(shape, x, y, -dx, -dy))[bounds].array
            for dx, dy in ((STEP, 0.0), (0.0, STEP))
        ]
        terms = np.stack([light[bounds].array, *(s / (2.0 * STEP) for s in slopes)])
        stars.append((bounds, terms.reshape(3, -1)))
    variance = NOISE**2 + np.maximum(total.array, 0.0) / frame.gain
    noise = frame.image - SKY - total.array
    found, error = np.empty((2, frame.x.size, 3))
    for k, (bounds, terms) in enumerate(stars):
        pixels = np.s_[bounds.ymin : bounds.ymax + 1, bounds.xmin : bounds.xmax + 1]
        weighted = terms / variance[pixels].ravel()
        covariance = np.linalg.inv(weighted @ terms.T)
        found[k] = covariance @ (weighted @ noise[pixels].ravel())
        error[k] = np.sqrt(np.diag(covariance))
    flux, x, y = found.T + np.array([frame.flux, frame.x, frame.y])
    return BestFits(flux, x, y, *error.T)
