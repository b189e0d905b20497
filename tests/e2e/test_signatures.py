"""Every kernel has exactly one signature, whatever the input and the settings."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

CODE = """
import importlib, pkgutil, sys
from pathlib import Path
import numpy as np
from astropy.io import fits
from numba.core.dispatcher import Dispatcher
from numba.core.types import unliteral
import skyextract.kernels
from skyextract.cli import main
from skyextract.columns.table import COLUMNS

names = [n for n in COLUMNS if "ASSOC" not in n and "IMAFLAGS" not in n]
Path("all.param").write_text("\\n".join(names).replace("VIGNET\\n", "VIGNET(9,9)\\n"))
field = sys.argv[1]
image = fits.getdata(field, 1)
header = fits.getheader(field, 1)
fits.PrimaryHDU(image.astype(">f4"), header).writeto("f4.fits")
fits.PrimaryHDU(np.ones(image.shape, "f4")).writeto("weight.fits")
runs = [
    [field, "-PARAMETERS_NAME", "all.param", "-ASTREFCAT_NAME", sys.argv[2]],
    ["f4.fits", "-PARAMETERS_NAME", "all.param", "-BASE_DEFAULTS", "SEXTRACTOR",
     "-WEIGHT_TYPE", "MAP_WEIGHT", "-WEIGHT_IMAGE", "weight.fits", "-BACKPHOTO_TYPE", "LOCAL"],
    [f"{field},f4.fits", "-FILTER", "N", "-GAIN_KEY", "NONE", "-CR_REPAIR", "N",
     "-MASK_TYPE", "BLANK", "-CATALOG_NAME", "d.cat"],
]
for arguments in runs:
    assert main(arguments) == 0, arguments
seen = 0
wrong = {}
for info in pkgutil.walk_packages(skyextract.kernels.__path__, "skyextract.kernels."):
    module = importlib.import_module(info.name)
    for name, item in vars(module).items():
        if isinstance(item, Dispatcher) and item.py_func.__module__ == module.__name__:
            seen += len(item.signatures) > 0
            # a helper that is given a constant is compiled for that constant first
            signatures = {tuple(map(unliteral, s)) for s in item.signatures}
            if len(signatures) > 1:
                wrong[f"{info.name}.{name}"] = [str(s) for s in signatures]
for name, signatures in wrong.items():
    print(name, *signatures, sep="\\n   ", file=sys.stderr)
print(seen)
sys.exit(len(wrong) > 0)
"""


@pytest.mark.skipif(bool(os.environ.get("NUMBA_DISABLE_JIT")), reason="nothing is compiled")
def test_one_signature_per_kernel(tmp_path):
    field, refcat = ROOT / "examples/field.fits.fz", ROOT / "examples/field_refcat.fits"
    done = subprocess.run(
        [sys.executable, "-c", CODE, str(field), str(refcat)],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 30
