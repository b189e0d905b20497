"""Pixels that are not linear in light: the result says so, and says it of no other frame."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.simulate.badframes import Sky, good_frame

STRETCHES = {
    "gamma": lambda s: 65535.0 * (np.clip(s, 0.0, None) / 65535.0) ** (1.0 / 2.2),
    "square root": lambda s: 256.0 * np.sqrt(np.clip(s, 0.0, None)),
    "asinh": lambda s: 10_000.0 * np.arcsinh((s - 250.0) / 50.0),
    "log": lambda s: 5000.0 * np.log10(np.maximum(s, 1.0) / 100.0),
    "photograph": lambda s: np.round(255.0 * (np.clip(s, 0.0, 65535.0) / 65535.0) ** 0.4545),
}


def steps_of(skyextract, folder, frame, *options):
    files = frame.write(folder)
    done = skyextract(*files, *options)
    return done, done.summary("f.json")[0]["steps"]


@pytest.mark.parametrize("kind", STRETCHES)
def test_a_stretched_frame_is_not_complete(skyextract, tmp_path, kind):
    frame = good_frame(1)
    stretched = replace(frame, image=STRETCHES[kind](frame.image).astype(np.float32))
    done, steps = steps_of(skyextract, tmp_path, stretched)
    assert steps["characterize"]["status"] == "fallback"
    assert steps["photometry"]["status"] in ("fallback", "failed")
    assert steps["characterize"]["psf_source"] == "MEASURED"
    assert "not linear in light" in steps["characterize"]["reason"]
    assert "wider than faint ones" in done.stderr


def test_a_stretched_frame_without_a_catalogue(skyextract, tmp_path):
    frame = good_frame(2)
    stretched = replace(frame, image=STRETCHES["gamma"](frame.image).astype(np.float32))
    stretched.write(tmp_path)
    done = skyextract("f.fits", "--strict")
    assert "not linear in light" in done.stderr
    assert done.status == 3


@pytest.mark.parametrize(
    ("sky", "fwhm"),
    [
        (Sky(), 3.2),
        (Sky(), 8.0),
        # A detector that loses a few per cent, and one whose bright stars are 2 % wider.
        (Sky(detector=lambda s: s * (1.0 - 0.05 * np.clip(s / 30_000.0, 0.0, 1.0))), 3.2),
        (Sky(widening=lambda x, y: 1.5 + 0.5 * x), 3.2),
        (Sky(kernel=((0.0, 0.0, 0.67), (9.0, 0.0, 0.33))), 3.2),
    ],
    ids=["linear", "wide", "slightly bent", "tilted", "doubled"],
)
def test_a_linear_frame_is_not_doubted(skyextract, tmp_path, sky, fwhm):
    done, _ = steps_of(skyextract, tmp_path, good_frame(3, sky=sky, fwhm=fwhm))
    assert "not linear in light" not in done.stderr


def test_stars_that_are_clipped_softly(skyextract, tmp_path):
    """Soft saturation: the zero point is that of the others; the bright have a flag or a line."""
    soft = Sky(detector=lambda s: s / (1.0 + (s / 1500.0) ** 4) ** 0.25)
    done, steps = steps_of(skyextract, tmp_path, good_frame(2, sky=soft))
    photometry = steps["photometry"]
    assert photometry["checks"]["n_bright_left_out"] < 4
    assert "their cores are taken as saturated" in done.stderr
    assert abs(photometry["zero_point"] - 27.0) < 4.0 * photometry["zero_point_error"] + 0.01


@pytest.mark.parametrize("seed", [1, 3])
def test_a_mild_stretch(skyextract, tmp_path, seed):
    """Two slight signs, of widths and of magnitudes, are one clear one."""
    frame = good_frame(seed)
    mild = np.clip(frame.image, 0.0, None).astype(np.float64) ** 0.9
    _, steps = steps_of(skyextract, tmp_path, replace(frame, image=mild.astype(np.float32)))
    assert steps["photometry"]["status"] == "fallback"
    assert "not linear in light" in steps["photometry"]["reason"]
    _, steps = steps_of(skyextract, tmp_path, frame)
    assert steps["photometry"]["status"] == "complete"
