"""The beam of a radio map as its PSF, and noise that has passed through it."""

import numpy as np
import pytest

from skyextract.datamodel.beam import OF_BEAM, POINTS, filter_of_beam, psf_of_beam
from skyextract.datamodel.header import Header
from skyextract.datamodel.psf import PsfSource
from skyextract.datamodel.wcs import SkyWcs

SCALE = 0.5 / 3600


def header(major, minor, angle, turn=0.0, mirrored=False):
    """Axes in pixels, angles in deg: of the beam from north through east, of the frame."""
    cos, sin = np.cos(np.radians(turn)), np.sin(np.radians(turn))
    east = 1.0 if mirrored else -1.0
    return Header({
        "NAXIS1": 101, "NAXIS2": 101, "CTYPE1": "RA---SIN", "CTYPE2": "DEC--SIN",
        "CRPIX1": 51.0, "CRPIX2": 51.0, "CRVAL1": 200.0, "CRVAL2": -35.0,
        "CD1_1": east * SCALE * cos, "CD1_2": SCALE * sin,
        "CD2_1": -east * SCALE * sin, "CD2_2": SCALE * cos, "BUNIT": "JY/BEAM",
        "BMAJ": major * SCALE, "BMIN": minor * SCALE, "BPA": angle,
    })  # fmt: skip


@pytest.mark.parametrize(("turn", "mirrored"), [(0.0, False), (70.0, False), (-25.0, True)])
@pytest.mark.parametrize("angle", [0.0, 30.0, 115.0])
def test_the_psf_is_the_beam_on_the_sky(angle, turn, mirrored):
    cards = header(9.0, 4.0, angle, turn, mirrored)
    wcs = SkyWcs.from_header(cards)
    psf = psf_of_beam(cards, wcs)
    assert psf.source is PsfSource.FILE
    assert (psf.fwhm, psf.ellipticity) == pytest.approx((6.0, 1.0 - 4.0 / 9.0))
    stamp = psf.stamp(50, 50).astype(float)
    half = stamp.shape[0] // 2
    y, x = np.indices(stamp.shape) - half
    alpha, delta = wcs.to_sky(50.0 + x, 50.0 + y)
    east = (alpha - 200.0) * np.cos(np.radians(-35.0)) / SCALE
    north = (delta + 35.0) / SCALE
    along = east * np.sin(np.radians(angle)) + north * np.cos(np.radians(angle))
    across = east * np.cos(np.radians(angle)) - north * np.sin(np.radians(angle))
    expected = np.exp(-4.0 * np.log(2.0) * ((along / 9.0) ** 2 + (across / 4.0) ** 2))
    np.testing.assert_allclose(stamp / stamp.max(), expected, atol=0.01)
    assert stamp.sum() == pytest.approx(1.0, abs=0.002)


def test_what_is_none():
    cards = header(9.0, 4.0, 30.0)
    assert psf_of_beam(cards, None) is None
    cards["BUNIT"] = "Jy"
    assert psf_of_beam(cards, SkyWcs.from_header(cards)) is None


def smoothed(image, fwhm):
    """Through a Gaussian of sum 1."""
    wave = np.hypot(np.fft.fftfreq(len(image))[:, None], np.fft.rfftfreq(image.shape[1]))
    sigma = fwhm / np.sqrt(8.0 * np.log(2.0))
    transfer = np.exp(-2.0 * (np.pi * wave * sigma) ** 2)
    return np.fft.irfft2(np.fft.rfft2(image) * transfer, s=image.shape)


def test_noise_of_fits_and_of_the_filter():
    """Each over that of independent pixels: their ratio."""
    fwhm = 8.0
    noise = smoothed(np.random.default_rng(1).normal(size=(1024, 1024)), fwhm)
    noise /= noise.std()

    def excess(width):
        sigma = width / np.sqrt(8.0 * np.log(2.0))
        return smoothed(noise, width).std() * 2.0 * np.sqrt(np.pi) * sigma

    assert excess(fwhm) / excess(OF_BEAM * fwhm) == pytest.approx(POINTS, rel=0.02)
    psf = psf_of_beam(header(fwhm, fwhm, 0.0), SkyWcs.from_header(header(fwhm, fwhm, 0.0)))
    narrow = filter_of_beam(psf)
    assert narrow.stamp(50, 50).sum() == pytest.approx(1.0, abs=0.01)
    square = float((narrow.stamp(50, 50).astype(float) ** 2).sum())
    assert square == pytest.approx(
        float((psf.stamp(50, 50).astype(float) ** 2).sum()) / OF_BEAM**2, rel=0.02
    )
