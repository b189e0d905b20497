"""The light of the neighbours of PSF stars, fitted with the PSF of an earlier pass.

Where stars are so wide that others shine on most of their pixels, masks leave too little of
them, and what shines in from outside the masks becomes part of the PSF's wings.
"""

from __future__ import annotations

from dataclasses import field, replace

import numpy as np

from skyextract.datamodel.arrays import F4, F8, U2
from skyextract.datamodel.noise import median
from skyextract.datamodel.psf import Psf
from skyextract.kernels.psf.peaks import WING_MARGIN
from skyextract.kernels.values import MAD_TO_SIGMA, MAX_VARIANCE
from skyextract.record import record
from skyextract.run import Run
from skyextract.stages.pointsources.sweeps import (
    FINE,
    MAX_SWEEPS,
    FittedSources,
    add_models,
    point_fit,
)

WING_SCALE, WING_BETA = 1.1305, 2.5
"""The wing of a star as `kernels.psf.peaks.moffat_wing` has it."""

LOST = 0.05
"""Fits end early where more than this share of the peaks pass their light back and forth: point
sources do not describe it (trails, spectra)."""

MOST_STEPS = 20
"""Steps of a source, in all sweeps, after which it keeps its position: stars have made a dozen."""

RING = 2.2
"""The sky beside a star begins at so many FWHM."""


@record
class Neighbours:
    """All peaks of an image, fitted as point sources.

    Attributes
    ----------
    sources : FittedSources
    height : (m,) float64
        Of the peaks in the smoothed image.
    models : (ny, nx) float32
        Their light.
    psf : Psf
    beside : dict
        What `light_beside` gave: models of other kinds of the same stars ask again.
    """

    sources: FittedSources
    height: F8
    models: F4
    psf: Psf
    beside: dict[tuple[int, bytes], F4] = field(default_factory=dict)

    @classmethod
    def fit(
        cls, data: F4, variance: F4, gain: float, mask: U2, psf: Psf, peaks: F8, run: Run,
        last: Neighbours | None = None,
    ) -> Neighbours:  # fmt: skip
        """Fit a PSF to peaks.

        Parameters
        ----------
        data, variance, gain, mask, psf
            As in `psf_photometry`.
        peaks : (4, m) float64
            As in `Candidates`.
        last : Neighbours, optional
            The same peaks fitted with the same PSF on another sky: the fit goes on from there.
        """
        x, y, height, _ = peaks
        sources, models = FittedSources.at(x, y), None
        if last is not None:
            steps = np.zeros_like(last.sources.iterations)
            sources, models = replace(last.sources.all_stale(), iterations=steps), last.models
        accuracy = FINE._replace(most_steps=MOST_STEPS)
        fit = point_fit(data, variance, gain, mask, psf, sources, models, accuracy)
        sources = fit.sweep(sources, MAX_SWEEPS, run, many=LOST)
        return cls(sources, height, data - fit.planes.residual, psf)

    def light_beside(self, x: F8, y: F8, height: F8, half: int) -> F4:
        """Return the light of all other sources in the stamps of stars.

        What the stamps' masks take for part of a star (`kernels.psf.stamps.cut_stamps`) is
        part of it here.

        Parameters
        ----------
        x, y, height : (n,) float64
            The stars: 0-based pixels, and heights in the smoothed image.
        half : int
            Stamps have sides of ``2 half + 1`` pixels about the nearest one.

        Returns
        -------
        (n, size, size) float32
            0 outside the image.
        """
        stars = half, np.concatenate([x, y, height]).tobytes()
        if stars not in self.beside:
            self.beside[stars] = self._light_beside(x, y, height, half)
            self.beside[stars].flags.writeable = False
        return self.beside[stars]

    def _light_beside(self, x: F8, y: F8, height: F8, half: int) -> F4:
        """Draw what `light_beside` returns."""
        size = 2 * half + 1
        out = np.zeros((x.size, size, size), np.float32)
        ny, nx = self.models.shape
        fwhm = self.psf.fwhm
        at_x, at_y = self.sources.parameters[:, 1:].T
        light = self.models.copy()
        for star in range(x.size):
            distance = np.hypot(at_x - x[star], at_y - y[star])
            wing = (1.0 + (WING_SCALE * distance / fwhm) ** 2) ** -WING_BETA
            own = (distance < fwhm) | (self.height < WING_MARGIN * height[star] * wing)
            mine = self.sources.take(own & (distance < 3.0 * half))
            add_models(light, self.psf, mine, -1.0)
            left = int(np.floor(x[star] + 0.5)) - half
            low = int(np.floor(y[star] + 0.5)) - half
            a, b = max(0, low), max(0, min(ny, low + size))
            c, d = max(0, left), max(0, min(nx, left + size))
            out[star, a - low : b - low, c - left : d - left] = light[a:b, c:d]
            add_models(light, self.psf, mine, 1.0)
        return out


def level_beside(stamps: F4, noise: F4, flux: F8, fwhm: float) -> float:
    """Return the level of the sky about stars: what does not grow with their flux.

    The background of an image without free sky has light of the stars in it, which the wings
    of a PSF would then lack.
    """
    offset = np.arange(stamps.shape[1]) - stamps.shape[1] // 2
    ring = np.hypot(offset[:, None], offset) > RING * fwhm
    weight = np.where(noise[:, ring] < MAX_VARIANCE, 1.0 / noise[:, ring], 0.0)
    total = weight.sum(axis=1)
    known = total > 0.0
    if known.sum() < 3:
        return 0.0
    mean = (weight * stamps[:, ring]).sum(axis=1)[known] / total[known]
    matrix = np.stack([np.ones(known.sum()), flux[known]], axis=1)
    keep = np.ones(len(mean), np.bool_)
    for _ in range(5):
        fit = np.linalg.lstsq(matrix[keep], mean[keep], rcond=None)[0]
        rest = np.abs(mean - matrix @ fit)
        keep = rest <= 3.0 * MAD_TO_SIGMA * median(rest)
    return float(fit[0])


def free_share(noise: F4) -> float:
    """Return the share of the pixels of stamps, in their inscribed circles, that say something."""
    size = noise.shape[1]
    offset = np.arange(size) - size // 2
    inside = offset[:, None] ** 2 + offset**2 <= (size // 2 + 0.5) ** 2
    return median((noise[:, inside] < MAX_VARIANCE).mean(axis=1))
