"""A folder that is watched: frames are taken as another process writes them."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table

FEED = """
import random, sys, time
from pathlib import Path
source, folder, n = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
content, chance = source.read_bytes(), random.Random(4)
for k in range(n):
    time.sleep(chance.uniform(0.0, 0.3))
    path = folder / f"f{k:02}.fits"
    if k == 3:
        path.write_bytes(content[: len(content) // 2])
    elif k == 5:
        path.write_bytes(content[:2000].replace(b"NAXIS1", b"NAXIS9") + content[2000:])
    elif k % 3 == 0:
        (folder / f".{k}.part").write_bytes(content)
        (folder / f".{k}.part").rename(path)
    else:
        with path.open("wb", buffering=0) as file:
            for place in range(0, len(content), 9000):
                file.write(content[place : place + 9000])
                time.sleep(0.02 * (k % 3))
    if k == n - 2:
        with (folder / "f03.fits").open("ab") as file:
            file.write(content[len(content) // 2 :])
"""


class Watch:
    """The program, watching the folder `in`."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        (folder / "in").mkdir(exist_ok=True)
        self.folder = folder
        command = [sys.executable, "-m", "skyextract", "--watch", "in", "--steps", "measure"]
        with (folder / "said").open("w") as said, (folder / "out.json").open("w") as out:
            self.process = subprocess.Popen(
                [*command, *arguments], cwd=folder, stdout=out, stderr=said,
                preexec_fn=heed_signals,  # noqa: PLW1509
            )  # fmt: skip

    def lines(self) -> list[str]:
        return (self.folder / "said").read_text().splitlines()

    def frames(self) -> list[str]:
        """The lines about frames, without their count."""
        return [line.split("] ", 1)[1] for line in self.lines() if ": [" in line]

    def wait_for(self, condition: Callable[[], bool]) -> None:
        end = time.monotonic() + 120.0
        while not condition():
            assert self.process.poll() is None, self.lines()
            assert time.monotonic() < end, self.lines()
            time.sleep(0.05)

    def end(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        status = self.process.wait(30.0)
        text = "\n".join(self.lines())
        assert "Traceback" not in text, text
        return status


def heed_signals() -> None:
    """Undo what nohup and shells in the background do to a child."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)


@pytest.fixture
def frame(tmp_path) -> Path:
    rng = np.random.default_rng(2)
    image = rng.normal(500.0, 5.0, (90, 80)).astype(np.float32)
    for x, y in rng.integers(10, 70, (12, 2)):
        image[y : y + 3, x : x + 3] += 300.0
    fits.PrimaryHDU(image, fits.Header({"FILTER": "r"})).writeto(tmp_path / "frame")
    return tmp_path / "frame"


@pytest.fixture
def watch(tmp_path):
    started: list[Watch] = []

    def start(*arguments: str) -> Watch:
        started.append(Watch(tmp_path, *arguments))
        return started[-1]

    yield start
    for item in started:
        item.process.kill()
        item.process.wait()


def test_frames_that_arrive_are_lines_and_rows(tmp_path, frame, watch):
    n = 12
    ours = watch("-o", "out", "--json")
    subprocess.run([sys.executable, "-c", FEED, str(frame), "in", str(n)], cwd=tmp_path, check=True)
    ours.wait_for(lambda: len(ours.frames()) >= n)
    names = [f"f{k:02}.fits" for k in range(n)]
    page = tmp_path / "out/night.html"
    ours.wait_for(lambda: page.is_file() and page.read_text().count('id="f') >= n)
    assert ours.end() == 1
    told = [re.search(r"f\d\d\.fits", line)[0] for line in ours.frames()]
    assert sorted(told) == names
    table = Table.read(tmp_path / "out/night.ecsv")
    assert sorted(map(os.path.basename, table["file"])) == names
    assert Counter(table["status"]) == {"complete": n - 1, "failed": 1}
    (bad,) = table[table["status"] == "failed"]
    assert bad["file"] == "in/f05.fits"
    assert len(set(table["n_sources"][table["status"] == "complete"])) == 1
    objects = map(json.loads, (tmp_path / "out.json").read_text().splitlines())
    assert sorted(item["image"] for item in objects) == sorted(table["file"])
    assert f"skyextract: done     {n - 1} of {n} images" in "\n".join(ours.lines())
    assert not [path for path in (tmp_path / "out").iterdir() if path.name.startswith(".")]


def test_products_among_the_frames_and_a_second_watch(tmp_path, frame, watch):
    """Products that look like frames are none; what is done is not done again."""
    arguments = ("-o", "in", "-EXPOSURE_NAME", "{stem}_exp.fits")
    (tmp_path / "in").mkdir()
    for name in ("a.fits", "b.fits"):
        (tmp_path / "in" / name).write_bytes(frame.read_bytes())
    first = watch(*arguments)
    first.wait_for(lambda: len(first.frames()) == 2)
    time.sleep(1.0)
    assert first.end(signal.SIGINT) == 0
    assert len(first.frames()) == 2
    again = watch(*arguments, "--skip-done")
    (tmp_path / "in/c.fits").write_bytes(frame.read_bytes())
    again.wait_for(lambda: len(again.frames()) == 1)
    (tmp_path / "in/c.fit").write_bytes(frame.read_bytes())
    again.wait_for(lambda: len(again.frames()) == 2)
    assert again.frames()[1] == "in/c.fit: in/c.fits has the same CATALOG_NAME"
    assert again.end() == 1
    assert "skipped  2, done before" in "\n".join(again.lines())
    table = Table.read(tmp_path / "in/night.ecsv")
    assert list(table["file"]) == ["in/a.fits", "in/b.fits", "in/c.fits"]


def test_a_frame_that_was_not_all_there_is_named_at_the_end(tmp_path, frame, watch):
    """The last of the night, whose copy broke."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in/whole.fits").write_bytes(frame.read_bytes())
    (tmp_path / "in/cut.fits").write_bytes(frame.read_bytes()[:9000])
    ours = watch("-o", "out")
    ours.wait_for(lambda: len(ours.frames()) == 1)
    assert ours.end(signal.SIGINT) == 1
    text = "\n".join(ours.lines())
    assert "given up, because they were not all there: in/cut.fits" in text
    assert "done     1 of 2 images" in text


def test_what_is_wrong_stands_before_the_line_of_its_frame(tmp_path, frame, watch):
    (tmp_path / "in").mkdir()
    fits.setval(frame, "EXPTIME", value=-30.0)
    ours = watch("-o", "out")
    for n, name in enumerate(("a.fits", "b.fits"), 1):
        (tmp_path / "in" / name).write_bytes(frame.read_bytes())
        ours.wait_for(lambda n=n: len(ours.frames()) == n)
        *before, line = ours.lines()
        assert line.startswith(f"skyextract: [{n}] {name}: ")
        told = "an exposure time of -30 s is not plausible: ignored"
        assert any(name in text and told in text for text in before)
    assert ours.end(signal.SIGINT) == 0
    assert sum(told in text for text in ours.lines()) == 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--watch", "none"), "no such folder"),
        (("--watch", ".", "a.fits"), "and no others"),
        (("--watch", ".", "-CATALOG_NAME", "all.cat", "-SUMMARY_NAME", "all.cat"), "both"),
        (("--watch", ".", "--steps", "measure", "-PARAMETERS_NAME", "none.param"), "none.param"),
    ],
)
def test_mistakes_end_it_before_the_first_frame(program, arguments, said):
    done = program(*arguments, timeout=60)
    assert done.status == 2
    assert said in done.stderr
