"""Parts of a frame that stand in it twice: packets that were lost, borders that mirror it."""

from __future__ import annotations

import numpy as np
import pytest

from skyextract.run import Run
from skyextract.stages.pixels.repeats import mark_mirrored, mark_repeats


def noise(seed, size=512, step=1.0):
    """Return a sky of 400 with a noise of 14, in steps."""
    image = 400.0 + 14.0 * np.random.default_rng(seed).normal(size=(size, size))
    return (np.rint(image / step) * step).astype(np.float32)


def marked(image, mark=mark_repeats):
    """Return the pixels that are marked, whether there are any, and what is said."""
    without, run = np.zeros(image.shape, np.bool_), Run(1)
    any_marked = mark(image, without, run)
    return without, any_marked, run.warnings


@pytest.mark.parametrize("step", [1.0, 0.001])
def test_packets_that_stand_twice_are_marked_and_told(step):
    image = noise(1, step=step)
    true = np.zeros(image.shape, np.bool_)
    for row, column in ((64, 128), (80, 128), (160, 0), (432, 384), (304, 200)):
        part = np.s_[row : row + 16, column : column + 128]
        image[part] = image[row - 16 : row, column : column + 128]
        true[part] = True
    without, any_marked, said = marked(image)
    assert any_marked
    np.testing.assert_array_equal(without, true)
    assert "parts of the frame are exact copies" in said[0]


@pytest.mark.parametrize("step", [0.01, 1.0, 14.0, 28.0])
def test_noise_has_none(step):
    for seed in range(4):
        for mark in (mark_repeats, mark_mirrored):
            without, any_marked, said = marked(noise(seed, step=step), mark)
            assert not any_marked
            assert not without.any()
            assert not said


@pytest.mark.parametrize(
    "kind", ["photons", "tiles", "empty", "padding", "enlarged", "wide pixels"]
)
def test_what_is_made_so_is_no_lost_packet(kind):
    rng = np.random.default_rng(3)
    image = {
        "photons": lambda: rng.poisson(0.05, (512, 512)),
        "tiles": lambda: np.tile(noise(3, 128), (4, 4)),
        "empty": lambda: np.zeros((512, 512)),
        "padding": lambda: np.where(np.indices((512, 512))[0] < 99, -32768.0, noise(3)),
        "enlarged": lambda: np.repeat(np.repeat(noise(3, 256), 2, axis=0), 2, axis=1),
        "wide pixels": lambda: np.repeat(noise(3), 6, axis=0)[:512],
    }[kind]()
    for mark in (mark_repeats, mark_mirrored):
        assert not marked(image.astype(np.float32), mark)[1]


@pytest.mark.parametrize("mode", ["symmetric", "reflect"])
@pytest.mark.parametrize("step", [1.0, 0.001])
def test_borders_that_mirror_the_image_are_marked_and_told(mode, step):
    image = np.pad(noise(1, step=step), ((45, 0), (2, 100)), mode=mode)
    true = np.ones(image.shape, np.bool_)
    true[45:, 2:-100] = False
    without, any_marked, said = marked(image, mark_mirrored)
    assert any_marked
    np.testing.assert_array_equal(without, true)
    assert "(2 at the left, 100 at the right, 45 at the bottom:" in said[0]


def test_a_model_that_mirrors_about_its_middle_has_no_such_borders():
    x = np.abs(np.arange(512) - 255.5)
    model = 1e4 / (1.0 + x[:, None] ** 2 + x**2)
    assert not marked(model.astype(np.float32), mark_mirrored)[1]
