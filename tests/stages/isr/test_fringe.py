import numpy as np
import pytest
from astropy.io import fits

from skyextract.datamodel.calibrations import Master
from skyextract.errors import ImageError
from skyextract.run import Run
from skyextract.settings.resolve import resolve
from skyextract.stages.isr.fringe import subtract_fringe

N = 256


def master(pattern):
    return Master("fringe", pattern.astype(np.float32), None, 1.0, fits.Header(), "fringe.fits")


def test_the_pattern_goes_and_the_stars_stay():
    rng = np.random.default_rng(1)
    y, x = np.mgrid[:N, :N]
    pattern = 0.02 * np.sin((x + 0.4 * y) / 5.0) * np.cos(y / 37.0)
    stars = np.zeros((N, N))
    for cx, cy in rng.uniform(10, N - 10, (40, 2)):
        stars += 3000.0 * np.exp(-0.5 * ((x - cx) ** 2 + (y - cy) ** 2) / 2.0)
    clean = 2000.0 + 0.5 * x + stars
    image = (clean + 2000.0 * pattern + rng.normal(0, 45, (N, N))).astype(np.float32)
    mask = np.zeros((N, N), np.uint16)
    config = resolve(None).config
    corrected, amplitude = subtract_fringe(image, mask, master(pattern), config, Run(1))
    assert amplitude == pytest.approx(2000.0, rel=0.02)
    left = ((corrected - clean) * pattern).sum() / (pattern**2).sum()
    assert abs(left) < 40.0
    assert image[10, 10] != corrected[10, 10]


def test_a_constant_pattern_is_refused():
    image = np.random.default_rng(0).normal(100, 1, (N, N)).astype(np.float32)
    with pytest.raises(ImageError, match="no fringe pattern"):
        subtract_fringe(
            image,
            np.zeros((N, N), np.uint16),
            master(np.zeros((N, N))),
            resolve(None).config,
            Run(1),
        )
