"""The background variance plane."""

from __future__ import annotations

import numpy as np
import pytest

from skyextract.datamodel.background import BackgroundMap
from skyextract.datamodel.exposure import Detector, Exposure
from skyextract.datamodel.flags import Mask
from skyextract.run import Run
from skyextract.settings.keywords import Weights
from skyextract.stages.background.noise import background_variance

SKY = BackgroundMap(
    level=np.full((1, 1), 100.0, dtype=np.float32),
    rms=np.full((1, 1), 3.0, dtype=np.float32),
    mesh_width=64, mesh_height=64, shape=(40, 50), mean=100.0, sigma=3.0,
)  # fmt: skip


def exposure(**planes):
    image = np.full((40, 50), 100.0, dtype=np.float32)
    image[10, 10] = 600.0
    mask = np.zeros(image.shape, dtype=np.uint16)
    mask[0, 0], mask[0, 1], mask[0, 2], mask[0, 3] = Mask.BAD, Mask.SAT, Mask.NO_DATA, Mask.EDGE
    return Exposure(image, mask, detector=Detector(gain=2.0), **planes)


def noise_of(given, weight_scale, **weights):
    return background_variance(
        given, SKY, given.image - np.float32(100), weight_scale, Weights(**weights), Run(), index=1
    )


def plane(value):
    return np.full((40, 50), value, dtype=np.float32)


def test_from_the_mesh():
    assert noise_of(exposure(), 1.0) is None
    variance = noise_of(exposure(), 1.0, weight_type=("NONE", "BACKGROUND"))
    assert variance.dtype == np.float32
    np.testing.assert_allclose(variance, 9.0, rtol=1e-6)


@pytest.mark.parametrize(
    ("kind", "rescale", "expected"),
    [("MAP_VAR", True, 8.0), ("MAP_VAR", False, 0.5), ("MAP_RMS", True, 0.5)],
)
def test_rescale_weights_holds_for_all_maps_but_rms(kind, rescale, expected):
    given = exposure(weight=plane(0.5))
    variance = noise_of(given, 4.0, weight_type=(kind,), rescale_weights=(rescale,))
    assert variance[20, 20] == pytest.approx(expected)


def test_from_the_weight_map_with_its_scale():
    weight = plane(0.5)
    weight[5, 5] = 1e30
    variance = noise_of(exposure(weight=weight), 4.0)
    assert variance[20, 20] == pytest.approx(8.0)
    assert variance[5, 5] >= 1e30


def test_photons_of_the_sources_are_taken_off_a_total_variance():
    total = plane(59.0)
    total[10, 10] += 250.0
    total[7, 7] = np.inf
    given = exposure(variance=total)
    variance = noise_of(given, 1.0)
    assert variance[10, 10] == pytest.approx(59.0)
    assert variance[20, 20] == pytest.approx(59.0)
    assert variance[7, 7] >= 1e30
    assert given.variance[10, 10] == 309.0


def test_a_variance_that_the_photons_exceed_stays_positive():
    variance = noise_of(exposure(variance=plane(10.0)), 1.0)
    assert 0 < variance[10, 10] < 1.0
