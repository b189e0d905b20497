"""Make docs/_static/field.png, the picture of README: `python examples/make_picture.py`.

The example field with its sources at the size of their Kron apertures, what is left after the
PSF fits, and the magnitudes against the truth that the field was simulated with.
"""

from __future__ import annotations

import csv
import subprocess
import sys
import tempfile
from pathlib import Path

import matplotlib as mpl
import numpy as np
from astropy.io import fits

mpl.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.patches import Ellipse
from PIL import Image

EXAMPLES = Path(__file__).resolve().parent
PICTURE = EXAMPLES.parent / "docs/_static/field.png"
CORNER, SIDE = (60, 60), 260
"""Lower left pixel and side of the part that is shown."""


def run(folder: Path) -> None:
    """Run the program on the example field."""
    command = [
        sys.executable, "-m", "skyextract", EXAMPLES / "field.fits.fz", "-q", "-o", folder,
        "-ASTREFCAT_NAME", EXAMPLES / "field_refcat.fits",
        "-CHECKIMAGE_TYPE", "RESIDUALS,-BACKGROUND",
        "-CHECKIMAGE_NAME", "residuals.fits,subtracted.fits",
    ]  # fmt: skip
    subprocess.run(command, check=True)


def truth() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return positions (FITS pixels), magnitudes, and which are stars."""
    with (EXAMPLES / "field_truth.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    x, y, mag = (np.array([float(row[key]) for row in rows]) for key in ("x", "y", "r_mag"))
    return x, y, mag, np.array([row["is_star"] == "True" for row in rows])


def main() -> None:
    """Draw the picture."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run(folder)
        sources = fits.getdata(folder / "field.cat", "LDAC_OBJECTS")
        planes = [fits.getdata(folder / f"{kind}.fits") for kind in ("subtracted", "residuals")]
    sigma = 1.4826 * np.median(np.abs(planes[0] - np.median(planes[0])))
    figure, axes = plt.subplots(1, 3, figsize=(12, 4.1), constrained_layout=True)
    x0, y0 = CORNER
    titles = ("sources found, at their Kron apertures", "after the PSF fits")
    for axis, plane, title in zip(axes, planes, titles, strict=False):
        part = plane[y0 : y0 + SIDE, x0 : x0 + SIDE]
        axis.imshow(
            np.arcsinh(part / sigma / 2), origin="lower", cmap="gray_r", vmin=-1.0, vmax=4.5,
            extent=(x0 + 0.5, x0 + SIDE + 0.5, y0 + 0.5, y0 + SIDE + 0.5),
        )  # fmt: skip
        axis.set_title(title, fontsize=10)
        axis.tick_params(labelsize=8)
    for s in sources:
        size = 2.0 * max(float(s["KRON_RADIUS"]), 3.0)
        color = "tab:blue" if s["FLAGS_SKY"] & 16 else "tab:orange"
        place = (float(s["XWIN_IMAGE"]), float(s["YWIN_IMAGE"]))
        axes[0].add_patch(
            Ellipse(
                place, size * float(s["A_IMAGE"]), size * float(s["B_IMAGE"]),
                angle=float(s["THETA_IMAGE"]), fill=False, color=color, linewidth=0.9,
            )
        )  # fmt: skip
    for axis in axes[:2]:
        axis.set_xlim(x0 + 0.5, x0 + SIDE + 0.5)
        axis.set_ylim(y0 + 0.5, y0 + SIDE + 0.5)
    x, y, mag, star = truth()
    distance = np.hypot(
        sources["XWIN_IMAGE"][:, None] - x[star], sources["YWIN_IMAGE"][:, None] - y[star]
    )
    nearest = distance.argmin(1)
    clean = (distance.min(1) < 1.0) & (sources["FLAGS"] < 4)
    true = mag[star][nearest][clean]
    error = sources["MAG_PSF"][clean] - true
    axes[2].errorbar(
        true, error, sources["MAGERR_PSF"][clean], fmt=".", markersize=4, linewidth=0.7,
        color="tab:blue",
    )  # fmt: skip
    axes[2].axhline(0.0, color="0.4", linewidth=0.8)
    axes[2].set_ylim(-0.5, 0.5)
    axes[2].set_title("MAG_PSF of the stars - true magnitude", fontsize=10)
    axes[2].set_xlabel("true magnitude", fontsize=9)
    axes[2].tick_params(labelsize=8)
    figure.savefig(PICTURE, dpi=90)
    Image.open(PICTURE).convert("RGB").quantize(48).save(PICTURE, optimize=True)


if __name__ == "__main__":
    main()
