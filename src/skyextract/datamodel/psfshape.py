"""Width and ellipticity of an image of a PSF."""

from __future__ import annotations

import math

import numpy as np

from skyextract.datamodel.arrays import F4, F8
from skyextract.errors import StepError
from skyextract.kernels.psf.bspline import PAD, spline_coefficients
from skyextract.kernels.psf.coreshape import match_gaussians

WINDOW_STEPS, WINDOW_AT_REST = 30, 1e-6
"""Steps of a windowed centroid, at most, and the last one's size in samples."""


def _interpolate(image: F8, x: F8, y: F8) -> F8:
    """Cubic B-spline through the samples of `image`, at sample coordinates x, y."""
    pad = PAD
    coefficients = np.empty((1, image.shape[0] + 2 * pad, image.shape[1] + 2 * pad))
    spline_coefficients(np.ascontiguousarray(image[None], dtype=np.float32), coefficients)
    total = np.zeros(x.shape)
    i = np.floor(x).astype(np.int64)
    j = np.floor(y).astype(np.int64)
    weights_x, weights_y = _spline_weights(x - i), _spline_weights(y - j)
    height, width = coefficients.shape[1:]
    first = np.clip(j + pad - 1, 0, height - 4) * width + np.clip(i + pad - 1, 0, width - 4)
    values = coefficients.ravel()
    for b in range(4):
        row = np.zeros(x.shape)
        for a in range(4):
            row += weights_x[a] * values[first + (b * width + a)]
        total += weights_y[b] * row
    return total


def _spline_weights(f: F8) -> tuple[F8, F8, F8, F8]:
    g = 1.0 - f
    return (
        g**3 / 6.0,
        (4.0 - 6.0 * f**2 + 3.0 * f**3) / 6.0,
        (4.0 - 6.0 * g**2 + 3.0 * g**3) / 6.0,
        f**3 / 6.0,
    )


Shape = tuple[float, float, float, float, float]
"""What `core_shape` returns."""


def core_shape(image: F8) -> Shape:
    """Centroid and covariance of a PSF image under a matched elliptical Gaussian.

    Parameters
    ----------
    image : (n, n) float64
        Samples of the PSF, peaked near the middle.

    Returns
    -------
    x, y, xx, yy, xy : float
        Centroid relative to the middle sample and covariance, in samples.

    Raises
    ------
    StepError
        The image is no PSF: the moments do not converge.
    """
    x, y, xx, yy, xy = core_shapes(image[None])[0].tolist()
    return x, y, xx, yy, xy


def core_shapes(images: F4 | F8) -> F8:
    """Return what `core_shape` does of several images, (n_images, 5)."""
    shapes = np.empty((len(images), 5))
    match_gaussians(np.ascontiguousarray(images, dtype=np.float64), shapes)
    if np.isnan(shapes).any():
        raise StepError("the PSF model has no measurable core")
    return shapes


def window_centre(image: F8) -> tuple[float, float]:
    """Return the centroid of a PSF image under the round window of XWIN_IMAGE and YWIN_IMAGE.

    A Gaussian that has the half-light radius as 2.35 / 2 of its sigma, moved to the centroid
    under it until it stays (Bertin, SExtractor manual, "Windowed positional parameters"): of
    PSFs that are skewed, or two stars displaced, other windows have other centres.

    Parameters
    ----------
    image : (n, n) float64
        Samples of the pixel-integrated PSF, peaked near the middle.

    Returns
    -------
    x, y : float
        Relative to the middle sample, in samples.
    """
    offset = np.arange(image.shape[0]) - (image.shape[0] - 1) / 2
    radius = np.hypot(offset[:, None], offset).ravel()
    order = np.argsort(radius, kind="stable")
    light = np.cumsum(image.ravel()[order])
    half = radius[order[min(int(np.searchsorted(light, 0.5 * light[-1])), light.size - 1)]]
    sigma = 2.0 * max(float(half), 0.5) / 2.35
    x = y = 0.0
    for _ in range(WINDOW_STEPS):
        across = np.exp(-0.5 * ((offset - x) / sigma) ** 2)
        along = np.exp(-0.5 * ((offset - y) / sigma) ** 2)
        columns, rows = along @ image * across, image @ across * along
        step_x = 2.0 * float(columns @ (offset - x) / columns.sum())
        step_y = 2.0 * float(rows @ (offset - y) / rows.sum())
        x, y = x + step_x, y + step_y
        if abs(step_x) + abs(step_y) < WINDOW_AT_REST:
            break
    return x, y


