"""Batches: how far they are, the table at the end, and resuming."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import struct
import subprocess
import sys
import termios
import threading
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from skyextract.batch.interrupts import Interrupted
from skyextract.batch.workers import Done, Workers


def write(path: Path, seed: int = 1) -> None:
    rng = np.random.default_rng(seed)
    image = rng.normal(500.0, 5.0, (90, 80)).astype(np.float32)
    for x, y in rng.integers(10, 70, (12, 2)):
        image[y : y + 3, x : x + 3] += 300.0
    fits.PrimaryHDU(image).writeto(path, overwrite=True)


@pytest.fixture
def frames(tmp_path) -> list[str]:
    for k in range(2):
        write(tmp_path / f"f{k}.fits", k)
    (tmp_path / "bad.fits").write_text("no image")
    return ["f0.fits", "f1.fits", "bad.fits"]


def test_lines_that_count_and_a_table(program, frames):
    done = program(*frames, "-j", 2, "--steps", "measure")
    counted = [line for line in done.stderr.splitlines() if "/3] " in line]
    assert [line.split("]")[0][-3:] for line in counted] == ["1/3", "2/3", "3/3"]
    assert "skyextract: done     2 of 3 images" in done.stderr
    assert "skyextract: failed   1: bad.fits" in done.stderr
    assert "(default PSF)" in done.stderr


def test_a_file_of_several_extensions_is_one_line(program, tmp_path, frames):
    units = [fits.PrimaryHDU(), *(fits.ImageHDU(fits.getdata(tmp_path / "f0.fits")) for _ in "ab")]
    fits.HDUList(units).writeto(tmp_path / "m.fits")
    units[2].data = np.full((50, 40), np.nan, np.float32)
    fits.HDUList(units).writeto(tmp_path / "n.fits")
    done = program("m.fits", "f0.fits", "n.fits", "--steps", "measure")
    lines = [line.split(": ", 1)[1] for line in done.stderr.splitlines() if ": [" in line]
    n = done.summary("f0.json")[0]["steps"]["measure"]["n_sources"]
    assert lines[0].startswith(f"[1/3] m.fits: 2 extensions, {2 * n} sources")
    assert lines[1].startswith(f"[2/3] f0.fits: {n} sources")
    assert lines[2].startswith(f"[3/3] n.fits: 2 extensions, {n} sources (")
    assert "with flags), 1 FAILED" in lines[2]
    assert len(lines) == 3


def test_a_batch_is_resumed(program, tmp_path, frames):
    arguments = (*frames, "--steps", "measure", "--skip-done", "--json")
    first = program(*arguments)
    assert "skipped" not in first.stderr
    again = program(*arguments)
    assert again.status == first.status == 1
    assert "skipped  2, done before" in again.stderr
    assert "[1/1] bad.fits" in again.stderr
    ours = [json.loads(line)["image"] for line in again.stdout.splitlines()]
    assert ours == frames

    (tmp_path / "f0.cat").unlink()
    assert "skipped  1, done before" in program(*arguments).stderr
    later = (tmp_path / "f1.json").stat().st_mtime + 5.0
    os.utime(tmp_path / "f1.fits", (later, later))
    assert "skipped  1, done before" in program(*arguments).stderr


def test_a_product_that_was_changed_is_made_again(program, tmp_path, frames):
    arguments = ("f0.fits", "--steps", "measure", "--skip-done")
    program(*arguments)
    content = (tmp_path / "f0.cat").read_bytes()
    (tmp_path / "f0.cat").write_bytes(b"")
    assert "skipped" not in program(*arguments).stderr
    assert (tmp_path / "f0.cat").read_bytes()[:2000] == content[:2000]


def test_an_image_whose_process_ended_after_its_products_is_done(
    skyextract, tmp_path, monkeypatch, frames
):
    run = Workers.run

    def interrupted(self, source):
        for event in run(self, source):
            if isinstance(event, Done):
                raise Interrupted(signal.SIGTERM)
            yield event

    monkeypatch.setattr(Workers, "run", interrupted)
    done = skyextract(*frames[:3], "-j", 1, "--steps", "measure", "-NIGHT_NAME", "n.ecsv")
    assert done.status == 143
    assert "interrupted: 1 of 3 images done" in done.stderr
    assert "f0.fits" in (tmp_path / "n.ecsv").read_text()
    assert not (tmp_path / "f2.cat").exists()


def test_what_was_done_with_other_settings_or_pixels_is_done_again(program, tmp_path, frames):
    arguments = ("f0.fits", "--steps", "measure", "--skip-done")
    program(*arguments)
    assert "skipped" in program(*arguments).stderr
    assert "skipped" in program(*arguments, "-NTHREADS", 1).stderr
    assert "skipped" not in program(*arguments, "-DETECT_THRESH", 6).stderr
    assert "skipped" not in program(*arguments).stderr
    write(tmp_path / "f0.fits", 7)  # an older file in its place, as `cp -p` makes it
    os.utime(tmp_path / "f0.fits", (1.0, 1.0))
    assert "skipped" not in program(*arguments).stderr


def test_what_would_be_read_now_is_done_again(program, tmp_path, frames):
    """A header of SCAMP that has come since, another file that a glob matches."""
    (tmp_path / "bad1.txt").write_text("1 1 3 3\n")
    arguments = ("f0.fits", "--steps", "isr,measure", "--skip-done", "-ISR_DEFECTS", "bad*.txt")
    program(*arguments, "-GAIN", 1)
    assert "skipped" in program(*arguments, "-GAIN", 1).stderr
    (tmp_path / "bad2.txt").write_text("9 9 3 3\n")
    assert "skipped" not in program(*arguments, "-GAIN", 1).stderr
    assert "skipped" in program(*arguments, "-GAIN", 1).stderr
    (tmp_path / "f0.head").write_text("GAIN    =                  2.0\nEND\n")
    assert "skipped" not in program(*arguments, "-GAIN", 1).stderr


def test_what_came_from_a_pipe_is_done_again(program, tmp_path, frames):
    os.mkfifo(tmp_path / "columns")
    arguments = ("f0.fits", "--steps", "measure", "--skip-done", "-PARAMETERS_NAME", "columns")
    for text in ("NUMBER\n", "NUMBER\nX_IMAGE\n"):
        give = threading.Thread(target=(tmp_path / "columns").write_text, args=[text], daemon=True)
        give.start()
        assert "skipped" not in program(*arguments, timeout=100).stderr


def test_skip_done_needs_summaries(program, frames):
    done = program("f0.fits", "--skip-done", "-SUMMARY_NAME", "")
    assert done.status == 2
    assert done.stderr.count("\n") == 1


def test_a_bar_on_a_terminal(tmp_path, frames):
    pytest.importorskip("tqdm")
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 110, 0, 0))
    command = [sys.executable, "-m", "skyextract", *frames, "--steps", "measure"]
    environment = {**os.environ, "TERM": "xterm"}
    with subprocess.Popen(
        command, cwd=tmp_path, stderr=theirs, stdin=subprocess.DEVNULL, env=environment
    ) as done:
        os.close(theirs)
        shown = b""
        while True:
            try:
                piece = os.read(ours, 4096)
            except OSError:  # the other end is closed
                break
            shown += piece
    os.close(ours)
    assert done.returncode == 1
    text = shown.decode()
    assert "3/3 |" in text
    assert "one FAILED" in text
    assert "[1/3]" not in text


def test_names_that_are_no_text(program, tmp_path):
    """File names are bytes: every product can hold one that is no UTF-8."""
    names = [os.fsdecode(b"bad\xff.fits"), "good.fits"]
    for name in names:
        write(tmp_path / name)
    products = ("-NIGHT_NAME", "night.ecsv", "-REPORT_NAME", "{stem}.html", "-WRITE_XML", "Y")
    done = program(*names, "-j", 2, "-CATALOG_TYPE", "ASCII_VOTABLE", *products)
    assert done.status == 0, done.stderr
    again = program(*names, "-NIGHT_NAME", "night.ecsv")
    assert again.status == 0, again.stderr
    night = (tmp_path / "night.ecsv").read_text()
    assert [line.partition(",")[0] for line in night.splitlines()[-2:]] == [
        r"bad\udcff.fits", "good.fits"
    ]  # fmt: skip
    assert done.summary(os.fsdecode(b"bad\xff.json"))[0]["status"] != "failed"
