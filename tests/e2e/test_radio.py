"""A radio map: noise and sources have the shape of the beam that its header gives."""

import numpy as np
from astropy.io import fits

import skyextract as sky

N, FWHM, NOISE = 400, 5.0, 2e-5


def radio_map(seed):
    """White noise through the beam, with waves over the frame, and points of 6 to 40 sigma."""
    rng = np.random.default_rng(seed)
    wave = np.hypot(np.fft.fftfreq(N)[:, None], np.fft.rfftfreq(N))
    sigma = FWHM / np.sqrt(8.0 * np.log(2.0))
    transfer = np.exp(-2.0 * (np.pi * wave * sigma) ** 2)
    image = np.fft.irfft2(np.fft.rfft2(rng.normal(size=(N, N))) * transfer, s=(N, N))
    image *= NOISE / image.std()
    row, column = np.indices((N, N))
    x, y = (
        grid.ravel() + rng.uniform(-5, 5, 25) for grid in np.meshgrid(*[np.arange(40, N, 80)] * 2)
    )
    height = NOISE * np.geomspace(7.0, 60.0, 25)
    for at_x, at_y, peak in zip(x, y, height, strict=True):
        image += peak * np.exp(-0.5 * ((column - at_x) ** 2 + (row - at_y) ** 2) / sigma**2)
    return image.astype(np.float32), x, y, height


def test_sources_in_noise_of_the_beam(tmp_path):
    """The beam is the PSF: all sources, no other, and peaks with errors that hold."""
    scale = 1.0 / 3600
    cards = {
        "CTYPE1": "RA---SIN", "CTYPE2": "DEC--SIN", "CRPIX1": 200.0, "CRPIX2": 200.0,
        "CRVAL1": 30.0, "CRVAL2": -30.0, "CDELT1": -scale, "CDELT2": scale, "BUNIT": "Jy/beam",
        "BMAJ": FWHM * scale, "BMIN": FWHM * scale, "BPA": 0.0,
    }  # fmt: skip
    area = 2.0 * np.pi * FWHM**2 / (8.0 * np.log(2.0))
    pulls = []
    for seed in (1, 2, 3):
        image, x, y, height = radio_map(seed)
        fits.writeto(tmp_path / "map.fits", image, fits.Header(cards), overwrite=True)
        found = sky.process(str(tmp_path / "map.fits"), NTHREADS=1)
        assert found.psf.source == "FILE"
        assert found.status["characterize"] == found.status["measure"] == "COMPLETE"
        told = [word for text in found.warnings for word in ("fringes", "noise of") if word in text]
        assert not told
        table = found.table
        apart = np.hypot(table["X_IMAGE"][:, None] - 1.0 - x, table["Y_IMAGE"][:, None] - 1.0 - y)
        assert (apart.min(axis=1) < 3.0).all()
        is_found = apart.min(axis=0) < 3.0
        assert is_found[height > 7.5 * NOISE].all()
        row = apart.argmin(axis=0)[is_found]
        flux, error = (np.asarray(table[name][row]) / area for name in ("FLUX_PSF", "FLUXERR_PSF"))
        pulls.append((flux - height[is_found]) / error)
        by_model = sky.process(str(tmp_path / "map.fits"), APERCOR_DIAMETER=0, NTHREADS=1).table
        # The beam is the PSF of points by definition: nothing measured corrects it.
        np.testing.assert_array_equal(table["FLUX_PSF"], by_model["FLUX_PSF"])
    pull = np.concatenate(pulls)
    assert 0.8 < np.std(pull) < 1.3
    assert abs(np.mean(pull)) < 0.5
