"""PSFs as sums of Gaussians."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from skyextract.datamodel.psf import Psf, PsfSource
from skyextract.stages.galaxies.mixture import MAX_MISFIT, PsfMixture

galsim = pytest.importorskip("galsim")


def psf_of(profile: Any, sampling: float = 1.0) -> Psf:
    pixel = galsim.Convolve(profile, galsim.Pixel(1.0))
    image = pixel.drawImage(nx=41, ny=41, scale=sampling, method="no_pixel").array
    image = image / image.sum() / sampling**2
    return Psf(
        basis=image[None].astype(np.float32), sampling=sampling, degree=0, x_zero=0, x_scale=1,
        y_zero=0, y_scale=1, fwhm=4.0, ellipticity=0.0, source=PsfSource.MEASURED,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("profile", "sampling", "count"),
    [
        (galsim.Moffat(beta=2.5, fwhm=4.0), 1.0, 4),
        (galsim.Kolmogorov(fwhm=4.0).shear(g1=0.1, g2=0.05), 1.0, 4),
        (galsim.Moffat(beta=3.0, fwhm=1.2), 0.4, 4),
        (galsim.Convolve(galsim.Moffat(beta=3, fwhm=3), galsim.Box(9, 0.1)), 1.0, 16),
        (
            galsim.Convolve(
                galsim.Kolmogorov(fwhm=3.0),
                galsim.OpticalPSF(lam_over_diam=1.0, coma1=0.2, defocus=0.3, obscuration=0.3),
            ),
            1.0,
            16,
        ),
    ],
)
def test_a_psf_is_right_to_a_hundredth(profile: Any, sampling: float, count: int) -> None:
    psf = psf_of(profile, sampling)
    mixture = PsfMixture.of(psf, (100, 100))
    assert mixture.gaussians.shape == (1, count, 6)
    assert mixture.gaussians[0, :, 0].sum() == pytest.approx(1.0)
    assert mixture.misfit[0] < MAX_MISFIT
    # and pixel by pixel too
    weight, x, y, xx, xy, yy = mixture.gaussians[0].T
    v, u = (np.indices((41, 41)) - 20.0)[..., None] * sampling
    determinant = xx * yy - xy**2
    q = (yy * (u - x) ** 2 - 2 * xy * (u - x) * (v - y) + xx * (v - y) ** 2) / determinant
    drawn = np.sum(weight * np.exp(-0.5 * q) / (2 * np.pi * np.sqrt(determinant)), axis=-1)
    worst = np.sqrt(np.sum((drawn - psf.basis[0]) ** 2) / np.sum(psf.basis[0] ** 2))
    assert worst < 0.01
    assert 0.1 * worst < mixture.misfit[0] < 1.1 * worst
    # no light far from where it was seen
    assert drawn.sum() * sampling**2 == pytest.approx(1.0, abs=0.02)


def test_the_noise_of_a_psf_is_no_shape() -> None:
    psf = psf_of(galsim.Moffat(beta=3.0, fwhm=4.0))
    noise = 0.005 * psf.basis.max() * np.random.default_rng(1).normal(size=psf.basis.shape)
    noisy = replace(psf, basis=(psf.basis + noise).astype(np.float32))
    mixture = PsfMixture.of(noisy, (100, 100))
    assert mixture.gaussians.shape == (1, 4, 6)
    assert mixture.misfit[0] < 1.5 * MAX_MISFIT


def test_a_ring_is_told_to_be_badly_represented() -> None:
    ring = galsim.OpticalPSF(lam_over_diam=1.2, defocus=2.0, obscuration=0.4)
    assert PsfMixture.of(psf_of(ring), (100, 100)).misfit[0] > MAX_MISFIT


def test_nodes_are_the_nearest_of_the_field() -> None:
    basis = np.zeros((3, 21, 21), np.float32)
    v, u = np.mgrid[-10:11, -10:11]
    basis[0] = np.exp(-0.5 * (u**2 + v**2) / 3.0) / (6 * np.pi)
    psf = Psf(
        basis=basis, sampling=1.0, degree=1, x_zero=100, x_scale=100, y_zero=50, y_scale=50,
        fwhm=4.0, ellipticity=0.0, source=PsfSource.MEASURED,
    )  # fmt: skip
    mixture = PsfMixture.of(psf, (120, 240))
    nodes = mixture.nearest(np.array([0.0, 239.0, 0.0, 30.0]), np.array([0.0, 0.0, 119.0, 15.0]))
    assert nodes.tolist() == [0, 7, 56, 9]
