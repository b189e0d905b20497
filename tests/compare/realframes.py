"""Real frames by this program and by SExtractor: sources, and what is found where there is none."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.io.fits.verify import VerifyError

PARAMETERS = """NUMBER X_IMAGE Y_IMAGE FLUX_AUTO FLUXERR_AUTO FWHM_IMAGE A_IMAGE ISOAREA_IMAGE
FLAGS""".split()
MIN_AREA = 4
"""Pixels of a source of SExtractor: fewer are hot pixels, and cosmic rays."""


def plane(path: Path) -> tuple[np.ndarray, fits.Header]:
    """Return the first plane of pixels of a file, as float32, and its header."""
    with fits.open(path) as file:
        unit = next(u for u in file if u.data is not None and u.data.ndim == 2)
        header = fits.Header()
        for card in unit.header.cards:
            try:
                card.verify("exception")
            except VerifyError:
                continue
            header.append(card, end=True)
        for card in ("BSCALE", "BZERO", "BLANK", "BAYERPAT", "COLORTYP", "XBAYROFF", "YBAYROFF"):
            header.remove(card, ignore_missing=True)
        return np.array(unit.data, dtype=np.float32), header


def extract(command: list[str], image: np.ndarray, header: fits.Header, folder: Path) -> np.ndarray:
    """Return the rows that a program finds in an image."""
    fits.writeto(folder / "f.fits", image, header, output_verify="ignore", overwrite=True)
    # Ours look for sources beneath others where the PSF is fitted, as by default.
    names = PARAMETERS if "source-extractor" in command else [*PARAMETERS, "FLUX_PSF"]
    (folder / "p.param").write_text("\n".join(names) + "\n")
    subprocess.run(
        [*command, "-PARAMETERS_NAME", "p.param", "-CATALOG_NAME", "f.cat", "-CATALOG_TYPE",
         "FITS_LDAC"],
        cwd=folder, check=True, capture_output=True,
    )  # fmt: skip
    return np.array(fits.getdata(folder / "f.cat", 2, memmap=False))


def near(rows: np.ndarray, others: np.ndarray, factor: float) -> np.ndarray:
    """Tell which rows have another one within a factor of the greater FWHM of both, or 3 pixels."""
    if not others.size:
        return np.zeros(rows.size, bool)
    found = np.zeros(rows.size, bool)
    for chunk in np.array_split(np.arange(rows.size), max(1, rows.size // 500)):
        part = rows[chunk]
        distance = np.hypot(
            part["X_IMAGE"][:, None] - others["X_IMAGE"],
            part["Y_IMAGE"][:, None] - others["Y_IMAGE"],
        )
        reach = np.maximum(part["FWHM_IMAGE"][:, None], others["FWHM_IMAGE"]).clip(3.0 / factor)
        found[chunk] = (distance < factor * reach).any(axis=1)
    return found


def pairs(path: Path, folder: Path) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return what both programs, ours first, find in a frame, and in it with its sign turned.

    All that is found there is noise, the edge of something or a dark hole.
    """
    image, header = plane(path)
    turned = np.float32(2.0 * np.median(image[np.isfinite(image)])) - image
    defaults = subprocess.run(
        ["source-extractor", "-dd"], capture_output=True, text=True, check=True
    ).stdout
    (folder / "default.sex").write_text(defaults)
    (folder / "default.conv").write_text("CONV NORM\n1 2 1\n2 4 2\n1 2 1\n")
    programs = (
        [sys.executable, "-m", "skyextract", "f.fits", "-SUMMARY_NAME", ""],
        ["source-extractor", "f.fits", "-c", "default.sex", "-FILTER_NAME", "default.conv",
         "-PIXEL_SCALE", "0"],
    )  # fmt: skip
    found = [
        tuple(extract(program, pixels, header, folder) for pixels in (image, turned))
        for program in programs
    ]
    theirs = tuple(rows[rows["ISOAREA_IMAGE"] >= MIN_AREA] for rows in found[1])
    return [found[0], theirs]
