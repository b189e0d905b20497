"""What an image leaves that failed, on disks that are full, and with -q."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from tests.compare.smalldisk import small_disk
from tests.faults.harness import write_frame

PRODUCTS = ("f.cat", "f.json")


@pytest.fixture
def frame(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return write_frame(tmp_path / "f.fits", 1, 96)


@pytest.mark.parametrize("case", ["no END", "PNG", "broken gz"])
def test_a_failed_image_leaves_its_summary_and_nothing_of_yesterday(skyextract, frame, case):
    pixels = frame.read_bytes()
    name, content = {
        "no END": ("f.fits", b"SIMPLE  =                    T" + b" " * 3000),
        "PNG": ("f.fits", b"\x89PNG\r\n\x1a\n" + bytes(500)),
        "broken gz": ("f.fits.gz", gzip.compress(pixels)[:5000]),
    }[case]
    assert skyextract("f.fits").status == 0
    Path(name).write_bytes(content)
    done = skyextract(name, "-q")
    assert done.status == 1
    assert not Path("f.cat").exists()
    (summary,) = json.loads(Path("f.json").read_text())
    assert summary["status"] == "failed"
    assert summary["error"] in done.stderr
    assert "removed, because an earlier run made it: f.cat" in done.stderr  # although -q
    assert len(done.stderr.splitlines()) == 2


@pytest.mark.parametrize("name", ["f.fits[7]", "f.fits[SCI]", "f.fit", "f.fits.xz", "f.fts"])
def test_a_name_that_no_image_has_costs_no_product(skyextract, frame, name):
    content = {"f.fits.xz": b"\xfd7zXZ\x00" + bytes(500), "f.fts": b"\x89PNG\r\n"}
    if name in content:
        Path(name).write_bytes(content[name])
    assert skyextract("f.fits").status == 0
    before = [Path(product).read_bytes() for product in PRODUCTS]
    done = skyextract(name, "--json")
    assert done.status == 1
    assert "products of f.fits have the same names, and stay as they are" in done.stderr
    assert [Path(product).read_bytes() for product in PRODUCTS] == before
    assert json.loads(done.stdout)["status"] == "failed"
    frame.unlink()
    assert skyextract("f.fits").status == 1  # the same image: its products are of yesterday
    assert not Path("f.cat").exists()
    assert json.loads(Path("f.json").read_text())[0]["status"] == "failed"


@pytest.mark.parametrize(
    ("card", "value", "told"),
    [
        ("GAIN", 0.0, "GAIN = 0 is not positive: ignored"),
        ("GAIN", -2.0, "GAIN = -2 is not positive: ignored"),
        ("EXPTIME", 0.0, "an exposure time of 0 s is not plausible"),
        ("EXPTIME", -30.0, "an exposure time of -30 s is not plausible: ignored"),
        ("EXPTIME", 1e30, "an exposure time of 1e+30 s is not plausible: ignored"),
    ],
)
def test_cards_that_cannot_be_are_told(skyextract, frame, card, value, told):
    fits.setval(frame, card, value=value)
    done = skyextract("f.fits")
    assert done.status == 0
    assert told in done.stderr


def test_a_read_noise_of_0_is_none(skyextract, frame):
    """Counters of photons have none, and many cameras write 0 for what they do not know."""
    fits.setval(frame, "RDNOISE", value=0.0)
    assert "RDNOISE" not in skyextract("f.fits").stderr
    fits.setval(frame, "RDNOISE", value=-1.0)
    assert "RDNOISE = -1 is not positive: ignored" in skyextract("f.fits").stderr


def test_crosstalk_alone_and_defects_alone(skyextract, frame):
    Path("d.reg").write_text("image\nbox(30,30,4,4,0)\n")
    done = skyextract("f.fits", "-ISR_DEFECTS", "d.reg")
    assert done.status == 0
    assert json.loads(Path("f.json").read_text())[0]["steps"]["isr"]["status"] == "complete"
    Path("x.txt").write_text("0 0\n0 0\n")
    done = skyextract("f.fits", "-ISR_CROSSTALK", "x.txt")
    assert done.status == 1
    assert "ISR_CROSSTALK is 2 x 2, f.fits[0] has 1 amplifiers" in done.stderr
    Path("x.txt").write_text("0\n")
    assert skyextract("f.fits", "-ISR_CROSSTALK", "x.txt").status == 0


def test_a_library_that_memory_is_too_small_for(skyextract, frame, monkeypatch):
    def fail(*_):
        raise OSError("Could not find/load shared object file 'libllvmlite.so'")

    monkeypatch.setattr("skyextract.image.read_side_files", fail)
    done = skyextract("f.fits")
    assert done.status == 1
    assert "error: f.fits: a library cannot be loaded: Could not find/load" in done.stderr
    assert "a mistake in skyextract" not in done.stderr
    assert json.loads(Path("f.json").read_text())[0]["status"] == "failed"


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 80 kB."""
    with small_disk(tmp_path / "disk", "80k") as place:
        yield place


