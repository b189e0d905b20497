"""Images from pipes in a batch: one that nobody writes to keeps no other image waiting."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager

import pytest

from tests.faults.harness import write_frame

LIMIT = 120.0


@pytest.fixture
def folder(tmp_path):
    for name in ("g1", "g2", "later"):
        write_frame(tmp_path / f"{name}.fits", 1, 96)
    os.mkfifo(tmp_path / "f.fits")
    return tmp_path


@contextmanager
def batch(folder, *words):
    """Run the program beside the test; whatever happens it ends."""
    with subprocess.Popen(
        [sys.executable, "-m", "skyextract", *words, "--steps", "measure", "-NTHREADS", "1"],
        cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
        # Tests that run in the background have it ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
    ) as process:  # fmt: skip
        try:
            yield process
        finally:
            process.kill()


def wait_for(*files):
    end = time.monotonic() + LIMIT
    while not all(file.exists() for file in files):
        assert time.monotonic() < end
        time.sleep(0.02)


def give(pipe, content):
    threading.Thread(target=pipe.write_bytes, args=[content], daemon=True).start()


@pytest.mark.parametrize("n_jobs", ["1", "2"])
def test_the_others_go_on_and_a_signal_ends_the_waiting(folder, n_jobs):
    with batch(folder, "f.fits", "g1.fits", "g2.fits", "-j", n_jobs) as process:
        wait_for(folder / "g1.json", folder / "g2.json")
        time.sleep(0.2)
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=LIMIT)
    assert process.returncode == 130
    assert "interrupted: 2 of 3 images done" in said
    assert said.count("f.fits: waiting for what writes to the pipe") == 1
    assert "Traceback" not in said
    assert not list(folder.glob(".skyextract*"))


def test_what_comes_in_the_end_is_processed(folder):
    os.mkfifo(folder / "e.fits")
    words = ("e.fits", "f.fits", "g1.fits", "-j", "2", "-CATALOG_TYPE", "ASCII_HEAD")
    with batch(folder, *words) as process:
        wait_for(folder / "g1.json")
        give(folder / "f.fits", (folder / "later.fits").read_bytes())
        wait_for(folder / "f.json")  # though e.fits, named before it, has not come
        give(folder / "e.fits", b"no image")
        _, said = process.communicate(timeout=LIMIT)
    assert process.returncode == 1, said
    assert "1: e.fits" in said
    assert (folder / "f.cat").read_text() == (folder / "g1.cat").read_text()


def test_among_files_a_pipe_that_nobody_opens_is_given_up(folder, skyextract, monkeypatch):
    """Not while another one is open, however long its writer takes."""
    monkeypatch.setattr("skyextract.batch.piped.PATIENCE", 0.1)
    os.mkfifo(folder / "slow.fits")

    def write_late():
        with (folder / "slow.fits").open("wb") as pipe:
            wait_for(folder / "g1.json")
            time.sleep(0.5)
            pipe.write((folder / "later.fits").read_bytes())

    threading.Thread(target=write_late, daemon=True).start()
    done = skyextract("f.fits", "slow.fits", "g1.fits", "-j", "1", "--steps", "measure")
    os.close(os.open(folder / "f.fits", os.O_WRONLY | os.O_NONBLOCK))  # ends the thread
    assert done.status == 1
    assert "error: [3/3] f.fits: is a pipe that nobody writes to" in done.stderr
    assert (folder / "slow.cat").exists()
    assert not (folder / "f.json").exists()


def test_a_device_that_cannot_be_read(folder):
    """What goes through pipes in the order of the images does not wait for it."""
    with batch(folder, "/dev/tty", "g1.fits", "-j", "2", "--json") as process:
        lines, said = process.communicate(timeout=LIMIT)
    assert process.returncode == 1
    assert "[1/2] /dev/tty: cannot be read (No such device or address)" in said
    assert [json.loads(line)["image"] for line in lines.splitlines()] == ["g1.fits"]


def test_one_pipe_of_two_images(folder):
    """Both planes of a pair come out of the same pipe, which is read once."""
    give(folder / "f.fits", (folder / "later.fits").read_bytes())
    with batch(folder, "f.fits,f.fits", "g1.fits", "-j", "2") as process:
        _, said = process.communicate(timeout=LIMIT)
    assert process.returncode == 0, said
    assert (folder / "f.cat").exists()


def test_a_pipe_of_a_keyword_that_nobody_writes_to_is_told(folder):
    os.mkfifo(folder / "weight")
    with batch(
        folder, "g1.fits", "-WEIGHT_TYPE", "MAP_RMS", "-WEIGHT_IMAGE", "weight"
    ) as process:  # fmt: skip
        reading = threading.Timer(LIMIT, process.kill)
        reading.start()
        assert "weight: waiting for what writes to the pipe" in process.stderr.readline()
        reading.cancel()
