"""Frames are given once, when they are complete."""

from __future__ import annotations

import os
import shutil
import time
from multiprocessing.connection import wait
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from skyextract.io import arrivals as module
from skyextract.io.arrivals import Arrivals, is_on_network


@pytest.fixture(params=[True, False], ids=["events", "looks"])
def use_events(request) -> bool:
    if request.param:
        pytest.importorskip("watchfiles")
    return request.param


@pytest.fixture
def frame(tmp_path) -> bytes:
    fits.PrimaryHDU(np.zeros((50, 50), np.float32)).writeto(tmp_path / "frame")
    return (tmp_path / "frame").read_bytes()


@pytest.fixture
def folder(tmp_path) -> Path:
    (tmp_path / "in").mkdir()
    return tmp_path / "in"


def given(arrivals: Arrivals, n: int, seconds: float = 20.0) -> list[str]:
    """Return the names of the next n frames, or of fewer after some seconds."""
    found: list[str] = []
    end = time.monotonic() + seconds
    while len(found) < n and time.monotonic() < end:
        found += [path.name for path in arrivals.ready()]
        if len(found) < n:
            wait([arrivals], min(arrivals.wait_at_most(), end - time.monotonic()))
    return found


def test_files_that_are_there_written_renamed_and_replaced(folder, frame, use_events):
    (folder / "a.fits").write_bytes(frame)
    (folder / "notes.txt").write_text("no frame")
    (folder / "deep.fits").mkdir()
    with Arrivals(folder, use_events=use_events) as arrivals:
        assert given(arrivals, 1) == ["a.fits"]
        (folder / ".b.fits.Xy12").write_bytes(frame)
        (folder / ".b.fits.Xy12").rename(folder / "b.FIT.gz")
        assert given(arrivals, 1) == ["b.FIT.gz"]
        with (folder / "c.fits").open("wb") as file:
            for k in range(0, len(frame), 2000):
                file.write(frame[k : k + 2000])
                file.flush()
                assert given(arrivals, 1, 0.01) == []
        assert given(arrivals, 1) == ["c.fits"]
        later = time.time() + 10.0
        os.utime(folder / "a.fits", (later, later))
        assert given(arrivals, 1) == ["a.fits"]
        assert given(arrivals, 1, 1.0) == []


def test_a_truncated_file_waits_for_its_end_or_for_patience(folder, frame, use_events):
    with Arrivals(folder, patience=2.5, use_events=use_events) as arrivals:
        (folder / "late.fits").write_bytes(frame[:7000])
        (folder / "never.fits").write_bytes(frame[:7000])
        (folder / "none.fits").write_bytes(b"nothing of that kind")
        assert given(arrivals, 1, 2.0) == ["none.fits"]
        with (folder / "late.fits").open("ab") as file:
            file.write(frame[7000:])
        assert sorted(given(arrivals, 2)) == ["late.fits", "never.fits"]
        assert (folder / "late.fits").read_bytes() == frame


def test_ours_are_left_out_and_a_folder_may_go_and_come(folder, frame, use_events, caplog):
    def no_frames(paths: list[Path]) -> set[Path]:
        return {path for path in paths if path.name == "mine.fits"}

    with Arrivals(folder, no_frames, use_events=use_events) as arrivals:
        for name in ("mine.fits", "a.fits"):
            (folder / name).write_bytes(frame)
        assert given(arrivals, 2, 1.0) == ["a.fits"]
        shutil.rmtree(folder)
        assert given(arrivals, 1, 1.0) == []
        folder.mkdir()
        (folder / "b.fits").write_bytes(frame)
        assert given(arrivals, 1) == ["b.fits"]


def test_a_file_that_does_not_grow_is_named_once(folder, frame, caplog, monkeypatch):
    monkeypatch.setattr(module, "STALLED", 0.8)
    (folder / "cut.fits").write_bytes(frame[:3000])
    (folder / "empty.fits").touch()
    (folder / "whole.fits").write_bytes(frame)

    def told():
        return sorted(r.message for r in caplog.records if r.levelname == "WARNING")

    begin = time.monotonic()
    with Arrivals(folder, patience=20.0, use_events=False) as arrivals:
        assert given(arrivals, 1) == ["whole.fits"]
        assert not told() or time.monotonic() - begin > 0.8
        assert given(arrivals, 1, 1.5) == []
        (folder / "cut.fits").write_bytes(frame[:4000])
        assert given(arrivals, 1, 1.5) == []
        named = told()
        assert [Path(text.split(" is not all there (")[0]).name for text in named] == [
            "cut.fits", "empty.fits",
        ]  # fmt: skip
        (folder / "cut.fits").write_bytes(frame)
        assert given(arrivals, 1) == ["cut.fits"]


def test_folders_of_other_machines(monkeypatch, tmp_path):
    mounts = f"/dev/sda1 / ext4 rw 0 0\nhost:/x {tmp_path}/my\\040disk nfs4 rw 0 0\n"
    monkeypatch.setattr(module.Path, "read_text", lambda *_, **__: mounts)
    (tmp_path / "my disk/deep").mkdir(parents=True)
    assert is_on_network(tmp_path / "my disk/deep")
    assert not is_on_network(tmp_path)
