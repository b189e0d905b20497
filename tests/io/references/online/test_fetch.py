"""Tiles of a survey from a server on loopback, which behaves well or badly."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from skyextract.errors import ReferenceCatalogError
from skyextract.io.references.online import fetch
from skyextract.io.references.online.fetch import circle_of, fetch_tiles, touched_tiles
from skyextract.io.references.online.store import Store, Tile
from skyextract.io.references.reference import read_reference
from skyextract.run import Run
from tests.simulate.vizier import Vizier, serving

RA, DEC, RADIUS = 10.0, 20.0, 0.1


@pytest.fixture
def vizier(monkeypatch):
    rng = np.random.default_rng(1)
    n = 20_000
    columns = {
        "RA_ICRS": rng.uniform(7.0, 13.0, n), "DE_ICRS": rng.uniform(17.0, 23.0, n),
        "e_RA_ICRS": np.full(n, 0.5), "e_DE_ICRS": np.full(n, 0.25), "pmRA": rng.normal(0, 9, n),
        "pmDE": rng.normal(0, 9, n), "Gmag": rng.uniform(10, 20, n), "e_Gmag": np.full(n, 0.01),
        "BPmag": rng.uniform(10, 20, n), "RPmag": np.full(n, np.nan),
    }  # fmt: skip
    monkeypatch.setattr(fetch, "PAUSE", 0.0)
    monkeypatch.setattr(fetch, "_silent", {})
    with serving(Vizier({"I/355/gaiadr3": columns})) as server:
        server.units |= dict.fromkeys(("e_RA_ICRS", "e_DE_ICRS"), "mas")
        yield server


def tiles_of(radius=RADIUS):
    return touched_tiles(7, RA, DEC, radius)


def fill(store, *servers, tiles=None, timeout=5.0, again=False):
    told = []
    wanted = tiles or tiles_of()
    fetch_tiles("GAIA-DR3", wanted, store, servers, timeout, told.append, again=again)
    return told


def stars_of(store, tiles):
    paths = [str(store.path("GAIA-DR3", tile)) for tile in tiles]
    return read_reference(paths, Run(), region=(RA, DEC, RADIUS))


def true_stars(vizier):
    table = vizier.tables["I/355/gaiadr3"]
    near = np.hypot((table["RA_ICRS"] - RA) * np.cos(np.deg2rad(DEC)), table["DE_ICRS"] - DEC)
    return int(np.sum(near <= RADIUS))


def test_all_stars_with_their_columns_and_nothing_asked_twice(vizier, tmp_path):
    store = Store(tmp_path)
    assert "asking 127.0.0.1" in fill(store, vizier.url)[0]
    found = stars_of(store, tiles_of())
    assert found.n_stars == pytest.approx(true_stars(vizier), abs=1)
    assert found.n_stars > 10
    assert np.all(found.epoch == 2016.0)
    assert found.ra_error == pytest.approx(0.5e-3)
    assert found.dec_error == pytest.approx(0.25e-3)
    table = vizier.tables["I/355/gaiadr3"]
    row = int(np.argmin(np.abs(table["RA_ICRS"] - found.ra[0])))
    assert found.pmra[0] == pytest.approx(table["pmRA"][row], rel=1e-5)
    assert found.magnitudes["Gmag"][0] == pytest.approx(table["Gmag"][row], rel=1e-6)
    assert found.magnitude_errors["Gmag"] == pytest.approx(0.01)
    asked = len(vizier.questions)
    assert fill(store, vizier.url) == []
    assert len(vizier.questions) == asked


def test_a_tile_is_in_its_circle():
    import hpgeom

    rng = np.random.default_rng(2)
    for pixel in (0, 5, 77_777, 196_607):
        circle = circle_of(Tile(7, pixel))
        ra = circle.ra + rng.uniform(-1, 1, 20_000) / np.cos(np.deg2rad(circle.dec))
        dec = np.clip(circle.dec + rng.uniform(-1, 1, 20_000), -90, 90)
        inside = hpgeom.angle_to_pixel(128, ra % 360.0, dec, nest=True) == pixel
        a, d, a0, d0 = np.deg2rad([ra, dec, ra * 0 + circle.ra, ra * 0 + circle.dec])
        away = np.arccos(np.clip(
            np.sin(d) * np.sin(d0) + np.cos(d) * np.cos(d0) * np.cos(a - a0), -1, 1
        ))  # fmt: skip
        assert inside.sum() > 100
        assert np.rad2deg(away[inside].max()) < circle.radius


@pytest.mark.parametrize(("cap", "told"), [(40, False), (150, True)])
def test_answers_that_the_server_cuts_are_asked_for_in_parts(vizier, tmp_path, cap, told):
    whole, parts = Store(tmp_path / "whole"), Store(tmp_path / "parts")
    fill(whole, vizier.url)
    vizier.cap, vizier.told = cap, told
    fill(parts, vizier.url)
    for tile in tiles_of():
        names = [store.path("GAIA-DR3", tile) for store in (whole, parts)]
        first, second = (read_reference([str(name)], Run()) for name in names)
        assert first.n_stars > 40
        np.testing.assert_array_equal(first.ra, second.ra)


def test_our_own_limit_of_rows_cuts_nothing(vizier, tmp_path, monkeypatch):
    monkeypatch.setattr(fetch, "LIMIT", 30)
    store = Store(tmp_path)
    fill(store, vizier.url)
    assert stars_of(store, tiles_of()).n_stars == pytest.approx(true_stars(vizier), abs=1)


def test_a_server_that_always_cuts_is_refused(vizier, tmp_path, monkeypatch):
    monkeypatch.setattr(fetch, "DEEPEST", 8)
    vizier.cap = 3
    store = Store(tmp_path)
    with pytest.raises(ReferenceCatalogError, match="cuts its answers"):
        fill(store, vizier.url)
    assert not list(store.tiles())


@pytest.mark.parametrize(
    ("mood", "reason"),
    [
        ("status", "HTTP status 503"),
        ("html", "no VOTable"),
        ("error", "the server says"),
        ("empty", "a table without rows"),
        ("nothing", "an empty answer"),
        ("half", "breaks off"),
        ("short", "breaks off"),
    ],
)
def test_bad_answers_are_told_and_leave_nothing(vizier, tmp_path, mood, reason):
    vizier.mood = mood
    store = Store(tmp_path)
    with pytest.raises(ReferenceCatalogError, match=f"no server has an answer .*{reason}"):
        fill(store, vizier.url)
    assert not list(store.tiles())


@pytest.mark.parametrize("mood", ["status", "html", "error", "empty", "nothing", "half", "short"])
def test_one_bad_answer_is_asked_for_again(vizier, tmp_path, mood):
    vizier.mood = f"{mood},well"
    fill(Store(tmp_path), vizier.url)
    assert stars_of(Store(tmp_path), tiles_of()).n_stars > 10


@pytest.mark.parametrize(("mood", "timeout"), [("slow", 1.0), ("drip", 1.0)])
def test_silent_and_endless_servers_give_way_to_the_next(vizier, tmp_path, mood, timeout):
    with serving(Vizier(vizier.tables)) as other:
        other.mood = mood
        fill(Store(tmp_path), other.url, vizier.url, timeout=timeout)
        assert len(other.questions) == 1  # it is not waited for again
    assert stars_of(Store(tmp_path), tiles_of()).n_stars > 10


def test_nobody_there(tmp_path, monkeypatch):
    monkeypatch.setattr(fetch, "_silent", {})
    with pytest.raises(ReferenceCatalogError, match=r"127.0.0.1:9: connection refused"):
        fill(Store(tmp_path), "http://127.0.0.1:9")


def test_many_at_once_fetch_once(vizier, tmp_path):
    gate = threading.Barrier(4)

    def work(_: int) -> None:
        gate.wait()
        fill(Store(tmp_path), vizier.url)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    asked = len(vizier.questions)
    vizier.questions.clear()
    fill(Store(tmp_path / "alone"), vizier.url)
    assert asked == len(vizier.questions)


def test_a_damaged_tile_is_fetched_again(vizier, tmp_path):
    store = Store(tmp_path)
    fill(store, vizier.url)
    path = store.path("GAIA-DR3", tiles_of()[0])
    path.write_bytes(path.read_bytes()[:3000])
    assert store.facts("GAIA-DR3", tiles_of()[0]) is None
    fill(store, vizier.url)
    assert store.facts("GAIA-DR3", tiles_of()[0]).n_stars > 40
