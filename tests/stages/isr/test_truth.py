"""Instrument signature removal against a simulated camera whose truth is known.

Two amplifiers in one frame with overscan that drifts along the rows, bias structure, dark
current with hot pixels, a flat with structure and dust rings, non-linearity, saturation and
bad columns; galsim stars on a bright sky.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import galsim
import numpy as np
import pytest
from astropy.io import fits

from skyextract.datamodel.flags import Mask
from skyextract.inputs.calibrations import load_calibrations
from skyextract.io.names import parse_image_spec
from skyextract.io.raw.frames import read_raw_frames
from skyextract.run import Run
from skyextract.settings.resolve import command_line_settings, resolve
from skyextract.stages.isr.signature import remove_signature

NX = NY = 512
HALF, OVERSCAN = NX // 2, 32
GAINS = (2.0, 2.2)
READ_NOISE = (5.0, 6.0)
NONLINEARITY = 1.5e-6  # true = x + c x^2, in ADU
FULL_WELL = 50000  # ADU, bias included
SKY, DARK_TIME, TIME = 9000.0, 300.0, 120.0
BAD_COLUMNS = (100, 101, 333)


@dataclass
class Camera:
    """What the detector does to the light, and frames taken with it."""

    folder: Path
    rng: np.random.Generator
    bias: np.ndarray
    dark: np.ndarray  # e-/s
    flat: np.ndarray

    @classmethod
    def make(cls, folder: Path) -> Camera:
        rng = np.random.default_rng(7)
        y, x = np.mgrid[:NY, :NX]
        bias = 4.0 * np.sin(x / 19.0) + 3.0 * (x % 256 < 40) + rng.normal(0.0, 1.0, (NY, NX))
        dark = np.full((NY, NX), 0.05)
        dark.ravel()[rng.choice(NY * NX, 300, replace=False)] = rng.uniform(1.0, 30.0, 300)
        flat = 1.0 + 0.05 * np.cos(x / 80.0) * np.cos(y / 95.0) + rng.normal(0.0, 0.01, (NY, NX))
        for cx, cy in ((130, 390), (400, 120), (350, 350)):
            r = np.hypot(x - cx, y - cy)
            flat *= 1.0 - 0.04 * np.exp(-0.5 * ((r - 18.0) / 4.0) ** 2)
        return cls(folder, rng, bias, dark, flat / np.median(flat))

    def expose(self, name: str, light: np.ndarray | float, time: float, kind: str) -> np.ndarray:
        """Write a raw frame; returns the light that falls on the pixels."""
        electrons = self.rng.poisson(self.flat * light + self.dark * time).astype(float)
        frame = np.zeros((NY, NX + 2 * OVERSCAN))
        drift = 800.0 + 6.0 * np.sin(np.arange(NY) / 60.0)
        for k, (gain, noise) in enumerate(zip(GAINS, READ_NOISE, strict=True)):
            columns = slice(k * HALF, (k + 1) * HALF)
            true = electrons[:, columns] / gain
            measured = (np.sqrt(1.0 + 4.0 * NONLINEARITY * true) - 1.0) / (2.0 * NONLINEARITY)
            level = drift[:, None] + 50.0 * k
            pixels = measured + self.bias[:, columns] + level
            pixels = pixels + self.rng.normal(0.0, noise / gain, pixels.shape)
            scan = level + self.rng.normal(0.0, noise / gain, (NY, OVERSCAN))
            frame[:, k * HALF : (k + 1) * HALF] = pixels
            frame[:, NX + k * OVERSCAN : NX + (k + 1) * OVERSCAN] = scan
        for column in BAD_COLUMNS:
            frame[:, column] = 3000.0 + self.rng.normal(0.0, 300.0, NY)
        frame = np.clip(np.rint(frame), 0, FULL_WELL)
        header = fits.Header({"EXPTIME": time, "IMAGETYP": kind, "FILTER": "r"})
        header["SATURATE"] = FULL_WELL
        fits.PrimaryHDU(frame.astype(np.uint16), header).writeto(self.folder / name)
        return self.flat * light


def scene(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return expected electrons of the sky with stars, and positions of the stars."""
    image = galsim.ImageD(NX, NY, scale=1.0)
    grid = np.arange(32, 500, 48) + 0.0
    xs, ys = (g.ravel() + rng.uniform(-3, 3, g.size) for g in np.meshgrid(grid, grid))
    for k, (x, y) in enumerate(zip(xs, ys, strict=True)):
        flux = 2.5e6 if k in (17, 66) else 10 ** rng.uniform(4.5, 5.6)
        star = galsim.Moffat(beta=3.5, fwhm=3.2).withFlux(flux)
        stamp = star.drawImage(center=galsim.PositionD(x + 1, y + 1), scale=1.0, dtype=float)
        overlap = stamp.bounds & image.bounds
        image[overlap] += stamp[overlap]
    return image.array + SKY, np.stack([xs, ys], axis=1)


