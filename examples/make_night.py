"""Simulate the bundled night: raw bias, dark and flat frames and one raw science frame.

    python examples/make_night.py [FOLDER]

writes `night/` with four raw frames of each kind, `science.fits.fz` and `refcat.fits`: a
camera of 512 x 512 pixels with two amplifiers in one frame, overscan, bias structure, warm
pixels and a dusty flat, described by `camera.conf`.  The seed is fixed.
"""

from __future__ import annotations

import sys
from pathlib import Path

import galsim
import numpy as np
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS

SEED = 20261122
SIZE, OVERSCAN = 512, 24
HALF = SIZE // 2
GAINS = (3.1, 3.4)  # e-/ADU
READ_NOISE = (6.0, 7.0)  # e-
SATURATION = 60000  # ADU
PIXEL_SCALE = 0.6  # arcsec
FWHM = 1.9  # arcsec
TIME, DARK_TIME, FLAT_TIME = 90.0, 180.0, 4.0  # s
SKY = 900.0  # e- per pixel
ZERO_POINT = 29.8  # mag of 1 e- in the whole exposure
N_STARS, N_GALAXIES, N_COSMIC_RAYS = 150, 60, 12
N_CALIBRATION = 4

CAMERA = """\
# The camera of the simulated night: two amplifiers side by side, their overscan at the right.
ISR_TRIMSEC   [1:256,1:512],[257:512,1:512]
ISR_BIASSEC   [513:536,1:512],[537:560,1:512]
ISR_DETSEC    [1:256,1:512],[257:512,1:512]
ISR_GAIN      GAIN1,GAIN2        # header cards
ISR_RDNOISE   RON1,RON2
SATUR_LEVEL   60000
"""


