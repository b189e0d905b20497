"""Dips of radio maps, and sources that are not higher than these are deep."""

import numpy as np

from skyextract.stages.detection.sidelobes import find_sidelobes


def gaussian(shape, x, y, height, sigma=2.0):
    row, column = np.indices(shape)
    return height * np.exp(-0.5 * ((column - x) ** 2 + (row - y) ** 2) / sigma**2)


def test_dips_about_a_bright_source():
    shape = (300, 300)
    rng = np.random.default_rng(1)
    image = rng.normal(0.0, 1.0, shape) + gaussian(shape, 60, 60, 500.0)
    angle = np.arange(8) * np.pi / 4
    places = 60.0 + 20.0 * np.cos(angle), 60.0 + 20.0 * np.sin(angle)
    for k, (x, y) in enumerate(zip(*places, strict=True)):
        image += gaussian(shape, x, y, 12.0 * (-1) ** k)
    image += gaussian(shape, 250, 250, 12.0) + gaussian(shape, 90, 60, 40.0)
    x = np.array([60.0, 250.0, 90.0, *places[0][::2]])
    y = np.array([60.0, 250.0, 60.0, *places[1][::2]])
    peak = image[np.rint(y).astype(int), np.rint(x).astype(int)].astype(np.float32)
    no_bad = np.zeros(shape, np.bool_)
    dips, marked = find_sidelobes(image.astype(np.float32), 1.0, no_bad, x, y, peak, 4.7)
    assert dips.are_many
    assert "dips of the map are 5 times as deep" in dips.doubt
    assert marked.rows.tolist() == [False, False, False, True, True, True, True]
    assert "4 of 7 sources" in marked.doubt
    some = np.maximum(image, -4.0).astype(np.float32)
    assert find_sidelobes(some, 1.0, no_bad, x, y, peak, 4.7) is None
    no_bad[:100, :100] = True
    assert find_sidelobes(image.astype(np.float32), 1.0, no_bad, x, y, peak, 4.7) is None
