"""The PSF as a sum of Gaussians, with which models of galaxies are convolved in closed form."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from skyextract.datamodel.noise import median
from skyextract.datamodel.psf import polynomial_terms
from skyextract.record import record

if TYPE_CHECKING:
    from skyextract.datamodel.arrays import F8, I8
    from skyextract.datamodel.psf import Psf

FEW_SCALES = np.array([
    [0.42, 1.01, 2.81, 10.6], [0.44, 1.01, 2.68, 9.5], [0.55, 1.10, 2.45, 6.9],
    [0.70, 1.05, 1.60, 5.0], [0.64, 1.07, 2.95, 14.3], [0.59, 1.09, 2.24, 11.7],
    [0.46, 0.98, 2.58, 3.46],
])  # fmt: skip
"""Covariances of concentric Gaussians over that of the core, those that represent a profile best:
Moffat's of beta 2.5, 3 and 4.5, a Gaussian, Kolmogorov's, that with the optics' diffraction, and
one measured, whose wings end with its image."""
SCALES = np.array([0.45, 0.75, 1.25, 2.2, 4.5, 11.0])
"""The same for whatever is not like any of these."""
FEW_MISFIT = 0.003
"""Difference to the PSF, as of `MAX_MISFIT`, up to which few Gaussians are enough, ..."""
ENOUGH = 1.3
"""... or up to so many times that of more of them: the rest is noise of the PSF."""
N_FREE = 16
"""Gaussians with shapes and places of their own, for trails, coma and pupils out of focus."""
MAX_MISFIT = 0.02
"""Difference to the PSF, root mean squares of both, of a representation that is good enough.

