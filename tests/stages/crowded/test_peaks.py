"""What is left is a star from a share of the models on that tells it from their errors."""

import galsim
import numpy as np
import pytest

from skyextract.stages.crowded import search
from skyextract.stages.crowded.hidden import MAX_SHARE
from skyextract.stages.crowded.peaks import MIN_SHARE, least_share
from tests.compare.crowds import matched, measured
from tests.simulate.crowds import FWHM, simulate


@pytest.mark.parametrize(
    ("error", "expected"), [(0.001, MIN_SHARE), (0.03, 0.12), (0.1, MAX_SHARE)]
)
def test_the_share_is_four_errors_of_the_models(error, expected):
    rng = np.random.default_rng(4)
    model = rng.uniform(0.0, 500.0, (400, 400)).astype(np.float32)
    rest = (model * rng.normal(0.0, error, model.shape)).astype(np.float32)
    stars = rng.uniform(size=model.shape) < 0.01
    rest[stars] = model[stars]
    broken = np.zeros(model.shape, np.bool_)
    broken[200:] = True
    rest[broken] = 30.0 * model[broken]
    assert least_share(rest, model, broken, 5.0) == pytest.approx(expected, rel=0.05)


def test_few_bright_pixels_tell_nothing():
    model = np.full((300, 300), 10.0, np.float32)
    model[:10, :10] = 1e4
    none = np.zeros(model.shape, np.bool_)
    assert least_share(0.01 * model, model, none, 5.0) == MAX_SHARE


def test_stars_beneath_others_are_found():
    """Two of less than a FWHM apart leave less than a fifth of the light of the one fitted.

    At least two of three that are added are stars.
    """
    right, false = np.zeros((2, 2))
    for seed in (1, 2):
        field = simulate("40", 320, seed, galsim.Gaussian(fwhm=FWHM))
        for k in range(2):
            with pytest.MonkeyPatch.context() as patch:
                if k == 0:
                    patch.setattr(search, "least_share", lambda *_: MAX_SHARE)
                match = matched(field, measured(field, "FLUX_PSF XPSF_IMAGE YPSF_IMAGE"))[0]
            right[k] += match.any(axis=1).sum()
            false[k] += (~match.any(axis=1)).sum()
    assert right[1] > right[0] + 2.0 * max(false[1] - false[0], 0.0)