@dataclass
class Observed:
    """A corrected frame and its truth."""

    camera: Camera
    truth: np.ndarray
    stars: np.ndarray
    image: np.ndarray
    variance: np.ndarray
    mask: np.ndarray
    metrics: dict


OPTIONS = {
    "ISR_TRIMSEC": "[1:256,1:512],[257:512,1:512]",
    "ISR_BIASSEC": "[513:544,1:512],[545:576,1:512]",
    "ISR_DETSEC": "[1:256,1:512],[257:512,1:512]",
    "ISR_GAIN": "2.0,2.2",
    "ISR_RDNOISE": "5,6",
    "ISR_LINEARITY": str(NONLINEARITY),
}


@pytest.fixture(scope="module")
def observed(tmp_path_factory) -> Observed:
    folder = tmp_path_factory.mktemp("night")
    camera = Camera.make(folder)
    for k in range(20):
        camera.expose(f"bias{k:02d}.fits", 0.0, 0.0, "BIAS")
        camera.expose(f"flat{k:02d}.fits", 30000.0, 5.0, "FLAT")
        if k < 12:
            camera.expose(f"dark{k:02d}.fits", 0.0, DARK_TIME, "DARK")
    truth, stars = scene(camera.rng)
    camera.expose("science.fits", truth, TIME, "OBJECT")
    (folder / "defects.csv").write_text("x,y,width,height\n101,1,2,512\n334,1,1,512\n")
    pairs = [
        *OPTIONS.items(),
        ("ISR_BIAS", str(folder / "bias*.fits")),
        ("ISR_DARK", str(folder / "dark*.fits")),
        ("ISR_FLAT", str(folder / "flat*.fits")),
        ("ISR_DEFECTS", str(folder / "defects.csv")),
    ]
    settings = resolve(None, command_line_settings(pairs))
    run = Run(2)
    (raw,) = read_raw_frames(parse_image_spec(str(folder / "science.fits")), settings.config, run)
    calibrations = load_calibrations(raw, settings, folder, run)
    signature = remove_signature(raw, calibrations, settings.config, run)
    exposure = signature.exposure
    assert run.warnings == []
    return Observed(
        camera, truth, stars, exposure.image, exposure.variance, exposure.mask, signature.metrics
    )


def test_noise_is_what_the_variance_says(observed):
    good = observed.mask == 0
    residual = (observed.image - observed.truth)[good]
    chi2 = np.mean(residual**2 / observed.variance[good])
    assert 0.97 < chi2 < 1.03
    sky = good & (observed.truth < 1.05 * SKY)
    scatter = np.var((observed.image - observed.truth)[sky])
    assert np.mean(observed.variance[sky]) == pytest.approx(scatter, rel=0.02)


def test_no_structure_is_left(observed):
    residual = np.where(observed.mask == 0, observed.image - observed.truth, np.nan) / SKY
    blocks = np.nanmean(residual.reshape(8, 64, 8, 64), axis=(1, 3))
    assert np.abs(blocks).max() < 1e-3
    noise = np.sqrt(np.median(observed.variance)) / SKY
    for axis, lines in ((0, 512), (1, 512)):
        known = np.isfinite(residual).any(axis=axis)
        profile = np.nanmean(np.compress(known, residual, axis=1 - axis), axis=axis)
        excess = profile.var() - noise**2 / lines
        assert np.sqrt(max(excess, 0.0)) < 1e-3


