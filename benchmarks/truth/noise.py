"""Noise of all kinds: false detections, background, and widths of pulls, against the truth.

    python -m benchmarks.truth.noise [KIND ...] [--seed 1] [--frames 2] [-- OPTION ...]

Isolated Gaussian stars of S/N 3 to 500 (`tests.simulate.noises`) with few photons, coarse
steps, rows that share noise, and resampled detectors.  Per kind: scale of the noise of the
filtered image (NOISESCL); false rows per million pixels, and purity; completeness above S/N 8;
error of the background in units of the noise of a pixel; and widths of the pulls of FLUX_APER
(aperture of 3 FWHM, against the pixels without noise), FLUX_PSF and XPSF_IMAGE for stars
below S/N 40 and above 150 (less the median of flux ratio and offset in x: zero point and WCS
take them up).
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

from tests.simulate.noises import EDGE, KINDS, NoisyFrame, make

COLUMNS = """X_IMAGE Y_IMAGE XPSF_IMAGE ERRX2PSF_IMAGE FLUX_APER FLUXERR_APER FLUX_PSF FLUXERR_PSF
BACKGROUND FLAGS""".split()
QUANTITIES = ("APER", "PSF", "X")
MIN_STARS = 10


def measure(frame: NoisyFrame, aperture: float, folder: Path, options: list[str]) -> fits.HDUList:
    """Return the catalogue of the program."""
    (folder / "p.param").write_text("\n".join(COLUMNS) + "\n")
    fits.PrimaryHDU(frame.image, frame.header).writeto(folder / "f.fits", overwrite=True)
    subprocess.run(
        [sys.executable, "-m", "skyextract", "f.fits", "-PARAMETERS_NAME", "p.param",
         "-PHOT_APERTURES", f"{aperture:g}", "-CR_REPAIR", "N", *options],
        cwd=folder, check=True, capture_output=True,
    )  # fmt: skip
    return fits.open(folder / "f.cat")


def compare(frame: NoisyFrame, table: np.ndarray, aperture: float) -> dict[str, np.ndarray]:
    """Return pulls of the stars found, their S/N, and the counts of the frame."""
    ny, nx = frame.image.shape
    x, y = table["X_IMAGE"] - 1.0, table["Y_IMAGE"] - 1.0
    inside = (x > EDGE - 8) & (x < nx - EDGE + 7) & (y > EDGE - 8) & (y < ny - EDGE + 7)
    distance = np.hypot(x[:, None] - frame.x, y[:, None] - frame.y)
    star, near = distance.argmin(axis=1), distance.min(axis=1)
    found = near < 2.5
    expected = frame.flux / (frame.noise * np.sqrt(4 * np.pi) * aperture / 3 / 2.3548)
    true, _, _ = sep.sum_circle(frame.clean, frame.x, frame.y, 0.5 * aperture, subpix=0)
    rows, star = table[found], star[found]
    flux, error = rows["FLUX_PSF"], rows["FLUXERR_PSF"]
    bright = expected > 8.0
    offset = rows["XPSF_IMAGE"] - 1 - frame.x[star]
    offset = offset - np.nanmedian(offset[flux > 30.0 * error]) if rows.size else offset
    return {
        "snr": frame.flux[star] / error,
        "APER": (rows["FLUX_APER"].ravel() - true[star]) / rows["FLUXERR_APER"].ravel(),
        "PSF": flux / frame.flux[star], "PSF error": error / frame.flux[star],
        "X": offset / np.sqrt(rows["ERRX2PSF_IMAGE"]),
        "false": np.array([(~(near < 6.0) & inside).sum()]),
        "rows": np.array([inside.sum()]),
        "complete": np.isin(np.flatnonzero(bright), star).astype(float),
        "background": (rows["BACKGROUND"] - frame.sky) / frame.noise,
    }  # fmt: skip


def width(pull: np.ndarray) -> float:
    """Return half of the range of the middle 68 %."""
    pull = pull[np.isfinite(pull)]
    return (
        0.5 * float(np.subtract(*np.percentile(pull, [84.135, 15.865])))
        if pull.size > 9
        else np.nan
    )


def scale_of(quantities: dict[str, np.ndarray]) -> float:
    """Return the median ratio of fitted and true fluxes of bright stars, or of all."""
    bright = quantities["snr"] > 100.0
    return float(np.nanmedian(quantities["PSF"][bright if bright.any() else slice(None)]))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kinds", nargs="*")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--frames", type=int, default=2)
    arguments = sys.argv[1:]
    own = arguments.index("--") if "--" in arguments else len(arguments)
    options = parser.parse_args(arguments[:own])
    heads = [f"{q} {r}" for r in ("faint", "bright") for q in QUANTITIES]
    print(f"{'kind':18}{'scale':>7}{'false/Mpx':>10}{'purity':>8}{'compl.':>8}{'sky':>8}"
          + "".join(f"{h:>12}" for h in heads))  # fmt: skip
    for kind in options.kinds or KINDS:
        noise, parts, scale = KINDS[kind], [], []
        aperture = 3.0 * noise.fwhm
        for seed in range(options.seed, options.seed + options.frames):
            frame = make(noise, seed)
            with tempfile.TemporaryDirectory() as folder:
                catalog = measure(frame, aperture, Path(folder), arguments[own + 1 :])
                scale.append(catalog[0].header.get("NOISESCL") or np.nan)
                parts.append(compare(frame, catalog[2].data, aperture))
        of = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        cells = []
        for low, high in ((0.0, 40.0), (150.0, np.inf)):
            chosen = (of["snr"] > low) & (of["snr"] < high)
            flux = (of["PSF"][chosen] - scale_of(of)) / of["PSF error"][chosen]
            cells += [width(pull) for pull in (of["APER"][chosen], flux, of["X"][chosen])]
        pixels = options.frames * frame.image.size / 1e6
        print(f"{kind:18}{np.mean(scale):7.2f}{of['false'].sum() / pixels:10.1f}"
              f"{1 - of['false'].sum() / max(of['rows'].sum(), 1):8.3f}{of['complete'].mean():8.3f}"
              f"{np.median(of['background']):+8.3f}" + "".join(f"{c:12.2f}" for c in cells),
              flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
