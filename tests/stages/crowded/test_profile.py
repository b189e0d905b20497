"""Profiles against galaxies that galsim drew."""

import galsim
import numpy as np
import pytest

from skyextract.stages.crowded import pairs, profile
from skyextract.stages.crowded.pairs import fit_alone, fit_pairs
from skyextract.stages.crowded.profile import Windows, fit_profiles

SIZE, NOISE = 48, 3.0
PSF = galsim.Moffat(beta=3.0, fwhm=3.5)
MIDDLE = galsim.PositionD(SIZE // 2 + 1, SIZE // 2 + 1)


def drawn(profile):
    """An image about its first pixel."""
    image = profile.drawImage(galsim.ImageD(SIZE, SIZE), scale=1, center=MIDDLE).array
    return np.roll(image, (-(SIZE // 2), -(SIZE // 2)), (0, 1))


def windows(images, stars):
    rng = np.random.default_rng(2)
    data = np.array(images) + rng.normal(0, NOISE, (len(images), SIZE, SIZE))
    psf = np.repeat(drawn(PSF)[None], len(images), axis=0)
    weight = np.full(data.shape, NOISE**-2, np.float32)
    return Windows(data.astype(np.float32), weight, psf.astype(np.float32), stars)


def guess(n):
    return np.tile([1e4, 0.0, 0.0, 2.0, 0.0, 2.0, 0.4], (n, 1))


GALAXIES = [
    galsim.Exponential(half_light_radius=4.0).shear(q=0.6, beta=0.7 * galsim.radians),
    galsim.Gaussian(half_light_radius=3.0).shear(q=0.4, beta=2.0 * galsim.radians),
    galsim.Sersic(2.5, half_light_radius=3.0, trunc=15.0),
]


def test_profiles_describe_galaxies_to_the_noise():
    """A Gaussian is the limit of large indices: nearly."""
    images = [drawn(galsim.Convolve(PSF, g).withFlux(2e4).shift(0.4, -0.7)) for g in GALAXIES]
    fits = fit_profiles(windows(images, np.zeros((3, 0, 2))), guess(3), *np.full((2, 3), np.inf))
    np.testing.assert_allclose(fits.chi2 / SIZE**2, [1.0, 1.2, 1.0], atol=0.1)
    np.testing.assert_allclose(fits.shape[:, 1:3], [[0.4, -0.7]] * 3, atol=0.05)
    assert fits.shape[0, 0] == pytest.approx(2e4, rel=0.03)


def test_bright_galaxies_are_not_given_up():
    """What a fit starts from is far from the noise where there is much light."""
    image = drawn(galsim.Convolve(PSF, GALAXIES[0]).withFlux(8e4).shift(0.4, -0.7))
    goal, start = np.full(1, 1.1 * SIZE**2), guess(1)
    start[:, 0] = 7e4
    fits = fit_profiles(windows([image], np.zeros((1, 0, 2))), start, np.full(1, np.inf), goal)
    assert (fits.chi2 < goal).all()


def test_stars_upon_galaxies():
    star = np.array([[[5.3, -2.2]]])
    image = drawn(galsim.Convolve(PSF, GALAXIES[0]).withFlux(2e4))
    image += drawn(PSF.withFlux(3000.0).shift(*star[0, 0]))
    fits = fit_profiles(windows([image], star), guess(1), *np.full((2, 1), np.inf))
    assert fits.chi2[0] / SIZE**2 == pytest.approx(1.0, abs=0.1)
    assert fits.stars[0, 0] == pytest.approx(3000.0, rel=0.05)
    without = fit_profiles(windows([image], star[:, :0]), guess(1), *np.full((2, 1), np.inf))
    assert without.chi2[0] > 1.5 * fits.chi2[0]


@pytest.mark.parametrize("second", [GALAXIES[0], galsim.Sersic(3.5, half_light_radius=4.0)])
def test_two_bright_galaxies_are_described_together(second):
    """At S/N 500 what one takes of the other is far above the noise."""
    places = np.array([[-9.6, -2.2], [9.4, 3.1]])
    light = [g.withFlux(2e4) for g in (GALAXIES[0].rotate(1.2 * galsim.radians), second)]
    pair = [galsim.Convolve(PSF, g).shift(*p) for g, p in zip(light, places, strict=True)]
    cut = windows([sum(drawn(g) for g in pair)], np.zeros((1, 0, 2)))
    alone = fit_alone(cut, guess(1))
    start = places[np.argmax(np.abs(places - alone.shape[0, 1:3]).sum(axis=1))]
    both = fit_pairs(cut, alone, np.rint(start)[None], np.full(1, 1.1 * SIZE**2), 3.5)
    assert alone.chi2[0] > 20.0 * SIZE**2
    assert both.chi2[0] < 1.1 * SIZE**2
    order = np.argsort(both.centres[0, :, 0])
    np.testing.assert_allclose(both.centres[0, order], places, atol=0.05)


def test_pairs_that_are_none_are_given_up(monkeypatch):
    """A ring of stars is no two galaxies: nearer than twice the noise no steps can come."""
    angle = np.arange(7) * 2 * np.pi / 7
    image = sum(drawn(PSF.withFlux(2e4).shift(9 * np.cos(a), 9 * np.sin(a))) for a in angle)
    cut = windows([image], np.zeros((1, 0, 2)))
    alone = fit_alone(cut, guess(1))
    start = np.array([[0.0, 9.0]])
    steps = []

    def counted(*args, **options):
        fits = fit_profiles(*args, **options)
        steps.append(fits.steps[0])
        return fits

    monkeypatch.setattr(pairs, "fit_profiles", counted)
    monkeypatch.setattr(profile, "LITTLE", 0.0)  # which ends a fit that goes on
    full = fit_pairs(cut, alone, start, np.full(1, np.inf), 3.5)
    most = sum(steps)
    steps.clear()
    given_up = fit_pairs(cut, alone, start, np.full(1, 2.0 * SIZE**2), 3.5)
    assert full.chi2[0] > 10.0 * SIZE**2
    assert given_up.chi2[0] > 2.0 * SIZE**2
    assert sum(steps) < 0.8 * most


def test_hopeless_fits_are_given_up():
    """Two stars apart are no galaxy; a fit that shall reach the noise ends early."""
    image = drawn(PSF.withFlux(8000.0).shift(6, 0)) + drawn(PSF.withFlux(8000.0).shift(-6, 3))
    one = windows([image], np.zeros((1, 0, 2)))
    full = fit_profiles(one, guess(1), *np.full((2, 1), np.inf))
    given_up = fit_profiles(one, guess(1), np.full(1, float(SIZE**2)), np.full(1, np.inf))
    assert SIZE**2 < full.chi2[0] <= given_up.chi2[0]
    far = fit_profiles(one, guess(1), np.full(1, np.inf), np.full(1, full.chi2[0] / 10.0))
    assert far.chi2[0] > full.chi2[0]


@pytest.mark.parametrize("size", [20, 24, 30, 36, 40, 48, 60, 72, 96, 128])
def test_profiles_are_what_their_transforms_say(size):
    """Two of them and a star upon them, by numpy's transforms; the first step draws the guess."""
    k_y, k_x = 2 * np.pi * np.fft.fftfreq(size)[:, None], 2 * np.pi * np.fft.rfftfreq(size)
    psf = np.fft.irfft2(np.exp(-1.2 * (k_x**2 + k_y**2)), s=(size, size))
    shapes = np.array(
        [[9e3, 0.4, -0.7, 2.0, 0.6, 1.4, 0.4], [5e3, -3.1, 2.2, 1.5, -0.8, 2.5, -0.6]]
    )
    star = np.array([[[2.3, 1.6]]])
    drawn = 0.0
    for flux, x, y, xx, xy, yy, index in shapes:
        fall = (1 + (xx * k_x + xy * k_y) ** 2 + (yy * k_y) ** 2) ** -(1 + index)
        drawn = drawn + flux * fall * np.exp(-1j * (k_x * x + k_y * y))
    drawn = np.fft.irfft2(drawn * np.fft.rfft2(psf), s=(size, size))
    point = np.exp(-1j * (k_x * star[0, 0, 0] + k_y * star[0, 0, 1]))
    point = np.fft.irfft2(point * np.fft.rfft2(psf), s=(size, size))
    data = drawn + 700.0 * point
    weight = np.full((1, size, size), NOISE**-2, np.float32)
    data4, psf4 = (v[None].astype(np.float32) for v in (data, psf))
    cut = Windows(data4, weight, psf4, star)
    never = np.full(1, np.inf)
    first = fit_profiles(cut, shapes.reshape(1, 14), never, never, steps=1)
    np.testing.assert_allclose(first.models[0], drawn, atol=2e-5 * drawn.max())
    chi2 = ((data - drawn) ** 2 / NOISE**2).sum()
    assert first.chi2[0] == pytest.approx(chi2, rel=1e-3)
    # Its flux is all that is wrong.
    fitted = fit_profiles(cut, shapes.reshape(1, 14), never, never)
    assert fitted.stars[0, 0] == pytest.approx(700.0, rel=0.01)
    assert fitted.chi2[0] < 1.0
    assert first.steps[0] == 0


@pytest.mark.parametrize("number", [1, 2])
def test_what_has_edges_is_not_crept_up_to(number):
    """No profile has them: the last steps of many take nothing off a large chi2."""
    y, x = np.indices((SIZE, SIZE)) - SIZE // 2
    plateaus = (np.hypot(x - 4, y - 7) < 6) | (np.hypot(x + 5, y + 6) < 8)
    cut = windows([np.fft.ifftshift(3000.0 * plateaus)], np.zeros((1, 0, 2)))
    start, never = np.tile(guess(1), number), np.full(1, np.inf)
    start[0, 1:3] = 4.0, 7.0
    fits = fit_profiles(cut, start, never, never, steps=60, slow=True)
    further = fit_profiles(cut, fits.shape, never, never)
    assert fits.steps[0] < 30
    assert fits.chi2[0] > 100.0 * SIZE**2
    assert further.chi2[0] > 0.98 * fits.chi2[0]
