"""Make frames of a night from the example field: `python make_frames.py FOLDER N`.

Each is the field as it would have been seen a little later: in worse seeing, through more air
and, for a while, through clouds.  The frames appear one by one under their final names, as a camera
writes them.
"""

from __future__ import annotations

import sys
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
from astropy.io import fits

FIELD = Path(__file__).resolve().parent / "field.fits.fz"
START = datetime(2026, 2, 14, 3, 0, 0)
MINUTES = 12.0
LONGITUDE, LATITUDE, HEIGHT = -70.73, -29.26, 2400.0
GAIN = 1.5  # e-/ADU
EXTINCTION = 0.1  # mag per airmass


def airmass_of(time: datetime, ra: float, dec: float) -> float:
    """Return the airmass of a direction (deg) at a time (UT)."""
    days = (time - datetime(2000, 1, 1, 12)) / timedelta(days=1)
    sidereal = 280.46062 + 360.98564737 * days + LONGITUDE
    a, d, latitude = np.radians((sidereal - ra, dec, LATITUDE))
    return float(1.0 / (np.sin(latitude) * np.sin(d) + np.cos(latitude) * np.cos(d) * np.cos(a)))


def blurred(image: np.ndarray, sigma: float) -> np.ndarray:
    """Return an image in worse seeing: a Gaussian of `sigma` pixels more."""
    ky, kx = np.fft.fftfreq(image.shape[0])[:, None], np.fft.rfftfreq(image.shape[1])
    transfer = np.exp(-2.0 * (np.pi * sigma) ** 2 * (kx**2 + ky**2))
    return np.fft.irfft2(np.fft.rfft2(image) * transfer, image.shape)


def frame(number: int, n: int, image: np.ndarray, header: fits.Header) -> fits.PrimaryHDU:
    """Return frame `number` of `n`."""
    chance = np.random.default_rng(number)
    part = number / max(n - 1, 1)
    time = START + timedelta(minutes=MINUTES * number)
    airmass = airmass_of(time, header["CRVAL1"], header["CRVAL2"])
    clouds = 0.6 * np.exp(-0.5 * ((part - 0.6) / 0.1) ** 2) * chance.uniform(0.5, 1.0)
    loss = 10.0 ** (-0.4 * (EXTINCTION * (airmass - 1.0) + clouds))
    sigma = 0.7 + 0.9 * part + chance.uniform(0.0, 0.3)
    sky = float(np.median(image))
    light = loss * blurred(image - sky, sigma)
    level = sky * (1.0 + 0.2 * part)
    noise = np.sqrt(np.maximum(level + light, 1.0) / GAIN)
    pixels = np.float32(level + light + chance.normal(0.0, 1.0, image.shape) * noise)
    cards = header.copy()
    cards["DATE-OBS"] = time.isoformat(timespec="milliseconds")
    cards["AIRMASS"] = round(airmass, 3)
    cards["GAIN"] = GAIN
    cards["SITELONG"], cards["SITELAT"], cards["SITEELEV"] = LONGITUDE, LATITUDE, HEIGHT
    return fits.PrimaryHDU(pixels, cards)


def main(folder: Path, n: int) -> None:
    """Write the frames n000.fits, n001.fits ... that are not there yet."""
    folder.mkdir(exist_ok=True)
    with fits.open(FIELD) as units:
        image, header = np.float64(units[1].data), units[1].header
    for number in range(n):
        path = folder / f"n{number:03}.fits"
        if not path.exists():
            frame(number, n, image, header).writeto(path.with_name(f".{path.name}"))
            path.with_name(f".{path.name}").rename(path)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
