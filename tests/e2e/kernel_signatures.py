"""Run the program over all columns and steps, and print the signatures of its kernels.

    python tests/e2e/kernel_signatures.py > src/skyextract/kernels/signatures.txt

writes the file anew; `skyextract --warm` compiles what stands there.
"""

from __future__ import annotations

import importlib
import os
import pkgutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
from astropy.io import fits
from numba.core.types import Array, NamedTuple, NamedUniTuple, Type, boolean, unliteral

import skyextract.kernels
from skyextract.cli import main
from skyextract.columns.table import COLUMNS
from skyextract.kernels import native
from skyextract.kernels.galaxies.boxes import copy_boxes
from skyextract.kernels.jit import Kernel
from skyextract.kernels.store import PACKAGE
from skyextract.run import Run
from skyextract.stages.detection.matched import filter_matched, stamps_filter
from skyextract.stages.psf.scaled import mean_over_pixels

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def process_everything() -> None:
    """Run the program in the current folder, so that every kernel is called."""
    names = [n for n in COLUMNS if "ASSOC" not in n and "IMAFLAGS" not in n]
    Path("all.param").write_text("\n".join(names).replace("VIGNET\n", "VIGNET(9,9)\n"))
    field, night = f"{EXAMPLES}/field.fits.fz", EXAMPLES / "night"
    image, header = fits.getdata(field, 1), fits.getheader(field, 1)
    image[:, :40] = 0  # padding
    fits.PrimaryHDU(image.astype(">f4"), header).writeto("f4.fits")
    stars = image[:400, 40:440].astype("f4") - 420
    for n, name in ((8, "crowd.fits"), (40, "dense.fits")):
        crowd = sum(np.roll(stars, (9 * k, 14 * k * k), (0, 1)) for k in range(n)) + 420
        crowd[::10, ::10] = np.nan  # holes
        fits.PrimaryHDU(crowd, header).writeto(name)
    k = np.hypot(np.fft.fftfreq(400)[:, None], np.fft.rfftfreq(400)[None])
    waves = np.fft.rfft2(np.random.default_rng(1).normal(size=(400, 400)))
    clouds = np.fft.irfft2(waves * (k < 1 / 20) / np.maximum(k, 1e-3) ** 1.5, s=(400, 400))
    nebula = stars + 500 + 60 * clouds / clouds.std()
    fits.PrimaryHDU(nebula.astype("f4"), header).writeto("nebula.fits")
    trailed = sum(np.roll(stars, k, 1) for k in range(24)) / 12 + 420  # untracked, as its trail
    trailed += 200 * np.exp(-0.5 * (np.subtract(*np.mgrid[:400, :400]) / 2.0) ** 2)
    fits.PrimaryHDU(trailed.astype("f4"), header).writeto("trailed.fits")
    fits.PrimaryHDU(np.ones(image.shape, "i2")).writeto("weight.fits")
    frames = [("BIAS", "bias"), ("DARK", "dark"), ("FLAT", "flat")]
    master = [word for key, name in frames for word in (f"-ISR_{key}", f"{night}/{name}*.fz")]
    runs = [
        [field, "-PARAMETERS_NAME", "all.param",
         "-ASTREFCAT_NAME", f"{EXAMPLES}/field_refcat.fits"],
        ["f4.fits", "-PARAMETERS_NAME", "all.param", "-BASE_DEFAULTS", "SEXTRACTOR",
         "-WEIGHT_TYPE", "MAP_WEIGHT", "-WEIGHT_IMAGE", "weight.fits", "-BACKPHOTO_TYPE", "LOCAL"],
        [f"{field},f4.fits", "-FILTER", "N", "-GAIN_KEY", "NONE", "-CR_REPAIR", "N",
         "-MASK_TYPE", "BLANK", "-CATALOG_NAME", "d.cat"],
        ["crowd.fits"],
        ["nebula.fits"],
        ["trailed.fits"],
        ["dense.fits", "-CROWD_NITER", "0"],
        ["dense.fits", "-GAIN", "0.1"],
        [f"{night}/science.fits.fz", "-CAMERA", f"{night}/camera.conf", *master,
         "-ASTREFCAT_NAME", f"{night}/refcat.fits"],
    ]  # fmt: skip
    for arguments in runs:
        assert main(arguments) == 0, arguments
    plane = np.ones((9, 9), np.float32)  # a field of so few sources that their boxes are copied
    copy_boxes(plane, np.zeros((1, 4), np.int64), plane)
    ragged = np.random.default_rng(1).random((1, 1, 41, 41))
    edges = np.array([0, 100])
    wide = stamps_filter(ragged / ragged.sum(), edges, edges)
    filter_matched(np.ones((100, 100), np.float32), wide, Run(1), sigma=1.0)
    mean_over_pixels(np.ones(9), np.ones((3, 1, 1, 1)), np.ones((1, 1, 5)), np.ones((1, 5, 1)))


def kernel_modules() -> Iterator[ModuleType]:
    """Import all modules of kernels."""
    for info in pkgutil.walk_packages(skyextract.kernels.__path__, f"{PACKAGE}."):
        yield importlib.import_module(info.name)


def signatures() -> dict[str, list[tuple[Type, ...]]]:
    """Return the argument types that each kernel was called with so far."""
    found: dict[str, list[tuple[Type, ...]]] = {}
    for module in kernel_modules():
        for name, item in vars(module).items():
            if isinstance(item, Kernel) and item.py_func.__module__ == module.__name__:
                full = f"{module.__name__}.{name}".removeprefix(f"{PACKAGE}.")
                called = item.dispatcher.signatures
                found[full] = list(dict.fromkeys(tuple(map(unliteral, s)) for s in called))
    return found


def is_entry(name: str) -> bool:
    """Tell whether a kernel can be called from Python."""
    module, _, function = name.rpartition(".")
    kernel = getattr(importlib.import_module(f"{PACKAGE}.{module}"), function)
    return not kernel.for_kernels


def text(item: Type) -> str:
    """Write a type as numba reads it; of all versions, `boolean` alone is a type to all."""
    if item is boolean:
        return "boolean"
    if isinstance(item, Array) and item.layout == "C" and item.mutable and item.aligned:
        return f"{text(item.dtype)}[{':, ' * (item.ndim - 1)}::1]"
    if isinstance(item, Array):
        return f"Array({item.dtype}, {item.ndim}, {item.layout!r}, readonly={not item.mutable})"
    if isinstance(item, NamedTuple | NamedUniTuple):
        return f"{item.instance_class.__name__}({', '.join(map(text, item.types))})"
    return str(item)


def declarations() -> list[str]:
    """Return the lines of `signatures.txt` for the kernels that were called: one for each."""
    return [
        f"{name}({', '.join(map(text, types))},)"
        for name, found in sorted(signatures().items())
        for types in found
        if is_entry(name)
    ]


if __name__ == "__main__":
    # numba types the arguments exactly; code without it takes an int32 for an int64.
    native.load = lambda *_: []
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        process_everything()
        os.chdir("/")
    sys.stdout.write("\n".join(declarations()) + "\n")
