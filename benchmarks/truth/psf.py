"""PSF models of simulated frames against the truth, and beside PSFEx where it is installed.

For each frame: FWHM, ellipticity, and the median reduced chi2 (within 2 FWHM) of stars that
no model was built from, by S/N; and the FWHM from starts wrong by a factor of 3.

    python -m benchmarks.truth.psf [--quick]
"""

from __future__ import annotations

import argparse
import math
import shutil
import subprocess
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits

from skyextract.datamodel.exposure import Detector, Exposure
from skyextract.datamodel.psf import Psf
from skyextract.datamodel.psfshape import core_ellipticity, effective_fwhm
from skyextract.io.psf.psfex import read_psfs
from skyextract.run import Run
from skyextract.settings.keywords import Config
from skyextract.stages.characterize import characterize
from tests.simulate.starfield import StarField, simulate

FRAMES: list[tuple[str, float, dict[str, Any]]] = [
    ("Gaussian", 1.6, {}),
    ("Moffat 2.5, elliptical", 1.6, {"beta": 2.5, "ellipticity": 0.1}),
    ("Moffat 3.5, varying 20 %", 1.6, {"beta": 3.5, "variation": 0.2}),
    ("Gaussian, elliptical", 2.5, {"ellipticity": 0.2}),
    ("Moffat 3, varying 20 %", 2.5, {"beta": 3.0, "variation": 0.2}),
    ("Moffat 3.5", 4.0, {"beta": 3.5}),
    ("Moffat 2.5, elliptical, varying", 4.0, {"beta": 2.5, "ellipticity": 0.1, "variation": 0.2}),
    ("Moffat 3.5", 8.0, {"beta": 3.5}),
    ("Moffat 3.5, elliptical", 11.5, {"beta": 3.5, "ellipticity": 0.1}),
]


def make_frames(fwhm: float, seed: int, quick: bool, options: dict[str, Any]) -> list[StarField]:
    """Two frames of one PSF: one to build the model from, one held out."""
    n = int(min(2000 if quick else 2500, max(700, 280 * fwhm)))
    stars = int(min(220, (n / (5.5 * fwhm)) ** 2 * 0.35))
    return [
        simulate(n, stars, fwhm, snr=(40, 1200), separation=5.5 * fwhm, seed=s, **options)
        for s in (seed, seed + 1000)
    ]


def measure(field: StarField, start: float) -> tuple[Psf | None, dict[str, Any], float]:
    """Characterize a frame from a default FWHM; returns PSF, metrics and seconds."""
    config = Config()
    config = replace(config, characterize=replace(config.characterize, default_fwhm=start))
    exposure = Exposure(
        field.image, np.zeros(field.image.shape, np.uint16), detector=Detector(gain=field.gain)
    )
    began = time.perf_counter()
    result = characterize(exposure, config, Run(n_threads=2))
    seconds = time.perf_counter() - began
    found = result.exposure.psf if result.status == "COMPLETE" else None
    return found, result.metrics, seconds


def held_out(field: StarField, psf: Psf, fwhm: float) -> tuple[float, float]:
    """Median reduced chi2 at S/N 100-500 and 700-1200; flux and centre are fitted."""
    chi2 = np.array([_chi2(field, psf, k, fwhm) for k in range(field.x.size)])
    middle = (field.snr > 100) & (field.snr < 500)
    return float(np.median(chi2[middle])), float(np.median(chi2[field.snr > 700]))


def _chi2(field: StarField, psf: Psf, k: int, fwhm: float) -> float:
    x, y = field.x[k], field.y[k]
    i, j = round(x), round(y)
    half = math.ceil(2 * fwhm) + 1
    if min(i, j) < half or max(i, j) + half >= field.image.shape[0]:
        return math.nan
    data = field.image[j - half : j + half + 1, i - half : i + half + 1] - 1000.0
    gy, gx = np.mgrid[-half : half + 1, -half : half + 1]
    dx, dy, size = x - i, y - j, 2 * half + 1
    inside = np.hypot(gx - dx, gy - dy) < 2 * fwhm
    h = 0.01
    for _ in range(3):
        steps = np.array([[0, h, -h, 0, 0], [0, 0, 0, h, -h]])
        five = np.full(5, 1.0)
        # The whole model has unit sum; a stamp is a cut-out of it.
        whole = max(size, 2 * psf.radius + 1)
        stamps = psf.stamps(x * five, y * five, dx + steps[0], dy + steps[1], whole)
        trim = (whole - size) // 2
        stamps = stamps[:, trim : trim + size, trim : trim + size].astype(float)
        noise = np.sqrt(field.sky_sigma**2 + field.flux[k] * stamps[0].clip(0) / field.gain)
        slopes = (stamps[1] - stamps[2]) / (2 * h), (stamps[3] - stamps[4]) / (2 * h)
        matrix = np.stack([m[inside] for m in (stamps[0], *slopes)], axis=1)
        matrix /= noise[inside][:, None]
        target = data[inside] / noise[inside]
        solution = np.linalg.lstsq(matrix, target, rcond=None)[0]
        dx, dy = dx + solution[1] / solution[0], dy + solution[2] / solution[0]
    return float(((target - matrix @ solution) ** 2).sum() / (target.size - 3))


