"""Frames that are no science say so in one line; raw ones with an overscan come out right."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from astropy.io import fits

from tests.simulate.badframes import ZERO_POINT, good_frame


def run_on(skyextract, folder, frame, image, **cards):
    for card, value in cards.items():
        frame.header[card] = value
    files = replace(frame, image=image.astype(np.float32)).write(folder)
    done = skyextract(*files)
    return done, done.summary("f.json")[0]["steps"]


@pytest.mark.parametrize("seed", [1, 2])
def test_an_overscan_that_was_left_in(skyextract, tmp_path, seed):
    frame = good_frame(seed)
    image = frame.image.copy()
    image[:, 470:] = np.random.default_rng(seed).normal(100.0, 3.0, (512, 42))
    sections = {"BIASSEC": "[471:512,1:512]", "TRIMSEC": "[1:470,1:512]"}
    done, steps = run_on(skyextract, tmp_path, frame, image, **(sections if seed == 1 else {}))
    assert "columns 471 to 512 are" in done.stderr
    assert ("BIASSEC tells of an overscan, which isr has not" in done.stderr) == (seed == 1)
    assert "measured as sky" not in done.stderr
    assert done.status == 0
    assert steps["characterize"]["status"] == "complete"
    photometry = steps["photometry"]
    assert abs(photometry["zero_point"] - ZERO_POINT) < 4 * photometry["zero_point_error"]


@pytest.mark.parametrize(("part", "seed"), [(np.s_[:, :128], 1), (np.s_[:256, :256], 2)])
def test_a_dead_amplifier(skyextract, tmp_path, part, seed):
    frame = good_frame(seed)
    clean = skyextract(*frame.write(tmp_path)).summary("f.json")[0]["steps"]
    image = frame.image.copy()
    image[part] = np.random.default_rng(seed + 11).normal(20.0, 3.0, image[part].shape)
    done = skyextract(*replace(frame, image=image).write(tmp_path))
    steps = done.summary("f.json")[0]["steps"]
    assert done.stderr.count("a dead amplifier or detector?") == 1
    assert "darker" not in done.stderr
    for name in ("measure", "astrometry", "photometry"):
        assert steps[name]["status"] == "complete", done.stderr
    was, now = clean["photometry"], steps["photometry"]
    assert now["zero_point_error"] < 1.5 * was["zero_point_error"]
    assert abs(now["zero_point"] - was["zero_point"]) < 3.0 * now["zero_point_error"]
    rows = fits.getdata("f.cat", 2)
    distance = np.hypot(rows["X_IMAGE"][:, None] - 1 - frame.truth.x,
                        rows["Y_IMAGE"][:, None] - 1 - frame.truth.y)  # fmt: skip
    assert np.count_nonzero(distance.min(axis=1) > 2.5) <= 2


def test_frames_without_stars(skyextract, tmp_path):
    frame, rng = good_frame(1), np.random.default_rng(1)
    done, steps = run_on(skyextract, tmp_path, frame, rng.normal(400.0, 3.0, (512, 512)))
    assert steps["measure"]["status"] == "fallback"
    assert "a bias, dark or flat frame" in done.stderr or "no source in" in done.stderr
    done, steps = run_on(skyextract, tmp_path, frame, 20_000.0 - frame.image)
    assert steps["measure"]["status"] == "fallback"
    assert "an inverted image?" in steps["measure"]["reason"]
    done, steps = run_on(skyextract, tmp_path, frame, frame.image, IMAGETYP="Flat Field")
    assert "this is a flat frame (IMAGETYP = 'Flat Field')" in steps["measure"]["reason"]
    done, steps = run_on(skyextract, tmp_path, frame, frame.image, IMAGETYP="Light Frame")
    assert steps["measure"]["status"] == "complete"