def test_a_disk_that_is_full_from_the_start(skyextract, frame, disk):
    _fill(disk)
    done = skyextract("f.fits", "-o", "disk", "-q")
    assert done.status == 1
    first, second = done.stderr.splitlines()
    assert "error: disk/f.cat: cannot be written (No space left on device)" in first
    assert "products appear together, so none of this image is kept" in first
    assert "error: f.fits: there is no summary of it" in second
    assert [path.name for path in disk.iterdir()] == ["rest"]


def test_of_an_image_of_which_nothing_is_kept_a_batch_tells_no_numbers(skyextract, frame, disk):
    Path("g.fits").write_bytes(frame.read_bytes())
    _fill(disk)
    done = skyextract("f.fits", "g.fits", "-o", "disk", "-j", "1", "--steps", "measure")
    assert done.status == 1
    assert "error: disk/g.cat: cannot be written (No space left on device)" in done.stderr
    assert "sources" not in done.stderr


def test_on_a_full_disk_yesterday_makes_room_for_the_summary(skyextract, frame, disk):
    assert skyextract("f.fits", "-o", "disk").status == 0
    _fill(disk)
    done = skyextract("f.fits", "-o", "disk", "-q", "-DETECT_THRESH", "3")
    assert done.status == 1
    assert "removed, because an earlier run made it: f.cat, f.json" in done.stderr
    assert "f.json is new: it tells of the failure" in done.stderr
    assert "so none of this image is kept but its summary" in done.stderr
    assert {path.name for path in disk.iterdir()} == {"f.json", "rest"}
    (summary,) = json.loads((disk / "f.json").read_text())
    assert summary["status"] == "failed"
    assert "No space left on device" in summary["error"]


@pytest.mark.parametrize("case", ["weight map", "flag map", "detection image"])
def test_a_map_of_a_wrong_size_costs_no_catalogue(skyextract, frame, case):
    small, flags = np.ones((40, 30), "f4"), Path("flags.param")
    fits.PrimaryHDU(small if case != "flag map" else small.astype("i2")).writeto("small.fits")
    flags.write_text("NUMBER\nIMAFLAGS_ISO(1)\n")
    arguments = {
        "weight map": ("f.fits", "-WEIGHT_TYPE", "MAP_WEIGHT", "-WEIGHT_IMAGE", "small.fits"),
        "flag map": ("f.fits", "-FLAG_IMAGE", "small.fits", "-PARAMETERS_NAME", flags),
        "detection image": ("small.fits,f.fits",),
    }[case]
    alone = skyextract(*arguments)
    assert alone.status == 1  # with nothing to keep, the summary tells of the failure
    (summary,) = json.loads(Path("f.json").read_text())
    assert summary["status"] == "failed"
    assert skyextract("f.fits").status == 0
    before = [Path(product).read_bytes() for product in PRODUCTS]
    done = skyextract(*arguments, "-q")
    assert done.status == 1
    error, kept = done.stderr.splitlines()
    assert "small.fits" in error
    assert kept.endswith("products of an earlier run stay as they are (f.cat)")
    assert [Path(product).read_bytes() for product in PRODUCTS] == before


def test_a_pipe_without_an_image_costs_no_product(frame):
    for content, status in ((frame.read_bytes(), 0), (b"", 1)):
        Path("content").write_bytes(content)
        with Path("content").open("rb") as stream:
            command = [sys.executable, "-m", "skyextract", "-", "--steps", "measure"]
            done = subprocess.run(
                command, check=False, stdin=stream, capture_output=True, text=True
            )
        assert done.returncode == status, done.stderr
    assert done.stderr == "skyextract: error: -: nothing came out of it\n"
    (summary,) = json.loads(Path("stdin.json").read_text())
    assert summary["status"] != "failed"
    assert Path("stdin.cat").is_file()


@pytest.mark.parametrize("n", [1, 2, 3])  # of 43 kB
def test_check_images_without_room_cost_themselves_alone(skyextract, frame, disk, n):
    types = ",".join(("BACKGROUND", "SEGMENTATION", "OBJECTS")[:n])
    names = ",".join(("b.fits", "s.fits", "o.fits")[:n])
    options = ("-o", "disk", "-CHECKIMAGE_TYPE", types, "-CHECKIMAGE_NAME", names)
    done = skyextract("f.fits", *options, "--steps", "measure")
    assert done.status == 1
    told = "cannot be written (No space left on device): there are no check images"
    line = next(line for line in done.stderr.splitlines() if told in line)
    assert "fits: cannot" in line
    assert "f.cat" not in line
    assert {path.name for path in disk.iterdir()} == set(PRODUCTS)
    assert skyextract("f.fits", "-o", "right", "--steps", "measure").status == 0
    assert fits.getdata("disk/f.cat", 2).tobytes() == fits.getdata("right/f.cat", 2).tobytes()
    (summary,) = json.loads((disk / "f.json").read_text())
    assert summary["exit_status"] == 1
    assert any(told in text for text in summary["warnings"])
    assert set(summary["products"]) == {"CATALOG_NAME", "SUMMARY_NAME"}


def _fill(disk: Path) -> None:
    with (disk / "rest").open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(512))
        except OSError:
            pass
