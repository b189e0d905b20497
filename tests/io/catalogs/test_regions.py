"""DS9 region files."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from skyextract.datamodel.catalog import Catalog
from skyextract.io.catalogs.regions import regions, write_regions


def sources() -> Catalog:
    return Catalog(
        {
            "NUMBER": np.array([1, 2, 3, 4]),
            "X_IMAGE": np.array([10.0, 20.0, 30.0, np.nan]),
            "Y_IMAGE": np.array([11.0, 21.0, 31.0, 41.0]),
            "XWIN_IMAGE": np.array([10.5, np.nan, 30.5, np.nan]),
            "YWIN_IMAGE": np.array([11.5, np.nan, 31.5, 41.0]),
            "A_IMAGE": np.array([2.0, 2.0, np.nan, 1.0]),
            "B_IMAGE": np.array([1.0, 1.0, 1.0, 1.0]),
            "THETA_IMAGE": np.array([30.0, -60.0, 0.0, 0.0]),
            "KRON_RADIUS": np.array([3.5, 0.0, 4.0, 4.0]),
            "FLAGS": np.array([0, 4, 2, 0]),
            "FLAGS_SKY": np.array([16, 0, 0, 0]),
        }
    )


def test_shapes_and_colours(tmp_path: Path) -> None:
    path = tmp_path / "a.reg"
    write_regions(str(path), [sources()])
    assert path.read_text().splitlines()[2:] == [
        "image",
        "ellipse(10.500,11.500,7.00,3.50,30.00) # color=cyan text={1}",
        "ellipse(20.000,21.000,6.00,3.00,-60.00) # color=red text={2}",
        "circle(30.500,31.500,5) # color=green text={3}",
    ]


def test_positions_alone_and_several_extensions() -> None:
    bare = sources().select(["X_IMAGE", "Y_IMAGE"]).take(np.array([0]))
    lines = "".join(regions([bare, bare])).splitlines()
    assert lines[2:] == [
        "tile 1",
        "image",
        "circle(10.000,11.000,5) # color=green",
        "tile 2",
        "image",
        "circle(10.000,11.000,5) # color=green",
    ]
    assert "".join(regions([bare.take(np.array([], int))])).endswith("image\n")
