"""Simulate the bundled example: a 1k x 1k field with stars, galaxies and a reference catalogue.

    python examples/make_example.py [FOLDER]

writes `field.fits.fz` (tile-compressed), `field_truth.csv` (every object) and
`field_refcat.fits` (the brighter stars, as a survey catalogue would list them).
The seed is fixed: the same galsim version gives the same pixels.
"""

from __future__ import annotations

import sys
from pathlib import Path

import galsim
import numpy as np
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS

SEED = 20260214
SIZE = 1024
PIXEL_SCALE = 0.4  # arcsec
GAIN = 2.5  # e-/ADU
READ_NOISE = 6.0  # e-
EXPOSURE_TIME = 120.0  # s
SKY = 420.0  # ADU per pixel
ZERO_POINT = 30.2  # mag of 1 ADU in the whole exposure
SATURATION = 60000.0  # ADU
FWHM = 1.35  # arcsec, of the Moffat PSF
N_STARS, N_GALAXIES, N_COSMIC_RAYS = 320, 260, 25


def field_wcs() -> WCS:
    """Return the true WCS: TAN, north up to 1.3 deg, east left."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = [150.1, 2.2]
    wcs.wcs.crpix = [SIZE / 2 + 0.5, SIZE / 2 + 0.5]
    angle = np.deg2rad(1.3)
    scale = PIXEL_SCALE / 3600
    wcs.wcs.cd = scale * np.array([[-np.cos(angle), np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    wcs.wcs.radesys = "ICRS"
    return wcs


def draw_objects(rng: np.random.Generator) -> Table:
    """Draw positions, magnitudes, colours and shapes of stars and galaxies."""
    n = N_STARS + N_GALAXIES
    is_star = np.arange(n) < N_STARS
    # Euclidean-like counts: more faint than bright ones.
    magnitude = np.where(
        is_star, 15.2 + 8.3 * rng.random(n) ** 0.6, 18.5 + 5.5 * rng.random(n) ** 0.45
    )
    return Table(
        {
            "x": rng.uniform(1, SIZE, n),
            "y": rng.uniform(1, SIZE, n),
            "r_mag": magnitude,
            "g_r": np.where(is_star, rng.normal(0.7, 0.35, n), rng.normal(0.6, 0.3, n)),
            "is_star": is_star,
            "half_light_radius": np.where(is_star, 0.0, 0.25 + rng.gamma(2.0, 0.28, n)),
            "sersic": np.where(rng.random(n) < 0.3, 2.5, 1.0),
            "ellipticity": np.where(is_star, 0.0, np.clip(rng.normal(0.3, 0.15, n), 0, 0.7)),
            "theta": rng.uniform(0, 180, n),
        }
    )


def render(objects: Table, rng: np.random.Generator) -> np.ndarray:
    """Return the image in ADU (uint16), with sky, noise, cosmic rays and saturation."""
    image = galsim.ImageF(SIZE, SIZE, scale=PIXEL_SCALE)
    psf = galsim.Moffat(beta=3.5, fwhm=FWHM).shear(g1=0.02, g2=0.01)
    for row in objects:
        flux = 10 ** (-0.4 * (row["r_mag"] - ZERO_POINT))
        if row["is_star"]:
            profile = psf.withFlux(flux)
        else:
            galaxy = galsim.Sersic(n=row["sersic"], half_light_radius=row["half_light_radius"])
            galaxy = galaxy.shear(e=float(row["ellipticity"]), beta=row["theta"] * galsim.degrees)
            profile = galsim.Convolve(psf, galaxy).withFlux(flux)
        centre = galsim.PositionD(row["x"], row["y"])
        stamp = profile.drawImage(center=centre, scale=PIXEL_SCALE, method="auto", dtype=np.float32)
        overlap = stamp.bounds & image.bounds
        if overlap.isDefined():
            image[overlap] += stamp[overlap]
    y, x = np.mgrid[:SIZE, :SIZE] / SIZE
    electrons = rng.poisson((image.array + SKY * (1 + 0.03 * x - 0.02 * y)) * GAIN).astype(float)
    electrons += rng.normal(0, READ_NOISE, electrons.shape)
    add_cosmic_rays(electrons, rng)
    return np.clip(np.round(electrons / GAIN), 0, SATURATION).astype(np.uint16)


def add_cosmic_rays(electrons: np.ndarray, rng: np.random.Generator) -> None:
    """Add straight tracks, sharp as they are."""
    for _ in range(N_COSMIC_RAYS):
        x, y = rng.uniform(0, SIZE, 2)
        angle, length = rng.uniform(0, 2 * np.pi), rng.exponential(5) + 1
        charge = rng.uniform(1500, 9000)
        for step in np.arange(0, length, 0.5):
            i, j = int(y + step * np.sin(angle)), int(x + step * np.cos(angle))
            if 0 <= i < SIZE and 0 <= j < SIZE:
                electrons[i, j] += charge * 0.5


def reference_catalogue(objects: Table, wcs: WCS, rng: np.random.Generator) -> Table:
    """Return the stars of r < 20.5 with survey-like errors; one in ten is missing."""
    stars = objects[objects["is_star"] & (objects["r_mag"] < 20.5)]
    stars = stars[rng.random(len(stars)) > 0.1]
    ra, dec = wcs.all_pix2world(stars["x"], stars["y"], 1)
    error = 0.01 + 0.02 * 10 ** (0.3 * (stars["r_mag"] - 20.5))
    position_error = 0.02 / 3600
    return Table(
        {
            "RA": ra + rng.normal(0, position_error, len(stars)) / np.cos(np.deg2rad(dec)),
            "DEC": dec + rng.normal(0, position_error, len(stars)),
            "g": stars["r_mag"] + stars["g_r"] + rng.normal(0, 1, len(stars)) * error,
            "g_err": error,
            "r": stars["r_mag"] + rng.normal(0, 1, len(stars)) * error,
            "r_err": error,
        },
        units={"RA": "deg", "DEC": "deg", "g": "mag", "g_err": "mag", "r": "mag", "r_err": "mag"},
    )


def main(folder: Path) -> None:
    """Write the example into `folder`."""
    rng = np.random.default_rng(SEED)
    objects = draw_objects(rng)
    wcs = field_wcs()
    header = wcs.to_header()
    header["OBJECT"] = "Simulated field"
    header["FILTER"] = "r"
    header["EXPTIME"] = (EXPOSURE_TIME, "[s]")
    header["GAIN"] = (GAIN, "[e-/ADU]")
    header["RDNOISE"] = (READ_NOISE, "[e-]")
    header["SATURATE"] = (SATURATION, "[ADU]")
    header["DATE-OBS"] = "2026-02-14T03:21:09"
    image = fits.CompImageHDU(render(objects, rng), header, compression_type="RICE_1")
    fits.HDUList([fits.PrimaryHDU(), image]).writeto(folder / "field.fits.fz", overwrite=True)
    objects.round({"x": 3, "y": 3, "r_mag": 4, "g_r": 4})
    objects.write(folder / "field_truth.csv", overwrite=True)
    reference = reference_catalogue(objects, wcs, rng)
    reference.write(folder / "field_refcat.fits", overwrite=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
