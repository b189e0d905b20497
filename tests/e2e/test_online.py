"""Reference catalogues by name, from a server on loopback: the whole program."""

from __future__ import annotations

import csv
import socket
from pathlib import Path

import numpy as np
import pytest

from skyextract.io.references.online import fetch
from tests.simulate.vizier import Vizier, serving

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


@pytest.fixture
def vizier(shared_data, tmp_path, monkeypatch):
    """The stars shipped beside the frame, in the columns of SDSS."""
    with (shared_data / "sdss_stripe82/refcat/sdss_stars_field.csv").open() as file:
        rows = list(csv.DictReader(file))

    def column(name: str) -> np.ndarray:
        return np.array([float(row[name]) for row in rows])

    table = {"RA_ICRS": column("ra"), "DE_ICRS": column("dec")}
    for band in "ugriz":
        table[f"{band}pmag"], table[f"e_{band}pmag"] = column(band), column(f"{band}_err")
    table |= {"mode": np.ones(len(rows)), "class": np.full(len(rows), 6)}
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setattr(fetch, "_silent", {})
    monkeypatch.setattr(fetch, "PAUSE", 0.0)
    with serving(Vizier({"V/154/sdss16": table})) as server:
        yield server


def test_calibrated_without_a_file_and_the_second_run_asks_nothing(skyextract, vizier, shared_data):
    image = shared_data / "sdss_stripe82/fpC-004192-r4-0300.fit.gz"
    keywords = ("-ASTREF_CATALOG", "SDSS", "-PHOTREF_CATALOG", "SDSS", "-REF_SERVER", vizier.url)
    first = skyextract(image, *keywords, "-CATALOG_NAME", "first.cat")
    assert first.status == 0, first.stderr
    steps = first.summary("fpC-004192-r4-0300.json")[0]["steps"]
    assert steps["astrometry"]["n_used"] > 50
    assert steps["photometry"]["catalog"] == "SDSS"
    assert steps["photometry"]["zero_point"] == pytest.approx(28.225, abs=0.01)
    asked = len(vizier.questions)
    assert asked > 0
    second = skyextract(image, *keywords, "-CATALOG_NAME", "second.cat")
    assert second.status == 0
    assert len(vizier.questions) == asked
    names = "first.cat", "second.cat"
    assert len({(first.folder / name).read_bytes() for name in names}) == 1
    # Another folder of the store has nothing; a server that is not there is one line.
    gone = skyextract(
        image, *keywords, "-REFOUT_CATPATH", "other", "-REF_SERVER", "http://127.0.0.1:9",
        "-REF_TIMEOUT", "1",
    )  # fmt: skip
    assert gone.status == 3
    assert "no server has an answer (127.0.0.1:9" in gone.stderr
    steps = gone.summary("fpC-004192-r4-0300.json")[0]["steps"]
    assert steps["astrometry"]["status"] == steps["photometry"]["status"] == "failed"
    assert steps["measure"]["status"] == "complete"
    assert "SDSS            V/154/sdss16" in skyextract("--catalogs").stdout


def test_fetched_ahead(skyextract, vizier):
    done = skyextract("--fetch-catalog", "sdss", "351.4", "-0.17", "0.1", "-REF_SERVER", vizier.url)
    assert done.status == 0
    assert " stars in " in done.stderr
    assert skyextract("--fetch-catalog", "HIPPARCOS", "1", "-2", "1").status == 2
    assert skyextract("--fetch-catalog", "SDSS", "1", "-92", "1").status == 2


def test_nothing_is_asked_of_the_network_by_default(skyextract, monkeypatch):
    def refuse(*_: object) -> None:
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    image, reference = EXAMPLES / "field.fits.fz", EXAMPLES / "field_refcat.fits"
    assert skyextract(image, "-ASTREFCAT_NAME", reference).status == 0
