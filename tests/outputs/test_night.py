"""Rows of the night, made of summaries."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from skyextract.outputs.night import merged, night_row
from skyextract.sky.moon import Site, moon_of


def summary(image: str, extension: int | None = 0, **changes: Any) -> dict[str, Any]:
    photometry = {"source": "FITTED", "zero_point": 30.0, "zero_point_1s": 25.0} | changes.pop(
        "photometry", {}
    )
    steps = {
        "characterize": {"psf_source": "MEASURED", "fwhm_arcsec": 1.2, "fwhm_pix": 3.0},
        "measure": {"n_sources": 7},
        "astrometry": {"shift_arcsec": 5.0},
        "photometry": photometry,
    }
    steps |= changes.pop("steps", {})
    return {
        "image": image, "extension": extension, "status": "complete", "warnings": [],
        "frame": {"filter": "r", "mjd": 60000.0} | changes.pop("frame", {}),
        "steps": steps, "products": {}, **changes,
    }  # fmt: skip


def rows(*summaries: dict[str, Any]) -> list[dict[str, Any]]:
    return merged([], [night_row(item, Path("n.ecsv"), Path()) for item in summaries])


def test_a_default_psf_is_no_seeing():
    guess = {"psf_source": "DEFAULT", "fwhm_arcsec": 2.0, "fwhm_pix": 3.5}
    row = night_row(summary("a", steps={"characterize": guess}), Path("n.ecsv"), Path())
    assert (row["seeing"], row["fwhm"]) == (None, None)


def test_a_zero_point_of_the_configuration_is_no_measurement():
    row = night_row(summary("a", photometry={"source": "CONFIG"}), Path("n.ecsv"), Path())
    assert (row["zero_point"], row["zero_point_1s"]) == (None, None)


def test_one_frame_under_several_names_is_one_row():
    names = ["a.fits", "./a.fits", "/data/a.fits", "x/../a.fits"]
    assert [row["file"] for row in rows(*map(summary, names))] == ["x/../a.fits"]
    assert len(rows(summary("n1/a.fits"), summary("n2/a.fits", frame={"mjd": 60001.0}))) == 2
    dateless = [summary(name, frame={"mjd": None}) for name in ("a.fits", "./a.fits", "b/a.fits")]
    assert len(rows(*dateless)) == 2


def test_numbers_that_are_none():
    wild = {"psf_source": "MEASURED", "fwhm_arcsec": float("inf"), "fwhm_pix": float("nan")}
    (row,) = rows(summary("a", steps={"characterize": wild}))
    assert (row["seeing"], row["fwhm"]) == (None, None)
    with pytest.raises(TypeError, match="exposure_time = 'abc'"):
        rows(summary("a", frame={"exposure_time": "abc"}))


def test_transparency_is_that_of_the_filter():
    found = rows(
        summary("a", photometry={"zero_point_1s": 25.0}),
        summary("b", photometry={"zero_point_1s": 24.0}),
        summary("c", photometry={"zero_point_1s": 22.0}, frame={"filter": "u"}),
        summary("d", photometry={"source": "NONE"}),
    )
    assert [row["transparency"] for row in found] == [
        1.0, pytest.approx(10**-0.4), 1.0, None,
    ]  # fmt: skip


def test_a_frame_that_is_done_again_replaces_its_row():
    first = rows(summary("a"), summary("b", None, status="failed", error="b: truncated"))
    again = [night_row(summary("a", status="partial"), Path("n.ecsv"), Path())]
    mended = [night_row(summary("b", extension, frame={"mjd": 60001.0}), Path("n.ecsv"), Path())
              for extension in (1, 2)]  # fmt: skip
    found = merged(first, [*again, *mended])
    assert [(row["file"], row["extension"], row["status"]) for row in found] == [
        ("a", 0, "partial"), ("b", 1, "complete"), ("b", 2, "complete"),
    ]  # fmt: skip
    assert first[1]["warnings"] == "truncated"


def test_rows_in_the_order_of_time_unknown_times_last():
    found = rows(
        summary("x", frame={"mjd": None}),
        summary("b", frame={"mjd": 60000.2}),
        summary("c", frame={"mjd": 60000.1}),
    )
    assert [row["file"] for row in found] == ["c", "b", "x"]


def test_the_report_is_named_relative_to_the_table():
    products = {"REPORT_NAME": "pages/a.html"}
    row = night_row(summary("raw/a.fits.gz", products=products), Path("out/n.ecsv"), Path("out"))
    assert row["report"] == "pages/a.html"


def test_the_moon_of_a_frame_with_pointing_and_time():
    place = {"ra": 80.0, "dec": -20.0, "site": {"longitude": -70.7, "latitude": -29.3, "height": 9}}
    known = night_row(summary("a", frame=place), Path("n.ecsv"), Path())
    expected = moon_of(60000.0, 80.0, -20.0, Site(-70.7, -29.3, 9.0))
    assert known["moon_separation"] == expected.separation
    assert -90.0 < known["moon_altitude"] < 90.0
    somewhere = night_row(summary("a", frame=place | {"site": None}), Path("n.ecsv"), Path())
    assert somewhere["moon_separation"] == pytest.approx(known["moon_separation"], abs=1.1)
    assert somewhere["moon_altitude"] is None
    unknown = night_row(summary("a", frame=place | {"mjd": None}), Path("n.ecsv"), Path())
    assert unknown["moon_illumination"] is None
