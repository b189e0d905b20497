"""Galaxies and stars in one clump are told one after the other."""

import galsim
import numpy as np

from skyextract.kernels.psf.profiles import N_SHAPE
from skyextract.stages.crowded.mixtures import tell_mixture
from skyextract.stages.crowded.profile import Windows

FWHM, NOISE, PENALTY = 3.5, 5.0, 6.0
PSF = galsim.Gaussian(fwhm=FWHM)


def drawn(thing, x, y, size):
    """The image of a thing at x, y from pixel size // 2."""
    return thing.drawImage(nx=size, ny=size, scale=1.0, offset=(x + 0.5, y + 0.5)).array


def window_of(things, seed=1, size=48):
    """A window about its first pixel, as FFTs have it, of (x, y, flux, radius) from that."""
    total = np.zeros((size, size))
    for x, y, flux, radius in things:
        thing = PSF
        if radius:
            disc = galsim.Exponential(half_light_radius=radius).shear(
                q=0.6, beta=1 * galsim.radians
            )
            thing = galsim.Convolve(disc, PSF)
        total += drawn(thing.withFlux(flux), x, y, size)
    stamp = drawn(PSF, 0.0, 0.0, size)
    total += np.random.default_rng(seed).normal(0.0, NOISE, total.shape)
    data, psf = (np.roll(v, -(size // 2), (0, 1))[None].astype(np.float32) for v in (total, stamp))
    weight = np.full_like(data, 1.0 / NOISE**2)
    return Windows(data, weight, psf, np.zeros((1, 0, 2)))


def test_two_galaxies_and_a_star():
    things = [(-5.0, 1.0, 30000.0, 4.0), (5.5, -1.5, 20000.0, 3.0), (1.0, 6.0, 9000.0, 0.0)]
    for seed in (1, 2, 3):
        window = window_of(things, seed)
        told = tell_mixture(window, np.inf, PENALTY, FWHM)
        assert told.shape.size == 2 * N_SHAPE
        order = np.argsort(told.centres[:, 0])
        assert np.abs(told.centres[order] - np.array([t[:2] for t in things[:2]])).max() < 0.5
        star = np.argmax(told.flux)
        assert np.hypot(*(told.stars[star] - things[2][:2])) < 0.2
        assert abs(told.flux[star] / 9000.0 - 1.0) < 0.1
        assert told.chi2 < 1.1 * window.data.size


def test_stars_are_no_mixture():
    """Without a profile nothing is said, nor where the goal is lower."""
    window = window_of([(-4.0, 0.0, 8000.0, 0.0), (3.0, 1.0, 5000.0, 0.0)])
    assert tell_mixture(window, np.inf, PENALTY, FWHM) is None
    galaxy = window_of([(0.0, 0.0, 8000.0, 4.0)])
    assert tell_mixture(galaxy, np.inf, PENALTY, FWHM).shape.size == N_SHAPE
    assert tell_mixture(galaxy, 1000.0, PENALTY, FWHM) is None
