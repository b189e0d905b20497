"""Galaxies of public frames: total magnitudes of models beside large apertures.

    python -m benchmarks.truth.realgalaxies [NAME ...] [--pictures FOLDER]

The program runs as it comes.  A galaxy is isolated where all others within the aperture have less
than a twentieth of its light, which is taken off; the aperture is four Kron radii, the sky
below it the mean of what models leave in a ring around it.  "model" and "auto" are magnitudes less
that of the aperture (of profiles with wings a little below 0), "left" the light that the model
leaves in the aperture, over its own.  The error is that of the sky's noise in aperture and ring.
Pictures are image and residual, side by side, of the brightest galaxies.
"""

from __future__ import annotations

import argparse
import bz2
import gzip
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from benchmarks import DATA

FRAMES = {
    "sdss g": "sdss_stripe82/fpC-004192-g4-0300.fit.gz",
    "sdss r": "sdss_stripe82/fpC-004192-r4-0300.fit.gz",
    "sdss i": "sdss_stripe82/fpC-004192-i4-0300.fit.gz",
    "sdss frame": "world/real/sdss_frame.fits.bz2",
    "decam": "decam_tpv/images/decam/CP/V4.8.2a/CP20171112/c4d_171113_060340_ooi_r_ls9.N6.fits",
    "des r": "world/real/des_r.fits.gz",
}
COLUMNS = """X_IMAGE Y_IMAGE FLUX_AUTO FLUX_MODEL FLUXERR_MODEL FLAGS_MODEL CHI2_MODEL FLAGS
SPHEROID_REFF_IMAGE SPHEROID_SERSICN KRON_RADIUS A_IMAGE B_IMAGE PROB_POINTSOURCE""".split()
KRON, LEAST = 1.6, 12.0
"""Radius of the aperture over KRON_RADIUS times A_IMAGE; at least, pixels."""
OTHERS = 0.05
SATURATED = 30.0
"""Reduced chi2 of stars that are saturated without a card that says where (60 to 170 in these)."""
RANGES = ((15, 30), (30, 60), (60, 1e9))
"""Of the S/N in the aperture."""
SHOWN = 12

Floats = NDArray[np.float64]


def image(path: Path) -> Floats:
    """Return the first image of a file."""
    with fits.open(path) as units:
        return next(np.asarray(u.data, np.float64) for u in units if u.header.get("NAXIS") == 2)


def measured(path: Path, folder: Path) -> tuple[np.ndarray, Floats, Floats, Floats]:
    """Return the catalogue, the image less background, less the models, and these."""
    data = path.read_bytes()
    opened = {".gz": gzip.decompress, ".bz2": bz2.decompress}.get(path.suffix, bytes)(data)
    (folder / "f.fits").write_bytes(opened)
    (folder / "p.param").write_text("\n".join(COLUMNS) + "\n")
    command = [
        sys.executable, "-m", "skyextract", "f.fits", "-PARAMETERS_NAME", "p.param",
        "--steps", "characterize,measure", "-CHECKIMAGE_TYPE", "-BACKGROUND,-MODELS,MODELS",
        "-CHECKIMAGE_NAME", "sub.fits,left.fits,models.fits",
    ]  # fmt: skip
    subprocess.run(command, cwd=folder, capture_output=True, check=True)
    table: np.ndarray = fits.getdata(folder / "f.cat", "LDAC_OBJECTS")
    planes = [image(folder / f"{name}.fits") for name in ("sub", "left", "models")]
    return table, planes[0], planes[1], planes[2]