def test_structure_was_there(observed):
    """The same pixels without flat, bias and dark are far off."""
    raw = observed.camera.flat * observed.truth
    blocks = (raw / observed.truth - 1.0).reshape(8, 64, 8, 64).mean(axis=(1, 3))
    assert np.abs(blocks).max() > 0.02


def test_star_photometry_is_unbiased(observed):
    y, x = np.mgrid[:NY, :NX]
    ratios, weights = [], []
    for cx, cy in observed.stars:
        near = np.hypot(x - cx, y - cy) < 8.0
        if (observed.mask[near] != 0).any():
            continue
        flux = (observed.truth[near] - SKY).sum()
        measured = (observed.image[near] - SKY).sum()
        ratios.append(measured / flux - 1.0)
        weights.append(flux**2 / observed.variance[near].sum())
    ratios, weights = np.array(ratios), np.array(weights)
    assert len(ratios) > 70
    bias = (ratios * weights).sum() / weights.sum()
    error = weights.sum() ** -0.5
    assert error < 1.5e-3
    assert abs(bias) < 3.0 * error
    pulls = ratios * np.sqrt(weights)
    assert 0.75 < pulls.std() < 1.25


def test_masks(observed):
    bad = (observed.mask & np.uint16(Mask.BAD)) != 0
    assert set(np.flatnonzero(bad.any(axis=0))) == set(BAD_COLUMNS)
    assert bad[:, list(BAD_COLUMNS)].all()
    filled = (observed.mask & np.uint16(Mask.INTRP)) != 0
    assert filled[:, list(BAD_COLUMNS)].mean() > 0.98
    sky = filled & (observed.truth < 1.02 * SKY)
    off = (observed.image[sky] - observed.truth[sky]) / np.sqrt(SKY)
    assert np.abs(np.median(off)) < 0.2
    assert off.std() < 1.2
    saturated = (observed.mask & np.uint16(Mask.SAT)) != 0
    assert 2 <= saturated.sum() < 100
    assert observed.truth[saturated].min() > 80000.0
    assert np.isinf(observed.variance[filled]).all()


def test_metrics(observed):
    first, second = observed.metrics["amplifiers"]
    assert first["overscan_level"] == pytest.approx(800.0, abs=5.0)
    assert second["overscan_level"] == pytest.approx(850.0, abs=5.0)
    assert first["overscan_noise"] == pytest.approx(5.0 / 2.0, rel=0.02)
    (step,) = observed.metrics["sky_steps"]
    assert step["before"] == pytest.approx(-0.095, abs=0.003)
    assert step["after"] == pytest.approx(0.0, abs=0.001)
    assert observed.metrics["dark_scale"] == pytest.approx(TIME / DARK_TIME)


def test_masters(observed):
    """The masters are close to the truth, with variances that say how close.

    The variance is that of the frames combined; a dark (of 12) has also the noise of the bias
    (of 20) that was taken off all of them.
    """
    for kind, truth, width in (
        ("bias", observed.camera.bias, 1.0),
        ("dark", observed.camera.dark * DARK_TIME, np.sqrt(1.0 + 12.0 / 20.0)),
        ("flat_r", observed.camera.flat, 1.0),
    ):
        with fits.open(observed.camera.folder / f"master_{kind}.fits") as units:
            image, variance = units["IMAGE"].data, units["VARIANCE"].data
        if kind == "dark":
            gain = np.where(np.arange(NX) < HALF, *GAINS)
            truth = truth / gain  # noqa: PLW2901
        columns = np.setdiff1d(np.arange(NX), BAD_COLUMNS)
        if kind == "flat_r":  # normalised by a median that the bad columns share
            image = image / np.median((image / truth)[:, columns])
        pull = ((image - truth) / np.sqrt(variance))[:, columns]
        assert abs(np.median(pull)) < 0.1, kind
        assert 1.4826 * np.median(np.abs(pull)) == pytest.approx(width, abs=0.1), kind
