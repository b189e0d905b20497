"""Pulls (measured - true) / error of the error columns, on isolated simulated stars.

    python -m benchmarks.truth.pulls [--seed 1] [--frames 3]

Gaussian stars (FWHM 4 pixels, S/N 15 to 300) on a jittered grid with known sky, gain and
noise.  True aperture fluxes are sums over the noise-free image.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import sep
from astropy.io import fits

SIZE, STEP, FWHM, APERTURE = 1536, 48, 4.0, 10.0
SKY, GAIN = 300.0, 2.0
COLUMNS = """X_IMAGE Y_IMAGE ERRX2_IMAGE ERRY2_IMAGE XWIN_IMAGE YWIN_IMAGE ERRX2WIN_IMAGE
ERRY2WIN_IMAGE XPSF_IMAGE YPSF_IMAGE ERRX2PSF_IMAGE ERRY2PSF_IMAGE FLUX_APER FLUXERR_APER
FLUX_AUTO FLUXERR_AUTO FLUX_ISO FLUXERR_ISO FLUX_ISOCOR FLUXERR_ISOCOR FLUX_PETRO
FLUXERR_PETRO FLUX_PSF FLUXERR_PSF FLUX_APERCOR FLUXERR_APERCOR FLAGS""".split()


def simulate(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """Return noisy and noise-free image (sky subtracted) and the true stars."""
    grid = np.arange(STEP // 2, SIZE - STEP // 2 + 1, STEP, dtype=float)
    x, y = (g.ravel() + rng.uniform(-4, 4, g.size) for g in np.meshgrid(grid, grid))
    flux = 10 ** rng.uniform(3.1, 4.9, x.size)
    sigma = FWHM / 2.35482
    image = np.zeros((SIZE, SIZE))
    reach = np.arange(-20, 21)
    for k in range(x.size):
        # The light of a pixel is the difference of cumulative distributions at its edges.
        i, j = round(y[k]) + reach, round(x[k]) + reach
        stamp = flux[k] * _pixel(i - y[k], sigma)[:, None] * _pixel(j - x[k], sigma)
        ok_i, ok_j = (i >= 0) & (i < SIZE), (j >= 0) & (j < SIZE)
        image[np.ix_(i[ok_i], j[ok_j])] += stamp[np.ix_(ok_i, ok_j)]
    electrons = rng.poisson((image + SKY) * GAIN) + rng.normal(0, 5.0, image.shape)
    aperture, _, _ = sep.sum_circle(image, x, y, APERTURE / 2, subpix=0)
    return electrons / GAIN, image, {"x": x, "y": y, "flux": flux, "aperture": aperture}


def _pixel(offset: np.ndarray, sigma: float) -> np.ndarray:
    from scipy.special import erf

    edge = np.sqrt(2) * sigma
    return 0.5 * (erf((offset + 0.5) / edge) - erf((offset - 0.5) / edge))


def measure(image: np.ndarray, folder: Path) -> np.ndarray:
    """Return the catalogue of the program."""
    (folder / "p.param").write_text("\n".join(COLUMNS) + "\n")
    header = fits.Header({"GAIN": GAIN, "SATURATE": 1e6})
    fits.PrimaryHDU(image.astype(np.float32), header).writeto(folder / "f.fits", overwrite=True)
    program = Path(sys.executable).with_name("skyextract")
    subprocess.run(
        [program, "f.fits", "-PARAMETERS_NAME", "p.param", "-PHOT_APERTURES", str(APERTURE),
         "-CR_REPAIR", "N", "-BACK_SIZE", "128"],
        cwd=folder, check=True,
    )  # fmt: skip
    return fits.getdata(folder / "f.cat", "LDAC_OBJECTS")


def main() -> None:
    """Print mean and width of the pulls, per column, in two ranges of S/N."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--frames", type=int, default=3)
    options = parser.parse_args()
    rng = np.random.default_rng(options.seed)
    pulls: dict[str, list[np.ndarray]] = {}
    snr: list[np.ndarray] = []
    with tempfile.TemporaryDirectory() as name:
        for _ in range(options.frames):
            image, _, truth = simulate(rng)
            table = measure(image, Path(name))
            table = table[table["FLAGS"] == 0]
            distance = np.hypot(
                table["X_IMAGE"][:, None] - 1 - truth["x"],
                table["Y_IMAGE"][:, None] - 1 - truth["y"],
            )
            star, ok = distance.argmin(1), distance.min(1) < 1.5
            table, star = table[ok], star[ok]
            snr.append(truth["flux"][star] / table["FLUXERR_APER"].ravel())
            for kind in ("", "WIN", "PSF"):
                for axis in "XY":
                    error = np.sqrt(table[f"ERR{axis}2{kind}_IMAGE"])
                    value = table[f"{axis}{kind}_IMAGE"] - 1 - truth[axis.lower()][star]
                    pulls.setdefault(f"{axis}{kind}_IMAGE", []).append(value / error)
            for kind in ("APER", "AUTO", "ISO", "ISOCOR", "PETRO", "PSF", "APERCOR"):
                true = truth["aperture" if kind == "APER" else "flux"][star]
                value, error = (table[f"FLUX{e}_{kind}"].ravel() for e in ("", "ERR"))
                pulls.setdefault(f"FLUX_{kind}", []).append((value - true) / error)
    s = np.concatenate(snr)
    ranges = {"S/N 20-60": (s > 20) & (s < 60), "S/N 60-300": (s > 60) & (s < 300)}
    print(f"{'column':<14}" + "".join(f"{label:>22}" for label in ranges))
    for column, parts in pulls.items():
        values = np.concatenate(parts)
        cells = []
        for chosen in ranges.values():
            v = values[chosen]
            width = 0.5 * np.subtract(*np.nanpercentile(v, [84.135, 15.865]))
            cells.append(f"{np.nanmedian(v):+10.2f} {width:6.2f} {v.size:4d}")
        print(f"{column:<14}" + "".join(f"{cell:>22}" for cell in cells))


if __name__ == "__main__":
    main()