def compared(table: np.ndarray, subtracted: Floats, left: Floats, models: Floats) -> np.ndarray:
    """Return row, S/N, magnitudes of model and AUTO less the aperture's, light left, error.

    A row per isolated galaxy.
    """
    noise = 1.4826 * np.median(np.abs(left - np.median(left)))
    n_y, n_x = left.shape
    galaxy = (table["PROB_POINTSOURCE"] < 0.01) & ((table["FLAGS"] & 28) == 0)
    galaxy &= table["CHI2_MODEL"] < SATURATED
    rows = []
    for k in np.flatnonzero(galaxy & (table["FLUX_AUTO"] > 0) & (table["FLUX_MODEL"] > 0)):
        x, y = float(table["X_IMAGE"][k] - 1), float(table["Y_IMAGE"][k] - 1)
        reach = max(KRON * table["KRON_RADIUS"][k] * table["A_IMAGE"][k], LEAST)
        ring = 1.5 * reach + 4
        if min(x, y, n_x - 1 - x, n_y - 1 - y) < ring:
            continue
        distance = np.hypot(table["X_IMAGE"] - 1 - x, table["Y_IMAGE"] - 1 - y)
        near = (distance < reach + 5) & (np.arange(len(table)) != k)
        others = float(np.nansum(np.maximum(table["FLUX_MODEL"][near], 0)))
        if others > OTHERS * table["FLUX_MODEL"][k]:
            continue
        low_x, low_y = int(x - ring), int(y - ring)
        here = np.s_[low_y : int(y + ring) + 2, low_x : int(x + ring) + 2]
        v, u = np.indices(left[here].shape)
        r = np.hypot(u + low_x - x, v + low_y - y)
        inside, about = r < reach, (r > reach + 2) & (r < ring)
        about &= (models[here] < 0.3 * noise) & (np.abs(left[here]) < 4 * noise)
        if about.sum() < inside.sum() / 4:
            continue
        sky, area = left[here][about].mean(), inside.sum()
        light = subtracted[here][inside].sum() - sky * area - others
        error = noise * np.sqrt(area + area**2 / about.sum())
        if not light > RANGES[0][0] * error:
            continue
        magnitudes = [-2.5 * np.log10(table[n][k] / light) for n in ("FLUX_MODEL", "FLUX_AUTO")]
        rest = (left[here][inside].sum() - sky * area) / light
        rows.append((k, light / error, *magnitudes, rest, 1.0857 * error / light))
    return np.array(rows).reshape(-1, 6)


def show(name: str, rows: np.ndarray) -> None:
    """Print medians and half the distances of the percentiles 16 and 84."""
    for low, high in RANGES:
        own = rows[(rows[:, 1] >= low) & (rows[:, 1] < high)]
        if not len(own):
            continue
        text = []
        for label, values in zip(("model", "auto", "left"), own.T[2:5], strict=True):
            a, b, c = np.percentile(values, (16, 50, 84))
            text.append(f"{label} {b:+.3f}+-{0.5 * (c - a):.3f}")
        bound = f"-{high:.0f}" if high < 1e9 else "- "
        print(f"{name:12} S/N {low:3}{bound:4}{len(own):4} galaxies: {', '.join(text)}, "
              f"error {np.median(own[:, 5]):.3f}")  # fmt: skip


def draw(path: Path, table: np.ndarray, subtracted: Floats, left: Floats) -> None:
    """Write pictures of the brightest galaxies."""
    from matplotlib.figure import Figure

    noise = 1.4826 * np.median(np.abs(left - np.median(left)))
    order = np.argsort(-table["FLUX_AUTO"])
    chosen = order[table["PROB_POINTSOURCE"][order] < 0.01][:SHOWN]
    figure = Figure(figsize=(16, 11))
    axes = figure.subplots(4, 6).ravel()
    for i, k in enumerate(chosen):
        x, y = int(table["X_IMAGE"][k]), int(table["Y_IMAGE"][k])
        r = int(np.clip(1.5 * table["KRON_RADIUS"][k] * table["A_IMAGE"][k], 15, 100))
        here = np.s_[max(0, y - r) : y + r, max(0, x - r) : x + r]
        for axis, plane in zip(axes[2 * i : 2 * i + 2], (subtracted, left), strict=True):
            axis.imshow(np.arcsinh(plane[here] / noise), vmin=-3, vmax=6, origin="lower")
            axis.set_axis_off()
        axes[2 * i].set_title(
            f"n {table['SPHEROID_SERSICN'][k]:.1f}, chi2 {table['CHI2_MODEL'][k]:.1f}, "
            f"flags {table['FLAGS'][k]} {table['FLAGS_MODEL'][k]}", fontsize=8,
        )  # fmt: skip
    figure.savefig(path, dpi=70)


def main() -> None:
    """Print the table of each frame, and of all."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", choices=[[], *FRAMES], metavar="NAME")
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--pictures", type=Path, help="folder for them")
    options = parser.parse_args()
    found = []
    for name in options.names or FRAMES:
        with tempfile.TemporaryDirectory() as place:
            table, subtracted, left, models = measured(options.data / FRAMES[name], Path(place))
        rows = compared(table, subtracted, left, models)
        found.append(rows)
        print(f"{name}: {len(table)} rows, {len(rows)} isolated galaxies", flush=True)
        show(name, rows)
        if options.pictures:
            options.pictures.mkdir(exist_ok=True)
            draw(options.pictures / f"{name}.png", table, subtracted, left)
    show("all", np.concatenate(found))


if __name__ == "__main__":
    main()
