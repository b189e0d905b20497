import math

import pytest

from skyextract.sky.angles import is_sexagesimal, parse_angle


@pytest.mark.parametrize(
    ("text", "hours", "degrees"),
    [
        ("23:26:33.6", True, 351.64),
        ("23 26 33.6", True, 351.64),
        ("23h26m33.6s", True, 351.64),
        ("+00:06:40", False, 0.1111111),
        ("-00:06:40", False, -0.1111111),
        ("-00 30", False, -0.5),
        ("-12d30'36\"", False, -12.51),
        ("23:26:33,6", True, 351.64),
        ("351.64", True, 351.64),
        (351.64, True, 351.64),
        (12, False, 12.0),
    ],
)
def test_values(text, hours, degrees):
    assert parse_angle(text, hours=hours) == pytest.approx(degrees, abs=1e-6)


@pytest.mark.parametrize("text", [None, True, "", "north", "12:99:00", "1:2:3:4", "nan"])
def test_no_angle(text):
    assert math.isnan(parse_angle(text, hours=True))


def test_sexagesimal():
    assert is_sexagesimal("1:2:3")
    assert not is_sexagesimal("1.5")
    assert not is_sexagesimal(1.5)