def field_wcs() -> WCS:
    """Return the true WCS of the trimmed frame: TAN, turned by 2.1 deg."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = [211.3, 33.7]
    wcs.wcs.crpix = [SIZE / 2 + 0.5, SIZE / 2 + 0.5]
    angle, scale = np.deg2rad(2.1), PIXEL_SCALE / 3600
    wcs.wcs.cd = scale * np.array([[-np.cos(angle), np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    wcs.wcs.radesys = "ICRS"
    return wcs


class Detector:
    """Bias structure, dark current and flat field of the camera."""

    def __init__(self, rng: np.random.Generator) -> None:
        y, x = np.mgrid[:SIZE, :SIZE]
        self.rng = rng
        self.bias = 3.0 * np.sin(x / 23.0) + rng.normal(0.0, 0.5, (SIZE, SIZE))
        self.dark = np.full((SIZE, SIZE), 0.02)  # e-/s
        warm = rng.choice(SIZE * SIZE, 150, replace=False)
        self.dark.ravel()[warm] = rng.uniform(0.5, 15.0, 150)
        r2 = (x - HALF) ** 2 + (y - HALF) ** 2
        self.flat = 1.0 - 0.06 * r2 / HALF**2 + rng.normal(0.0, 0.006, (SIZE, SIZE))
        for _ in range(6):
            cx, cy, radius = *rng.uniform(0, SIZE, 2), rng.uniform(8, 22)
            r = np.hypot(x - cx, y - cy)
            self.flat *= 1.0 - 0.05 * np.exp(-0.5 * ((r - radius) / 3.0) ** 2)

    def read_out(self, light: np.ndarray | float, time: float) -> np.ndarray:
        """Return the raw frame (uint16) of an exposure to light (e-)."""
        electrons = self.rng.poisson(self.flat * light + self.dark * time)
        frame = np.zeros((SIZE, SIZE + 2 * OVERSCAN))
        drift = 1200.0 + 4.0 * np.sin(np.arange(SIZE)[:, None] / 70.0)
        for k, (gain, noise) in enumerate(zip(GAINS, READ_NOISE, strict=True)):
            columns = slice(k * HALF, (k + 1) * HALF)
            level = drift + 35.0 * k
            frame[:, columns] = electrons[:, columns] / gain + self.bias[:, columns] + level
            scan = slice(SIZE + k * OVERSCAN, SIZE + (k + 1) * OVERSCAN)
            frame[:, scan] = level
            for part in (columns, scan):
                frame[:, part] += self.rng.normal(0.0, noise / gain, frame[:, part].shape)
        return np.clip(np.rint(frame), 0, SATURATION).astype(np.uint16)


def scene(rng: np.random.Generator) -> tuple[np.ndarray, Table]:
    """Return the expected light (e-) and the stars in it."""
    n = N_STARS + N_GALAXIES
    is_star = np.arange(n) < N_STARS
    objects = Table(
        {
            "x": rng.uniform(1, SIZE, n),
            "y": rng.uniform(1, SIZE, n),
            "r": np.where(
                is_star, 15.5 + 6.5 * rng.random(n) ** 0.6, 18.5 + 4 * rng.random(n) ** 0.5
            ),
            "g_r": rng.normal(0.7, 0.3, n),
            "is_star": is_star,
        }
    )
    image = galsim.ImageF(SIZE, SIZE, scale=PIXEL_SCALE)
    psf = galsim.Moffat(beta=3.3, fwhm=FWHM).shear(g1=0.015, g2=-0.01)
    for row in objects:
        flux = 10 ** (-0.4 * (row["r"] - ZERO_POINT))
        profile = psf.withFlux(flux)
        if not row["is_star"]:
            galaxy = galsim.Exponential(half_light_radius=rng.uniform(0.5, 1.4))
            galaxy = galaxy.shear(e=rng.uniform(0, 0.5), beta=rng.uniform(0, 180) * galsim.degrees)
            profile = galsim.Convolve(psf, galaxy).withFlux(flux)
        centre = galsim.PositionD(row["x"], row["y"])
        stamp = profile.drawImage(center=centre, scale=PIXEL_SCALE, dtype=np.float32)
        overlap = stamp.bounds & image.bounds
        if overlap.isDefined():
            image[overlap] += stamp[overlap]
    return image.array + SKY, objects[objects["is_star"]]


def add_cosmic_rays(light: np.ndarray, rng: np.random.Generator) -> None:
    """Add straight tracks."""
    for _ in range(N_COSMIC_RAYS):
        x, y = rng.uniform(0, SIZE, 2)
        angle, length = rng.uniform(0, 2 * np.pi), rng.exponential(5) + 1
        charge = rng.uniform(1500, 9000)
        for step in np.arange(0, length, 0.5):
            i, j = int(y + step * np.sin(angle)), int(x + step * np.cos(angle))
            if 0 <= i < SIZE and 0 <= j < SIZE:
                light[i, j] += 0.5 * charge


def write(path: Path, pixels: np.ndarray, kind: str, time: float, wcs: WCS | None = None) -> None:
    """Write a raw frame, tile-compressed without loss."""
    header = fits.Header() if wcs is None else wcs.to_header()
    header["IMAGETYP"] = kind
    header["EXPTIME"] = (time, "[s]")
    if kind in ("FLAT", "OBJECT"):
        header["FILTER"] = "r"
    for k in (1, 2):
        header[f"GAIN{k}"] = (GAINS[k - 1], "[e-/ADU]")
        header[f"RON{k}"] = (READ_NOISE[k - 1], "[e-]")
    image = fits.CompImageHDU(pixels, header, compression_type="RICE_1")
    fits.HDUList([fits.PrimaryHDU(), image]).writeto(path, overwrite=True)


def reference_catalogue(stars: Table, wcs: WCS, rng: np.random.Generator) -> Table:
    """Return the stars of r < 20 with survey-like errors."""
    stars = stars[stars["r"] < 20.0]
    ra, dec = wcs.all_pix2world(stars["x"], stars["y"], 1)
    n = len(stars)
    error = np.full(n, 0.012)
    return Table(
        {
            "RA": ra + rng.normal(0, 0.02 / 3600, n) / np.cos(np.deg2rad(dec)),
            "DEC": dec + rng.normal(0, 0.02 / 3600, n),
            "g": stars["r"] + stars["g_r"] + rng.normal(0, 1, n) * error,
            "g_err": error,
            "r": stars["r"] + rng.normal(0, 1, n) * error,
            "r_err": error,
        },
        units={"RA": "deg", "DEC": "deg", "g": "mag", "g_err": "mag", "r": "mag", "r_err": "mag"},
    )


def main(folder: Path) -> None:
    """Write the night into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(SEED)
    detector = Detector(rng)
    for k in range(1, N_CALIBRATION + 1):
        write(folder / f"bias{k}.fits.fz", detector.read_out(0.0, 0.0), "BIAS", 0.0)
        write(folder / f"dark{k}.fits.fz", detector.read_out(0.0, DARK_TIME), "DARK", DARK_TIME)
        write(folder / f"flat{k}.fits.fz", detector.read_out(6e4, FLAT_TIME), "FLAT", FLAT_TIME)
    light, stars = scene(rng)
    wcs = field_wcs()
    reference_catalogue(stars, wcs, rng).write(folder / "refcat.fits", overwrite=True)
    add_cosmic_rays(light, rng)
    # A pointing error, as telescopes have: the header is off by 20 arcsec.
    wcs.wcs.crval = wcs.wcs.crval + np.array([15.0, -13.0]) / 3600
    write(folder / "science.fits.fz", detector.read_out(light, TIME), "OBJECT", TIME, wcs)
    (folder / "camera.conf").write_text(CAMERA)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "night")
