"""Grow a similarity from the few stars that suggested it to the whole frame."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from skyextract.datamodel.arrays import F8
from skyextract.datamodel.noise import median
from skyextract.kernels.astrometry.match import mutual_nearest
from skyextract.record import record
from skyextract.sky.plate import gnomonic, monomials, stereographic_inverse
from skyextract.stages.astrometry.fields import Field
from skyextract.stages.astrometry.pointing import Start


@record
class Rough:
    """A rough solution.

    Attributes
    ----------
    ra0, dec0 : float
        Tangent point, deg: about the centre of the frame.
    unit : float
        Degrees of one nominal pixel.
    flip : bool
    xi, eta : float64 (n,)
        Tangent-plane coordinates (deg) of all detections of the field.
    radius : float
        Pixels within which a true match is to be expected.
    """

    ra0: float
    dec0: float
    unit: float
    flip: bool
    xi: F8
    eta: F8
    radius: float


class Similarity(NamedTuple):
    """A hypothesis: shift, rotation and scale from the frame to the reference.

    Numbers for one; arrays for many, which `score_similarities` takes as columns.

    Attributes
    ----------
    x, y : float
        Origin, in the plane of the detections.
    to_x, to_y : float
        Its image, in the plane of the reference.
    cosine, sine : float
        Of the rotation, times the scale.
    mirrored : float
        1 if x is mirrored at the origin first, else 0.
    """

    x: Any
    y: Any
    to_x: Any
    to_y: Any
    cosine: Any
    sine: Any
    mirrored: Any

    @property
    def scale(self) -> float:
        """The change of scale."""
        return math.hypot(self.cosine, self.sine)

    @property
    def is_mirrored(self) -> bool:
        """Whether the frame is mirrored against what was expected."""
        return bool(self.mirrored > 0.5)

    def transformed(self, x: F8, y: F8) -> tuple[F8, F8]:
        """Return where this puts points."""
        dx, dy = x - self.x, y - self.y
        if self.is_mirrored:
            dx = -dx
        return (
            self.to_x + self.cosine * dx - self.sine * dy,
            self.to_y + self.sine * dx + self.cosine * dy,
        )


def refine(
    start: Start, field: Field, unit: float, hypothesis: Similarity, nr: int, nd: int,
    *, sparse: bool = False,
) -> Rough | None:  # fmt: skip
    """Grow a hypothesis from its neighbourhood to the whole frame.

    The model of the distortion gets more terms as more pairs are found.

    Parameters
    ----------
    nr, nd : int
        Bright reference stars and detections that are used.
    sparse : bool
        Few reference stars are on the frame, and the hypothesis holds all over it.
    """
    zx, zy = hypothesis.transformed(field.wx, field.wy)
    centre = hypothesis.transformed(np.zeros(1), np.zeros(1))
    ra0, dec0 = (float(v[0]) for v in stereographic_inverse(
        centre[0] * unit, centre[1] * unit, start.ra, start.dec))  # fmt: skip
    sky = stereographic_inverse(zx * unit, zy * unit, start.ra, start.dec)
    px, py = (v / unit for v in gnomonic(*sky, ra0, dec0))
    half = 0.55 * math.hypot(*start.shape) * hypothesis.scale
    near = field.around(start, ra0, dec0, 1.2 * half * unit)
    near = near[near < nr]
    tx, ty = (
        v / unit for v in gnomonic(field.reference.ra[near], field.reference.dec[near], ra0, dec0)
    )
    on_frame = np.hypot(tx, ty) < 1.2 * half
    near, tx, ty = near[on_frame], tx[on_frame], ty[on_frame]
    if len(near) < 3 or not np.all(np.isfinite(px)):
        return None
    density = len(near) / (math.pi * (1.2 * half) ** 2)
    bx, by = px[:nd], py[:nd]
    anchor = int(np.argmin(np.hypot(
        field.wx[:nd] - hypothesis.x, field.wy[:nd] - hypothesis.y)))  # fmt: skip
    distance = np.hypot(bx - bx[anchor], by - by[anchor])
    whole = float(distance.max())
    # Chance pairs stay below 15 % at the widest tolerance.
    widest = min(math.sqrt(0.15 / (math.pi * density)), max(5.0, 0.012 * max(start.shape)))
    reach = min(whole, max(0.25 * whole, float(np.sort(distance)[min(12, len(distance) - 1)])))
    reach = whole if sparse else reach
    qx, qy = bx, by
    tolerance = widest
    degree, coefficients = 0, np.zeros((2, 1))
    settled = 0
    sigma = widest
    pairs = np.zeros((2, 0), np.int64)
    for _ in range(25):
        inside = np.flatnonzero(distance <= reach)
        first, second, _ = mutual_nearest(qx[inside], qy[inside], tx, ty, tolerance)
        first = inside[first]
        n = len(first)
        if n < 3:
            return None
        before, pairs = pairs, np.stack([first, second])
        same = np.array_equal(pairs, before)
        if not same:
            highest = 0 if n < 6 else 1 if n < 20 else 2 if n < 40 else 3
            degree, coefficients, sigma = _robust(
                bx[first] / half, by[first] / half, tx[second], ty[second], highest
            )
            qx, qy = _evaluate(bx / half, by / half, degree, coefficients)
        if reach >= whole:
            settled += 1
            wider, tolerance = tolerance, min(widest, max(4.0 * sigma, 1.0))
            if settled >= 4 or (same and tolerance == wider):  # nothing would change any more
                break
        else:
            reach = min(whole, 1.4 * reach)
            tolerance = min(widest, max(6.0 * sigma, 0.5 * widest))
    qx, qy = _evaluate(px / half, py / half, degree, coefficients)
    return Rough(
        ra0, dec0, unit, hypothesis.is_mirrored, qx * unit, qy * unit, max(4.0 * sigma, 1.0)
    )


def _robust(u: F8, v: F8, tx: F8, ty: F8, degree: int) -> tuple[int, F8, float]:
    """Fit polynomials (degree 0: a similarity) with clipping; return also sigma."""
    keep = np.ones(len(u), bool)
    if degree == 0:
        # A similarity close to the identity, written as polynomials of degree 1.
        design = np.concatenate([
            np.stack([u, -v, np.ones_like(u), np.zeros_like(u)], axis=1),
            np.stack([v, u, np.zeros_like(u), np.ones_like(u)], axis=1),
        ])  # fmt: skip
    else:
        design = monomials(u, v, degree)
    target = np.stack([tx, ty], axis=1)
    sigma = 0.0
    for _ in range(6):
        if degree == 0:
            both = np.concatenate([keep, keep])
            a, b, c, d = _solved(design[both], target.T.ravel()[both])
            coefficients = np.array([[c, a, -b], [d, b, a]])
            distance = np.hypot(*(coefficients @ monomials(u, v, 1).T - target.T))
            free = max(2.0 * keep.sum() - 4.0, 1.0)
        else:
            coefficients = _solved(design[keep], target[keep]).T
            distance = np.hypot(*(coefficients @ design.T - target.T))
            free = max(2.0 * (keep.sum() - design.shape[1]), 1.0)
        # The median of a Rayleigh distribution is 1.1774 sigma per axis.
        sigma = median(distance[keep]) / 1.1774 * math.sqrt(2.0 * keep.sum() / free)
        again = distance <= max(3.5 * sigma, 0.05)
        least = 3 if degree == 0 else design.shape[1] + 2
        if np.array_equal(again, keep) or again.sum() < least:
            break
        keep = again
    return max(degree, 1), coefficients, sigma


def _solved(design: F8, target: F8) -> F8:
    """Least squares by normal equations: few and well-scaled columns, called many times."""
    return np.asarray(np.linalg.pinv(design.T @ design, hermitian=True) @ (design.T @ target))


def _evaluate(u: F8, v: F8, degree: int, coefficients: F8) -> tuple[F8, F8]:
    x, y = coefficients @ monomials(u, v, degree).T
    return x, y
