"""Lists of defects in their formats, against masks written down by hand."""

import numpy as np
import pytest

from skyextract.datamodel.rawframe import RawFrame
from skyextract.errors import ConfigError
from skyextract.io.raw.defects import check_defects, read_defects
from skyextract.run import Run


class _Frame(RawFrame):
    shape, name = (20, 30), "raw.fits"

    def __init__(self, header):
        object.__setattr__(self, "header", header)


def read(path, text, **cards):
    path.write_text(text)
    run = Run()
    return read_defects([str(path)], _Frame(cards), run), run.warnings


def block(x1, x2, y1, y2):
    mask = np.zeros((20, 30), np.uint8)
    mask[y1 - 1 : y2, x1 - 1 : x2] = 1
    return mask


@pytest.mark.parametrize(
    "text",
    [
        "5 7 11 12\n",
        "# x1 x2 y1 y2\n5, 7, 11, 12\n",
        "x1,x2,y1,y2\n5,7,11,12\n",
        "x,y,width,height\n5,11,3,2\n",
        "# Region file format: DS9\nglobal color=green\nimage\nbox(6,11.5,3,2,0) # hot\n",
        "image;box(6,11.5,2,3,90)\n",
        "image\nbox 6 11.5 3 2 0\n",
        "physical\nbox(6,11.5,3,2,0)\n",
        "image\n+box(6 11.5 3 2)\n",
        "point(5,11);point(6,11);point(7,11);point(5,12);point(6,12);point(7,12) # point=x\n",
    ],
)
def test_formats(tmp_path, text):
    mask, warnings = read(tmp_path / "d", text)
    np.testing.assert_array_equal(mask, block(5, 7, 11, 12))
    assert warnings == []


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("10 5 1 2\n", "line '10 5 1 2' is no box"),
        ("1 2 10 5\n", "is no box"),
        ("x1,x2,y1,y2\n10,5,1,2\n", "line 2 is no box"),
        ("x,y,width,height\n5,5,0,3\n", "line 2 is no box"),
        ("x,y,width,height\n5,5,3,-3\n", "line 2 is no box"),
        ("image\nbox(100,100,0,0,0)\n", "is no box"),
        ("image\nbox(10,10,-3,3)\n", "is no box"),
        ("image\nbox(1,2\n", "'box(1,2' is not understood"),
        ("image\nbox(6,11,3,2,0)\nbox 1,2\n", "is not understood"),
        ("image\nbox(6,11,3,2) box(8,8,1,1)\n", "is not understood"),
        ("image\ncircle(10,10,3)\n", "is not understood"),
        ("circle(10,10,3)\n", "is not understood"),
        ("image\n-box(6,11,3,2)\n", "is not understood"),
    ],
)
def test_lines_that_are_no_defects(tmp_path, text, told):
    (tmp_path / "d").write_text(text)
    with pytest.raises(ConfigError) as caught:
        check_defects([str(tmp_path / "d")], Run())
    assert told in str(caught.value)


@pytest.mark.parametrize(
    ("text", "n_off"),
    [
        ("image\nbox(-1000,-1000,5,5,0)\n", 1),
        ("31 40 1 5\n5 7 21 30\n-4 0 1 5\n5 7 11 12\n", 3),
        ("-5 1 -5 1\n28 99 18 99\n", 0),
    ],
)
def test_boxes_off_the_frame(tmp_path, text, n_off):
    mask, warnings = read(tmp_path / "d", text)
    n = len([line for line in text.splitlines() if line != "image"])
    told = f"raw.fits: {n_off} of the {n} boxes of ISR_DEFECTS {tmp_path / 'd'} are off the frame"
    assert warnings == [f"{told} of 30 x 20 pixels"] * bool(n_off)
    if n_off == 3:
        np.testing.assert_array_equal(mask, block(5, 7, 11, 12))
    if n_off == 0:
        np.testing.assert_array_equal(mask, block(1, 1, 1, 1) | block(28, 30, 18, 20))


@pytest.mark.parametrize(
    ("cards", "same"),
    [({}, True), ({"LTV1": 0.0, "LTM1_1": 1.0}, True), ({"LTV2": -100.0}, False),
     ({"LTM1_1": 0.5}, False)],
)  # fmt: skip
def test_physical_coordinates_are_those_of_the_image_or_refused(tmp_path, cards, same):
    if same:
        mask, _ = read(tmp_path / "d", "physical\nbox(6,11.5,3,2,0)\n", **cards)
        np.testing.assert_array_equal(mask, block(5, 7, 11, 12))
        return
    with pytest.raises(ConfigError, match="save the regions as image"):
        read(tmp_path / "d", "physical\nbox(6,11.5,3,2,0)\n", **cards)