Both are seen through a Gaussian as wide as half the maximum of the PSF, as a galaxy of that size
shows them: the noise of a PSF from few stars is no shape, and is averaged away.
"""
_RIDGE = 1e-5
_TOGETHER = 1 << 16
"""Samples of images that are taken apart at once, about."""
_NODES = 8
"""Positions along each axis at which a PSF that varies is taken apart."""
_MAXIMIZATIONS = 20
_STEPS = 60
_GOOD = 0.004
_WIDEST = 0.4
"""Widest Gaussian of free shape, over half the side of the image."""
_SMALLEST = 0.15
"""Variance of the narrowest Gaussian, in square pixels."""


@record
class PsfMixture:
    """A PSF taken apart at the nodes of a grid.

    Attributes
    ----------
    gaussians : (p, j, 6) float64
        Weight, centre x, y relative to the PSF's, and covariance xx, xy, yy in pixels; the weights
        sum to 1, some are negative.
    misfit : (p,) float64
        Difference to the PSF, both smoothed, over the PSF (root mean squares).
    columns : int
        Nodes along x, as many as along y.
    shape : (int, int)
        Shape [y, x] of the image.
    """

    gaussians: F8
    misfit: F8
    columns: int
    shape: tuple[int, int]

    @classmethod
    def of(cls, psf: Psf, shape: tuple[int, int]) -> PsfMixture:
        """Take a PSF apart; `shape` [y, x] is that of the image."""
        columns = _NODES if psf.degree > 0 else 1
        middles = [(np.arange(columns) + 0.5) * n / columns - 0.5 for n in shape]
        images = _oversampled(psf, np.tile(middles[1], columns), np.repeat(middles[0], columns))
        u, v = _coordinates(images[0].shape, psf.sampling)
        middle = images[len(images) // 2]
        start = _moments(middle[None], u, v, _round(middle, u, v))[0]
        blur = _blur(middle)
        scales = _scales(middle, u, v, start, blur)
        fits = []
        step = max(1, _TOGETHER // u.size)
        for first in range(0, len(images), step):
            some = images[first : first + step]
            fits.append(_fit_concentric(some, u, v, _moments(some, u, v, start), scales, blur))
        nodes, misfit = (np.concatenate(part) for part in zip(*fits, strict=True))
        if median(misfit) > MAX_MISFIT:
            places = _free_shapes(middle, u, v)
            free = np.array([_with_weights(places, image, u, v) for image in images])
            worst = np.array([_misfit(n, i, u, v, blur) for n, i in zip(free, images, strict=True)])
            if median(worst) < median(misfit):
                nodes, misfit = free, worst
        return cls(nodes, misfit, columns, shape)

    def nearest(self, x: F8, y: F8) -> I8:
        """Return the node of 0-based positions."""
        column, row = (
            np.clip((p + 0.5) / n * self.columns, 0, self.columns - 1).astype(np.int64)
            for p, n in ((x, self.shape[1]), (y, self.shape[0]))
        )
        nearest: I8 = row * self.columns + column
        return nearest


def _oversampled(psf: Psf, x: F8, y: F8) -> F8:
    """Return the PSF at positions, (n, side, side), at its own sampling.

    It is a density per pixel, of unit sum.
    """
    terms = polynomial_terms(psf.degree, *psf.normalised(x, y))
    images: F8 = np.tensordot(terms, psf.basis.astype(np.float64), axes=1)
    images /= images.sum(axis=(1, 2), keepdims=True) * psf.sampling**2
    return images


def _coordinates(shape: tuple[int, ...], sampling: float) -> tuple[F8, F8]:
    """Return x and y of all samples, in pixels from the middle one."""
    v, u = np.indices(shape, dtype=np.float64)
    return (u - shape[1] // 2).ravel() * sampling, (v - shape[0] // 2).ravel() * sampling


def _densities(places: F8, u: F8, v: F8) -> F8:
    """Return Gaussians of unit sum, (samples, j); `places` are centres and covariances."""
    x, y, xx, xy, yy = places.T
    determinant = xx * yy - xy**2
    dx, dy = u[:, None] - x, v[:, None] - y
    q = (yy * dx**2 - 2.0 * xy * dx * dy + xx * dy**2) / determinant
    density: F8 = np.exp(-0.5 * q) / (2.0 * np.pi * np.sqrt(determinant))
    return density


def _with_weights(places: F8, image: F8, u: F8, v: F8) -> F8:
    """Put weights, which a ridge regression finds, before centres and covariances."""
    return np.column_stack([_weights(_densities(places, u, v), image.ravel()), places])


def _weights(design: F8, images: F8) -> F8:
    """Return the weights, of unit sum, of densities that make up images.

    `design` is of (..., samples, j), the images are of (..., samples).
    """
    transposed = np.swapaxes(design, -1, -2)
    scale2 = 1.0 / design.max(axis=(-1, -2), keepdims=True) ** 2
    normal = transposed @ design * scale2
    right = transposed @ images[..., None] * scale2
    diagonal = np.arange(normal.shape[-1])
    ridge = _RIDGE * np.trace(normal, axis1=-2, axis2=-1) / diagonal.size
    normal[..., diagonal, diagonal] += ridge[..., None]
    weights = np.linalg.solve(normal, right)[..., 0]
    unit: F8 = weights / weights.sum(axis=-1, keepdims=True)
    return unit


def _blur(image: F8) -> F8:
    """Return the Gaussian that smooths rows or columns, (side, side).

    Its full width at half maximum is the diameter of the circle as large as the samples above half
    the maximum.
    """
    half_width = math.sqrt(np.count_nonzero(image > 0.5 * image.max()) / math.pi)
    sample = np.arange(len(image))
    blur: F8 = 0.5 ** (((sample[:, None] - sample) / half_width) ** 2)
    return blur


def _misfit(gaussians: F8, image: F8, u: F8, v: F8, blur: F8) -> float:
    """Return the difference of Gaussians to an image, both smoothed, over the image."""
    return float(_difference(_densities(gaussians[:, 1:], u, v) @ gaussians[:, 0], image, blur))


def _difference(drawn: F8, images: F8, blur: F8) -> F8:
    """Return the same of Gaussians that are drawn, (..., samples)."""
    left, seen = drawn.reshape(images.shape) - images, blur @ images @ blur
    left = blur @ left @ blur
    axes = (-1, -2)
    difference: F8 = np.sqrt(np.sum(left**2, axis=axes) / np.sum(seen**2, axis=axes))
    return difference


def _scales(image: F8, u: F8, v: F8, moments: F8, blur: F8) -> F8:
    """Return the scales of concentric Gaussians that represent an image, few if these will do."""

    def misfit(scales: F8, blur: F8) -> float:
        return float(_fit_concentric(image[None], u, v, moments[None], scales, blur)[1][0])

    as_it_is = np.identity(len(image))
    few = min(FEW_SCALES, key=lambda scales: misfit(scales, as_it_is))
    left = misfit(few, blur)
    return few if left < FEW_MISFIT or left < ENOUGH * misfit(SCALES, blur) else SCALES


def _fit_concentric(images: F8, u: F8, v: F8, moments: F8, scales: F8, blur: F8) -> tuple[F8, F8]:
    """Take images apart into Gaussians of one shape each.

    Parameters
    ----------
    images : (n, side, side) float64
    u, v : (side * side,) float64
    moments : (n, 3) float64
    scales : (j,) float64
    blur : (side, side) float64

    Returns
    -------
    gaussians : (n, j, 6) float64
    misfit : (n,) float64
    """
    xx, xy, yy = moments.T[:, :, None]
    determinant = xx * yy - xy**2
    q = (yy * u**2 - 2.0 * xy * u * v + xx * v**2) * (-0.5 / determinant)
    unit = 2.0 * np.pi * np.sqrt(determinant)[..., None] * scales
    design = np.exp(q[:, :, None] / scales) / unit
    weights = _weights(design, images.reshape(len(images), -1))
    gaussians = np.zeros((len(images), scales.size, 6))
    gaussians[:, :, 0] = weights
    gaussians[:, :, 3:] = scales[:, None] * moments[:, None, :]
    drawn = np.matmul(design, weights[:, :, None])
    return gaussians, _difference(drawn, images, blur)


def _round(image: F8, u: F8, v: F8) -> F8:
    """Return moments to start from: those of a round Gaussian of the size of the core."""
    cell = (u.max() - u.min()) * (v.max() - v.min()) / (image.size - 1)
    size = float(np.sum(image > 0.5 * image.max()) * cell / (2 * np.pi * np.log(2)))
    return np.array([size, 0.0, size])


def _moments(images: F8, u: F8, v: F8, start: F8) -> F8:
    """Return xx, xy, yy of the Gaussian whose own weighted moments an image reproduces, (n, 3).

    Adaptive moments (Bernstein & Jarvis 2002, AJ 123, 583), from `start`, (3,).
    """
    flat = images.reshape(len(images), -1)
    squares = np.stack([u * u, u * v, v * v])
    found, left = np.tile(start, (len(images), 1)), np.arange(len(images))
    for _ in range(60):
        xx, xy, yy = found[left].T
        scale = -0.5 / (xx * yy - xy**2)
        form = np.stack([yy * scale, -2.0 * xy * scale, xx * scale], axis=1)
        weight = flat[left] * np.exp(form @ squares)
        new = 2.0 * (weight @ squares.T) / weight.sum(axis=1, keepdims=True)
        good = (new[:, 0] > 0.05) & (new[:, 2] > 0.05)
        good &= new[:, 0] * new[:, 2] > 1.05 * new[:, 1] ** 2
        moved = np.abs(new - found[left]).max(axis=1) >= 1e-4 * (new[:, 0] + new[:, 2])
        found[left[good]] = new[good]
        left = left[good & moved]
        if not left.size:
            break
    return found


def _free_shapes(image: F8, u: F8, v: F8) -> F8:
    """Return centres and covariances of Gaussians that make up an image.

    Expectation-maximization from places all over the light, then damped least squares.
    """
    light = np.maximum(image.ravel(), 0.0)
    light /= light.sum()
    places = _start(light, u, v)
    weights = np.full(len(places), 1.0 / len(places))
    for _ in range(_MAXIMIZATIONS):
        share = _densities(places, u, v) * weights
        share *= (light / np.maximum(share.sum(axis=1), 1e-30))[:, None]
        weights = share.sum(axis=0)
        safe = np.maximum(weights, 1e-12)
        x, y = (u @ share) / safe, (v @ share) / safe
        dx, dy = u[:, None] - x, v[:, None] - y
        xx, xy, yy = ((share * m).sum(axis=0) / safe for m in (dx * dx, dx * dy, dy * dy))
        places = np.column_stack([x, y, np.maximum(xx, _SMALLEST), xy, np.maximum(yy, _SMALLEST)])
    return _polished(places, weights, image, u, v)


def _polished(places: F8, weights: F8, image: F8, u: F8, v: F8) -> F8:
    """Improve centres and covariances by damped least squares.

    The variables are weight, centre, and the Cholesky factor (exp a, 0; b, exp c) of the
    covariance less its least value.
    """
    xx, xy, yy = places[:, 2] - 0.5 * _SMALLEST, places[:, 3], places[:, 4] - 0.5 * _SMALLEST
    a = 0.5 * np.log(np.maximum(xx, 0.1 * _SMALLEST))
    b = xy / np.exp(a)
    c = 0.5 * np.log(np.maximum(yy - b**2, 0.1 * _SMALLEST))
    variables = np.stack([weights, places[:, 0], places[:, 1], a, b, c])
    flat = image.ravel()
    # a Gaussian that is wider than the image of the PSF is a level of the sky
    widest = math.log(_WIDEST * max(u.max(), v.max()))
    damping = 1e-2
    left, slopes = _linearized(variables, flat, u, v)
    for _ in range(_STEPS):
        normal = slopes.T @ slopes
        diagonal = np.diagonal(normal) * damping + 1e-12 * np.trace(normal)
        step = np.linalg.solve(normal + np.diag(diagonal), slopes.T @ left)
        trial = variables + step.reshape(variables.shape)
        trial[[3, 5]] = np.minimum(trial[[3, 5]], widest)
        new, new_slopes = _linearized(trial, flat, u, v)
        if np.sum(new**2) < np.sum(left**2):
            variables, left, slopes, damping = trial, new, new_slopes, 0.3 * damping
            if np.abs(left).max() < _GOOD * flat.max():
                break
        else:
            damping = min(10.0 * damping, 1e6)
    return _places(variables)


def _places(variables: F8) -> F8:
    _, x, y, a, b, c = variables
    a, c = np.exp(a), np.exp(c)
    least = 0.5 * _SMALLEST
    return np.column_stack([x, y, a * a + least, a * b, b * b + c * c + least])


def _linearized(variables: F8, flat: F8, u: F8, v: F8) -> tuple[F8, F8]:
    """Return image less Gaussians, and the derivatives of these, (samples, 6 j)."""
    weight, x, y, a, b, c = variables
    places = _places(variables)
    xx, xy, yy = places.T[2:]
    determinant = xx * yy - xy**2
    density = _densities(places, u, v)
    dx, dy = u[:, None] - x, v[:, None] - y
    p, q = (yy * dx - xy * dy) / determinant, (xx * dy - xy * dx) / determinant
    d_xx = 0.5 * (p * p - yy / determinant)
    d_xy = p * q + xy / determinant
    d_yy = 0.5 * (q * q - xx / determinant)
    a, c = np.exp(a), np.exp(c)
    light = density * weight
    parts = (
        density, light * p, light * q,
        light * (2.0 * a * a * d_xx + a * b * d_xy), light * (a * d_xy + 2.0 * b * d_yy),
        light * 2.0 * c * c * d_yy,
    )  # fmt: skip
    return flat - light.sum(axis=1), np.concatenate(parts, axis=1)


def _start(light: F8, u: F8, v: F8) -> F8:
    """Return places far from each other and bright, as k-means++ does but without chance."""
    size = max(float(np.sum(light * (u**2 + v**2))), 0.5)
    chosen = [int(np.argmax(light))]
    nearest = (u - u[chosen[0]]) ** 2 + (v - v[chosen[0]]) ** 2
    while len(chosen) < N_FREE:
        chosen.append(int(np.argmax(light * nearest)))
        nearest = np.minimum(nearest, (u - u[chosen[-1]]) ** 2 + (v - v[chosen[-1]]) ** 2)
    spread = np.full(N_FREE, size / N_FREE + _SMALLEST)
    return np.column_stack([u[chosen], v[chosen], spread, np.zeros(N_FREE), spread])