def psfex_model(field: StarField) -> Psf | None:
    """Return the model of SExtractor and PSFEx with their defaults, or None."""
    programs = [shutil.which(name) for name in ("source-extractor", "psfex")]
    if None in programs:
        return None
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        fits.writeto(folder / "image.fits", field.image)
        columns = ("X_IMAGE", "Y_IMAGE", "FLUX_RADIUS", "FLAGS", "FLUX_APER(1)",
                   "FLUXERR_APER(1)", "SNR_WIN", "ELONGATION", "VIGNET(35,35)")  # fmt: skip
        (folder / "p.param").write_text("\n".join(columns) + "\n")
        (folder / "d.conv").write_text("CONV NORM\n1 2 1\n2 4 2\n1 2 1\n")
        quiet = ["-VERBOSE_TYPE", "QUIET"]
        subprocess.run(
            [programs[0], "image.fits", "-c", "none.sex", "-PARAMETERS_NAME", "p.param",
             "-FILTER_NAME", "d.conv", "-CATALOG_NAME", "v.cat", "-CATALOG_TYPE", "FITS_LDAC",
             "-GAIN", str(field.gain), "-PHOT_APERTURES", "10", "-SATUR_LEVEL", "1e9", *quiet],
            check=True, cwd=folder, capture_output=True,
        )  # fmt: skip
        done = subprocess.run(
            [programs[1], "v.cat", "-CHECKPLOT_DEV", "NULL", "-CHECKPLOT_TYPE", "NONE",
             "-CHECKIMAGE_TYPE", "NONE", "-WRITE_XML", "N", "-SAMPLE_FWHMRANGE", "1.0,30.0",
             *quiet],
            check=False, cwd=folder, capture_output=True,
        )  # fmt: skip
        if done.returncode or not (folder / "v.psf").exists():
            return None
        return read_psfs(str(folder / "v.psf"), Run())[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="smaller frames")
    quick = parser.parse_args().quick
    print(
        f"{'PSF':32s} {'FWHM':>7s} {'ours':>8s} {'PSFEx':>8s} {'1-b/a':>6s} {'ours':>7s} "
        f"{'stars':>5s} {'chi2 100-500':>12s} {'700+':>6s} {'PSFEx':>6s} {'700+':>7s} "
        f"{'1/3':>7s} {'x 3':>7s} {'s':>5s}"
    )
    for number, (name, width, options) in enumerate(FRAMES):
        field, other = make_frames(width, 10 + number, quick, options)
        step = width / 5
        middle = (field.image.shape[0] - 1) / 2
        samples = field.psf_samples(middle, middle, step, 75)
        fwhm, ellipticity = effective_fwhm(samples, step), core_ellipticity(samples)
        models = [measure(field, fwhm * factor) for factor in (1.0, 1 / 3, 3.0)]
        psf, metrics, seconds = models[0]
        if psf is None:
            print(f"{name:32s} {fwhm:7.3f}  no PSF")
            continue
        error = [100 * (m[0].fwhm / fwhm - 1) if m[0] else math.nan for m in models]
        middle_chi2, high_chi2 = held_out(other, psf, fwhm)
        reference = psfex_model(field)
        theirs, their_chi2 = math.nan, (math.nan, math.nan)
        if reference is not None:
            # PSFEx's polynomial is centred on its sample, not on the frame.
            at = reference.stamp(middle, middle, 0.0, 0.0)
            theirs = 100 * (reference.fwhm / fwhm - 1) if at.sum() else math.nan
            their_chi2 = held_out(other, reference, fwhm)
        print(
            f"{name:32s} {fwhm:7.3f} {error[0]:+7.2f}% {theirs:+7.2f}% {ellipticity:6.3f} "
            f"{psf.ellipticity:7.4f} {metrics['n_psf_stars']:5d} {middle_chi2:12.3f} "
            f"{high_chi2:6.3f} {their_chi2[0]:6.3f} {their_chi2[1]:7.3f} {error[1]:+6.2f}% "
            f"{error[2]:+6.2f}% {seconds:5.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
