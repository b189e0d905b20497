"""Third moments of blocks, against plain numpy."""

import numpy as np
import pytest

from skyextract.kernels.background.skewness import CLIPS, block_moments

WILD = 3.0


def plain(image, good):
    """Skewness, what neighbours share of it, and their correlation."""
    part = np.sort(image[good]).astype(np.float64)
    low, middle, high = (part[int(share * part.size)] for share in (0.1587, 0.5, 0.8413))
    sigma = 0.5 * (high - low)
    for _ in range(CLIPS):
        inside = part[np.abs(part - middle) <= WILD * sigma]
        middle, sigma = inside.mean(), inside.std()
    noise = (image.astype(np.float64) - middle) / sigma
    noise = np.where(good & (np.abs(noise) < WILD), noise, 0.0)
    along, across = (noise[:, 1:], noise[:, :-1]), (noise[1:], noise[:-1])
    shared = sum((a * a * b).mean() + (b * b * a).mean() for a, b in (along, across)) / 4.0
    correlation = sum((a * b).mean() for a, b in (along, across)) / 2.0 / (noise**2).mean()
    return (noise**3).sum() / part.size, shared, correlation


@pytest.mark.parametrize("lost", [0.0, 0.3])
@pytest.mark.parametrize("shape", [(64, 64), (40, 33)])
def test_moments_are_those_of_numpy(shape, lost):
    rng = np.random.default_rng(3)
    raw = rng.gamma(4.0, 10.0, (shape[0] + 1, shape[1] + 1))
    image = (raw[1:, 1:] + 0.5 * raw[:-1, 1:] + 0.3 * raw[1:, :-1]).astype(np.float32)
    good = rng.random(shape) >= lost
    image[~good] = np.nan
    out = np.empty(3)
    block = np.s_[:, 3 : shape[1] - 2]
    ordered = np.sort(image[block][good[block]])
    assert block_moments(image, good, 3, shape[1] - 2, ordered, WILD, out)
    np.testing.assert_allclose(out, plain(image[block], good[block]), rtol=1e-4)


def test_equal_pixels_have_no_noise():
    image = np.full((40, 40), 7.0, np.float32)
    assert not block_moments(image, image > 0.0, 0, 40, image.ravel(), WILD, np.empty(3))
