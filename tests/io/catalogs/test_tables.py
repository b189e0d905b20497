"""Tables of other programs, and what ours say of the run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.table import Table

from skyextract.datamodel.catalog import Catalog
from skyextract.io.catalogs.formats import (
    sextractor_cards,
    write_catalog,
)
from skyextract.io.fits.file import FitsFile
from skyextract.io.fits.rows import read_table


def test_tables_of_others_can_be_read(shared_data: Path, tmp_path: Path) -> None:
    path = shared_data / "sdss_stripe82/refcat/sdss_stars_field.fits"
    catalog = first_table(path)
    oracle = fits.getdata(path, 1)
    assert list(catalog) == oracle.names
    for name in oracle.names:
        np.testing.assert_array_equal(catalog[name], oracle[name])
    mixed = Table({"s": ["ab", "c"], "b": [True, False], "u": np.array([1, 2], np.uint8),
                   "m": np.arange(12.0).reshape(2, 3, 2), "k": np.array([1, 1 << 40])})  # fmt: skip
    mixed.write(tmp_path / "mixed.fits")
    catalog = first_table(tmp_path / "mixed.fits")
    for name in mixed.colnames:
        np.testing.assert_array_equal(catalog[name], mixed[name])
    path = tmp_path / "again.fits"
    write_catalog(str(path), "FITS_1.0", [(catalog, fits.Header(), {})])
    again = Table.read(path)
    for name in mixed.colnames:
        np.testing.assert_array_equal(again[name], mixed[name])


def first_table(path: Path) -> Catalog:
    with FitsFile(str(path)) as file:
        return read_table(file, next(u for u in file.units if u.kind == "BINTABLE"))


def test_sextractor_cards() -> None:
    cards = sextractor_cards(
        background=100.0, background_rms=5.0, threshold=25.0, analysis_threshold=7.5,
        n_sources=10, gain=0.0, pixel_scale=float("nan"), saturation=float("inf"), zero_point=25.0,
    )  # fmt: skip
    assert cards["SEXBKDEV"][0] == 5.0
    write = fits.Header()
    for keyword, (value, comment) in cards.items():
        assert len(keyword) <= 8
        if np.isfinite(value):
            write.set(keyword, value, comment)