def effective_fwhm(image: F8, sampling: float, shape: Shape | None = None) -> float:
    """Full width at half maximum, in pixels, of the mean profile of a PSF image.

    The mean is taken along ellipses of the core's shape and unit area ratio: of an elongated
    PSF it is the geometric mean of both axes.

    Parameters
    ----------
    image : (n, n) float64
        Samples of the pixel-integrated PSF.
    sampling : float
        Size of a sample in pixels.
    shape : tuple of float, optional
        The `core_shape` of the image, if it is known.

    Raises
    ------
    StepError
        The profile does not fall to half its maximum within the image.
    """
    x, y, xx, yy, xy = shape or core_shape(image)
    middle = (image.shape[0] - 1) / 2
    angle = np.arange(64) * (2.0 * math.pi / 64)
    # Square root (Cholesky) of the covariance of unit determinant.
    root = math.sqrt(math.sqrt(xx * yy - xy * xy))
    a = math.sqrt(xx)
    along, across, skew = a / root, root / a, xy / (a * root)
    stretch = max(1.0, math.hypot(along, skew), across)
    radius = np.arange(0.0, (middle - 1.0) / stretch, 0.1)
    profile = _interpolate(
        image,
        middle + x + radius[:, None] * (along * np.cos(angle)),
        middle + y + radius[:, None] * (skew * np.cos(angle) + across * np.sin(angle)),
    ).mean(axis=1)
    half = 0.5 * profile.max()
    peak = int(profile.argmax())
    below = np.flatnonzero(profile[peak:] < half)
    if below.size == 0 or half <= 0:
        raise StepError("the PSF model does not fall to half its maximum")
    k = peak + int(below[0])
    inner = radius[k - 1] + 0.1 * (profile[k - 1] - half) / (profile[k - 1] - profile[k])
    return float(2.0 * inner * sampling)


ENDS = 0.65
"""Half the length of a trail with blurred ends, in FWHM along it."""


def radius_with_ends(factor: float, fwhm: float, axis_ratio: float) -> float:
    """Return `factor` FWHM, or more where the ends of a long image lie outside of it.

    Only its ends tell where a trail is along its length.

    Parameters
    ----------
    fwhm : float
        Geometric mean of both axes.
    axis_ratio : float
        b/a.
    """
    return max(factor, ENDS / math.sqrt(axis_ratio)) * fwhm


def half_light_diameter(image: F8, sampling: float) -> float:
    """Diameter, in pixels, of the circle about the centroid of the core with half of the light.

    It is the FWHM of a Gaussian, and more for a PSF with wings; PSFEx calls it PSF_FWHM.
    """
    x, y, *_ = core_shape(image)
    middle = (image.shape[0] - 1) / 2
    row, column = np.indices(image.shape)
    radius = np.hypot(column - middle - x, row - middle - y).ravel()
    order = np.argsort(radius, kind="stable")
    light = np.cumsum(image.ravel()[order])
    k = int(np.searchsorted(light, 0.5 * light[-1]))
    # samples are squares: the circle whose area is that of the first of them
    share = (0.5 * light[-1] - light[k - 1]) / (light[k] - light[k - 1]) if k else 0.5
    return 2.0 * math.sqrt((k + share) / math.pi) * sampling


def core_ellipticity(image: F8, shape: Shape | None = None) -> float:
    """1 - b/a of the core of a PSF image, whose `core_shape` may be known."""
    _, _, xx, yy, xy = shape or core_shape(image)
    split = math.hypot(0.5 * (xx - yy), xy)
    mean = 0.5 * (xx + yy)
    return 1.0 - math.sqrt(max(mean - split, 0.0) / (mean + split))
