"""Diagrams of points: where the points are, the numbers of the axes, the links."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from skyextract.outputs.html.scatter import Points, scatter_svg


def read(svg: str) -> tuple[np.ndarray, dict[str, tuple[float, float]], list[str]]:
    """Return the places of the points, those of the numbers, and the links."""
    root = ET.fromstring(svg.replace("<svg ", '<svg xmlns:xlink="x" ', 1))
    anchors = root.findall(".//a")
    places = [[float(v) for v in re.findall(r"[-.\d]+", a[0].attrib["transform"])] for a in anchors]
    texts = {
        t.text: (float(t.attrib["x"]), float(t.attrib["y"]))
        for t in root.findall("text") if "x" in t.attrib
    }  # fmt: skip
    return np.array(places), texts, [a.attrib["{x}href"] for a in anchors]


@pytest.mark.parametrize("is_down", [False, True])
def test_points_stand_where_the_numbers_of_the_axes_say(is_down):
    x, y = [3.25, 4.0, 6.0], [21.5, 22.75, 22.0]
    kinds = [Points("r", "#000", x, y, ["a b.html", "#f1", "c&d.html"])]
    places, texts, links = read(scatter_svg(kinds, ("hours", "mag"), 0.1, is_down=is_down))
    assert links == ["a b.html", "#f1", "c&d.html"]
    for axis, values in ((0, x), (1, y)):
        numbers = {
            float(text): at[axis] for text, at in texts.items()
            if re.fullmatch(r"[\d.]+", text) and (at[1] > 215) == (axis == 0)
        }  # fmt: skip
        assert len(numbers) >= 3
        slope, origin = np.polyfit(list(numbers), list(numbers.values()), 1)
        np.testing.assert_allclose(places[:, axis], origin + slope * np.array(values), atol=0.2)
        assert (slope > 0) == (axis == 0 or is_down)
    assert places[:, 0].min() > 62
    assert places[:, 0].max() < 366
    assert places[:, 1].min() > 16
    assert places[:, 1].max() < 208


@pytest.mark.parametrize(
    ("values", "least"),
    [([1e-7], 0.5), ([5.0], 0.25), ([0.0], 0.0), ([-3.0, 4e6], 1.0), ([1e-9, 2e-9], 0.0),
     ([21.00001, 21.00002], 0.1)],
)  # fmt: skip
def test_any_range_has_numbers(values, least):
    kinds = [Points("", "#000", [1.0] * len(values), values, ["#"] * len(values))]
    places, texts, _ = read(scatter_svg(kinds, ("x", "y"), least, is_down=False))
    assert np.all(np.isfinite(places))
    on_y = [text for text, at in texts.items() if at[0] < 62]
    assert 2 <= len(on_y) <= 12
    assert len(set(on_y)) == len(on_y)
    if least == 0.1:  # what is nearly constant is not magnified
        assert np.ptp(places[:, 1]) < 0.1


def test_kinds_are_named_and_differ_in_shape():
    kinds = [Points(name, "#000", [1.0], [1.0], ["#"]) for name in ("g", "r", "<i>")]
    svg = scatter_svg(kinds, ("x", "y"), 0.1, is_down=False)
    assert {"g", "r", "<i>"} <= set(read(svg)[1])
    assert len(set(re.findall(r' d="(M[^"]*z)"', svg))) >= 3
    many = [Points("long name", "#000", [1.0], [1.0], ["#"])] * 30
    assert "…" in read(scatter_svg(many, ("x", "y"), 0.1, is_down=False))[1]
