"""Light of stars in bins, by the profile of the bright ones."""

import numpy as np

from skyextract.stages.patterns.starlight import WINGS, light_of_stars

SIZE = 256


def drawn(n: int, level: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Return noisy stars upon a level, in an empty margin, and their light alone."""
    rng = np.random.default_rng(4)
    v, u = np.mgrid[:SIZE, :SIZE]
    light = np.zeros((SIZE, SIZE))
    for x, y, flux in zip(
        *rng.uniform(45.0, 210.0, (2, n)), rng.uniform(100.0, 900.0, n), strict=True
    ):
        light += 0.15 * flux * (1.0 + ((u - x) ** 2 + (v - y) ** 2) / 4.0) ** -3
    known = np.zeros((SIZE, SIZE), np.bool_)
    known[30:-30, 30:-30] = True
    rest = np.where(known, light + level + rng.normal(size=light.shape), 0.0)
    return rest.astype(np.float32), light


def test_stars_are_drawn_with_their_wings_and_without_the_level():
    for level in (0.0, 0.3):
        rest, light = drawn(40, level)
        found = light_of_stars(rest, rest != 0.0, 1.0)
        assert abs(found.sum() / light.sum() - 1.0) < 0.05
        # Far out, where none is seen.
        faint = (light > 0.1) & (light < 1.0)
        assert abs((found - light)[faint].mean()) < 0.1


def test_few_stars_tell_no_profile():
    rest, _ = drawn(3)
    assert not light_of_stars(rest, rest != 0.0, 1.0).any()


def test_stars_at_the_edge_of_the_frame():
    rest, _ = drawn(40)
    known = rest != 0.0
    known[:, :100] = False
    found = light_of_stars(np.where(known, rest, np.float32(0.0)), known, 1.0)
    assert not found[:, : 99 - WINGS].any()
