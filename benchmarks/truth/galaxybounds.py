"""How well the total flux of a galaxy can be known at all: the Cramer-Rao bound.

    python -m benchmarks.truth.galaxybounds [--n 400] [--seed 1001] [--kind sersic "n 6"]

For each galaxy of the frames of truth.galaxies the Fisher matrix of place, flux, half-light radius,
shape, Sersic index and level of the sky, by differences of galsim's images.  The tables show the
scatter of magnitudes (half the distance of the percentiles 16 and 84) of the best estimate without
bias, for each range of the S/N: where all are fitted; where they have priors as wide as those of
MODEL_PRIORS and of their own mean, so that none pulls; where the index is known; where all but flux
and place are.
"""

from __future__ import annotations

import argparse
from typing import Any

import galsim
import numpy as np

from benchmarks.truth.galaxies import RANGES
from skyextract.stages.galaxies.fit import INDEX_PRIOR, RADIUS_PRIOR, SHEAR_PRIOR
from tests.simulate.galaxies import (
    GAIN,
    KINDS,
    READ_NOISE,
    SHAPES,
    SKY,
    GalaxyFrame,
    simulate_galaxies,
)

SKY_ERROR = 0.01
"""Of the level below a galaxy, in sigma of a pixel: what fits take in ordinary frames."""
STEP = 0.01
MAG = 2.5 / np.log(10.0)
KINDS_OF_ONE = [kind for kind in (*KINDS, *SHAPES) if kind not in ("bulge+disk", "barred")]
"""Whose galaxies are single Sersic profiles."""


def image(frame: GalaxyFrame, i: int, fwhm: float, change: np.ndarray) -> np.ndarray:
    """Draw a galaxy, of unit flux; `change` is that of x, y, ln r, e1, e2, ln n."""
    size = -0.5 * np.log(frame.axis_ratio[i])
    e1 = size * np.cos(2 * frame.angle[i]) + change[3]
    e2 = size * np.sin(2 * frame.angle[i]) + change[4]
    e = np.hypot(e1, e2)
    profile: Any = galsim.Sersic(
        n=float(np.clip(frame.index[i] * np.exp(change[5]), 0.3, 6.2)),
        half_light_radius=frame.radius[i] * np.exp(change[2]),
    )
    if e > 0.0:
        profile = profile.shear(
            q=np.exp(-2 * e), beta=0.5 * float(np.arctan2(e2, e1)) * galsim.radians
        )
    psf = galsim.Moffat(beta=3.0, fwhm=fwhm).shear(g1=0.03, g2=0.01)
    reach = int(min(max(8 * fwhm, 4 * frame.radius[i] + 4 * fwhm), 60))
    place = galsim.PositionD(frame.x[i] % 1 + change[0], frame.y[i] % 1 + change[1])
    stamp = galsim.ImageD(2 * reach + 1, 2 * reach + 1)
    stamp.setCenter(0, 0)
    galsim.Convolve(profile, psf).drawImage(stamp, scale=1, center=place)
    drawn: np.ndarray = stamp.array.ravel()
    return drawn


def bounds(frame: GalaxyFrame, i: int, fwhm: float) -> np.ndarray:
    """Return the errors of the magnitude: all free, with priors, index known, shape known."""
    model = image(frame, i, fwhm, np.zeros(6))
    # the ends of galsim's range of indices want one-sided differences
    low = np.full(6, -STEP)
    high = np.full(6, STEP)
    low[5] *= frame.index[i] > 0.31
    high[5] *= frame.index[i] < 5.9
    slopes = [
        (image(frame, i, fwhm, high * u) - image(frame, i, fwhm, low * u)) / (high - low)[k]
        for k, u in enumerate(np.eye(6))
    ]
    flux = frame.flux[i]
    jacobian = flux * np.array([model, *slopes, np.full(model.size, 1.0 / flux)])
    noise2 = SKY / GAIN + (READ_NOISE / GAIN) ** 2
    fisher = (jacobian / (noise2 + flux * model / GAIN)) @ jacobian.T
    fisher[7, 7] += 1.0 / (SKY_ERROR**2 * noise2)
    prior = np.zeros(8)
    prior[[3, 4, 5, 6]] = (
        np.array([RADIUS_PRIOR[1], SHEAR_PRIOR, SHEAR_PRIOR, INDEX_PRIOR[1]]) ** -2
    )
    known = [np.arange(8), np.arange(8), np.array([0, 1, 2, 3, 4, 5, 7]), np.array([0, 1, 2, 7])]
    errors = []
    for k, free in enumerate(known):
        matrix = fisher + np.diag(prior) if k == 1 else fisher
        errors.append(np.sqrt(np.linalg.inv(matrix[np.ix_(free, free)])[0, 0]))
    return MAG * np.array(errors)


def scatter(errors: np.ndarray) -> float:
    """Return the scatter of normal errors of these widths: half the distance of percentiles."""
    draws = np.random.default_rng(1).normal(size=(400, errors.size)) * errors
    low, high = np.percentile(draws, (16, 84))
    return float(0.5 * (high - low))


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--n", type=int, default=400)
    parser.add_argument("--fwhm", type=float, default=3.6)
    parser.add_argument("--seed", type=int, default=1001)
    parser.add_argument("--kind", nargs="+", default=KINDS_OF_ONE, choices=KINDS_OF_ONE)
    options = parser.parse_args()
    print("scatter of the magnitude at best: all fitted, with priors, index known, shape known")
    for kind in options.kind:
        size = int(70 * options.n**0.5)
        frame = simulate_galaxies(options.n, size, options.seed, kind=kind, fwhm=options.fwhm)
        print(f"{kind}: FWHM {options.fwhm}, seed {options.seed}")
        for low, high in RANGES[:3]:
            own = np.flatnonzero(~frame.star & (frame.snr >= low) & (frame.snr < high))
            errors = np.array([bounds(frame, i, options.fwhm) for i in own])
            shown = "  ".join(f"{scatter(column):.3f}" for column in errors.T)
            print(f"    S/N {low:3.0f}-{high:<4.0f} {own.size:4d} galaxies: {shown}")


if __name__ == "__main__":
    main()
