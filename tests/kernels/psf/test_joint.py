"""Sources nearer to each other than the PSF is wide, against numpy's solution of all at once."""

from __future__ import annotations

import numpy as np
import pytest

from skyextract.datamodel.psf import Psf
from skyextract.run import Run
from skyextract.stages.pointsources.fit import psf_photometry
from tests.kernels.psf.test_model import rendered

PSF = Psf.gaussian(3.5)
SIZE, GAIN, NOISE, RADIUS = 31, 3.0, 4.0, 1.5 * 3.5


def scene(offsets, fluxes, seed):
    """An image of stars about its middle."""
    rng = np.random.default_rng(seed)
    x, y = SIZE // 2 + 0.3 + np.array(offsets, float).T
    truth = sum(f * rendered(PSF, *at, SIZE)[0] for f, *at in zip(fluxes, x, y, strict=True))
    noise = rng.normal(size=truth.shape) * np.sqrt(NOISE**2 + truth / GAIN)
    return (truth + noise).astype(np.float32), x, y


def fitted(image, x, y):
    variance = np.full(image.shape, NOISE**2, np.float32)
    mask = np.zeros(image.shape, np.uint16)
    return psf_photometry(image, variance, GAIN, mask, PSF, x, y, Run(), spread=False)


def steps(image, fit):
    """What each source's own equations still ask of all sources, in errors of each alone."""
    n = fit.flux.size
    stamps = np.array([rendered(PSF, x, y, SIZE) for x, y in zip(fit.x, fit.y, strict=True)])
    models = np.einsum("n,nij->ij", fit.flux, stamps[:, 0])
    weight = 1 / (NOISE**2 + np.maximum(models, 0.0) / GAIN)
    yy, xx = np.indices(image.shape)
    inside = [(xx - x) ** 2 + (yy - y) ** 2 <= RADIUS**2 for x, y in zip(fit.x, fit.y, strict=True)]
    matrix = np.einsum("naij,nij,mbij->namb", stamps, weight * inside, stamps)
    vector = np.einsum("naij,nij,ij->na", stamps, weight * inside, image - models)
    step = np.linalg.solve(matrix.reshape(3 * n, 3 * n), vector.ravel())
    return step * np.sqrt(np.diag(matrix.reshape(3 * n, 3 * n)))


@pytest.mark.parametrize(
    ("offsets", "fluxes"),
    [
        ([(0, 0), (2.2, 0.4)], [20000.0, 9000.0]),
        ([(0, 0), (2.0, 0.9)], [12000.0, 12000.0]),
        ([(0, 0), (2.4, 0.3), (0.8, 2.4)], [20000.0, 14000.0, 9000.0]),
    ],
)
def test_close_sources_have_the_joint_solution(offsets, fluxes):
    for seed in range(5):
        image, x, y = scene(offsets, fluxes, seed)
        rng = np.random.default_rng(seed)
        fit = fitted(image, *np.add([x, y], rng.uniform(-0.4, 0.4, (2, x.size))))
        assert fit.sweeps < 10
        # Fit regions are about the places where the last fit began: some pixels of their borders
        # differ, which is much where sources are hard to tell apart.
        assert np.abs(steps(image, fit)).max() < 1.2
        if x.size == 2:
            assert fit.converged.all()
            assert np.abs((fit.flux - fluxes) / fit.flux_error).max() < 3.0
