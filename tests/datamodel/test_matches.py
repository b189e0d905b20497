"""The radius of a match."""

import pytest

from skyextract.datamodel.matches import MAX_RADIUS, match_radius


@pytest.mark.parametrize(
    ("crossid", "scale", "radius"),
    [(2.0, 0.5, 2.0), (2.0, 21.0, 31.5), (2.0, 3600.0, MAX_RADIUS), (500.0, 3600.0, 500.0)],
)
def test_a_pixel_widens_the_radius_up_to_a_limit(crossid, scale, radius):
    assert match_radius(crossid, scale) == radius
