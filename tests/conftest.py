"""Fixtures shared by all tests."""

from __future__ import annotations

import gzip
import logging
import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import settings

from skyextract.datamodel.catalog import Catalog
from skyextract.io.catalogs.formats import Extension

# The tests of the server start their own; no test is to use one that a developer has started.
os.environ["SKYEXTRACT_SERVER"] = "off"

# The suite draws the same cases each time, so that it says the same of the same code.  Whoever
# changes what they test searches further: HYPOTHESIS_PROFILE=search draws new ones, and many.
settings.register_profile("suite", derandomize=True, deadline=None, max_examples=400)
settings.register_profile("search", deadline=None, max_examples=20_000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "suite"))


@pytest.fixture(autouse=True)
def _free_logger() -> None:
    """Free the program's logger, which the command line takes for itself in any fixture or test."""
    log = logging.getLogger("skyextract")
    log.handlers[:], log.propagate = [], True
    log.setLevel(logging.NOTSET)


SHARED_DATA = Path(__file__).resolve().parents[1].parent / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real and simulated test data; tests that need it skip where it is missing."""
    if not SHARED_DATA.is_dir():
        pytest.skip("no ../shared/data beside the project")
    return SHARED_DATA


@pytest.fixture(scope="session")
def source_extractor() -> str:
    """SExtractor's program; tests that need it skip without it."""
    program = shutil.which("source-extractor") or shutil.which("sex")
    if program is None:
        pytest.skip("source-extractor is not installed")
    return program


@pytest.fixture(scope="session")
def real_frame_folder(
    shared_data: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[], Path]:
    """Return a function that makes a folder of SExtractor's files and a real frame, image.fits."""

    def make() -> Path:
        folder = tmp_path_factory.mktemp("sextractor")
        for name in ("default.sex", "default.conv", "default.nnw"):
            shutil.copy(shared_data / "sextractor_configs/source-extractor" / name, folder)
        frame = shared_data / "sdss_stripe82/fpC-004192-r4-0300.fit.gz"
        (folder / "image.fits").write_bytes(gzip.decompress(frame.read_bytes()))
        return folder

    return make


@pytest.fixture(scope="session")
def sextractor_catalogs(
    shared_data: Path, real_frame_folder: Callable[[], Path], source_extractor: str
) -> Callable[..., Path]:
    """Run SExtractor on the real r-band frame; returns a function (type, names, *options)."""
    folder = real_frame_folder()
    psf = shared_data / "sdss_stripe82/reference_outputs/psfex_004192-r4-0300.psf"

    def run(kind: str, names: Sequence[str], *options: str) -> Path:
        catalog = folder / f"{len(list(folder.iterdir()))}.{kind}"
        (folder / "list.param").write_text("\n".join(names) + "\n")
        arguments = [
            *("-PARAMETERS_NAME", "list.param", "-CATALOG_NAME", catalog.name),
            *("-CATALOG_TYPE", kind, "-PSF_NAME", str(psf), "-PIXEL_SCALE", "0"),
            *("-PHOT_APERTURES", "5,10,20", "-PHOT_FLUXFRAC", "0.2,0.5,0.8", "-GAIN", "4.7"),
            *("-MAG_ZEROPOINT", "28", "-DETECT_THRESH", "3", "-VERBOSE_TYPE", "QUIET"),
        ]
        subprocess.run(
            [source_extractor, "image.fits", "-c", "default.sex", *arguments, *options],
            cwd=folder, check=True, capture_output=True, timeout=120,
        )  # fmt: skip
        return catalog

    return run


@pytest.fixture(scope="session")
def read_catalog() -> Callable[[Path], list[Extension]]:
    """Return a function that reads FITS catalogues, LDAC or not, by astropy alone."""

    def read(path: Path) -> list[Extension]:
        found = []
        header = fits.Header()
        with fits.open(path) as hdus:
            for hdu in hdus[1:]:
                if hdu.name == "LDAC_IMHEAD":
                    lines = np.ravel(hdu.data.field(0))
                    header = fits.Header.fromstring("".join(line.ljust(80) for line in lines))
                    continue
                columns = {name: np.array(hdu.data[name]) for name in hdu.columns.names}
                native = {k: v.astype(v.dtype.newbyteorder("=")) for k, v in columns.items()}
                found.append(Extension(Catalog(native), header, hdu.header))
        return found

    return read
