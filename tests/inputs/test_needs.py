"""A first run compiles the kernels that it calls, and few others."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from skyextract.cli import main
from skyextract.inputs.needs import needed_kernels
from skyextract.kernels.jit import Kernel
from skyextract.settings.resolve import command_line_settings, resolve

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
FIELD = f"{EXAMPLES}/field.fits.fz"
RAW = f"{EXAMPLES}/night/science.fits.fz"
CAMERA = ("CAMERA", f"{EXAMPLES}/night/camera.conf")


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Modules of the kernels that are called."""
    found: set[str] = set()
    call = Kernel.__call__

    def spy(self: Kernel, *arguments: object) -> object:
        found.add(self.module)
        return call(self, *arguments)

    monkeypatch.setattr(Kernel, "__call__", spy)
    return found


@pytest.mark.skipif(bool(os.environ.get("NUMBA_DISABLE_JIT")), reason="nothing is compiled")
@pytest.mark.parametrize(
    ("image", "columns", "pairs", "optional"),
    [
        (FIELD, "", [], {"psf"}),
        (FIELD, "", [("ASTREFCAT_NAME", f"{EXAMPLES}/field_refcat.fits")], {"psf", "astrometry"}),
        (FIELD, "X_IMAGE FLUX_AUTO", [("BASE_DEFAULTS", "SEXTRACTOR")], set()),
        (FIELD, "X_IMAGE FLUX_PSF", [("BASE_DEFAULTS", "SEXTRACTOR")], {"psf"}),
        (FIELD, "VIGNET(9,9)", [("BASE_DEFAULTS", "SEXTRACTOR")], set()),
        (FIELD, "FLUX_AUTO", [("BASE_DEFAULTS", "SEXTRACTOR"), ("BACKPHOTO_TYPE", "LOCAL")], set()),
        (RAW, "", [CAMERA, ("STEPS", "isr")], {"isr"}),
        (RAW, "X_IMAGE FLUX_MODEL", [CAMERA], {"isr", "psf", "galaxies"}),
    ],
    ids=["plain", "astrometry", "sextractor", "psf", "vignettes", "local", "isr", "models"],
)
def test_the_kernels_that_are_called_are_needed(
    image: str, columns: str, pairs: list[tuple[str, str]], optional: set[str],
    called: set[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    if columns:
        Path("own.param").write_text("\n".join(columns.split()))
        pairs = [*pairs, ("PARAMETERS_NAME", "own.param")]
    needed = needed_kernels(resolve(None, command_line_settings(pairs)))
    packages = {module.partition(".")[0] for module in needed}
    always = {"background", "detection", "measurement", "repair", "rice"}
    assert packages - always == optional
    words = [word for name, value in pairs for word in (f"-{name}", value)]
    assert main([image, *words]) == 0
    assert called <= needed
    assert optional <= {module.partition(".")[0] for module in called}
    rare = {"measurement.localsky", "measurement.vignettes"}
    assert needed & rare == called & rare
