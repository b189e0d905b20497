"""Frames that are no science say so in one line; raw ones with an overscan come out right."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.simulate.badframes import ZERO_POINT, good_frame


def run_on(skyextract, folder, frame, image, **cards):
    for card, value in cards.items():
        frame.header[card] = value
    files = replace(frame, image=image.astype(np.float32)).write(folder)
    done = skyextract(*files)
    return done, done.summary("f.json")[0]["steps"]


@pytest.mark.parametrize("seed", [1, 2, 3])
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


@pytest.mark.parametrize("seed", [1, 2])
def test_frames_without_stars(skyextract, tmp_path, seed):
    frame, rng = good_frame(seed), np.random.default_rng(seed)
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
