"""Simulated star fields for the tests of the stages."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="session")
def starfield() -> ModuleType:
    """The simulator that the PSF benchmark uses, too."""
    pytest.importorskip("galsim")
    path = Path(__file__).resolve().parents[2] / "benchmarks" / "starfield.py"
    spec = importlib.util.spec_from_file_location("starfield", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["starfield"] = module
    spec.loader.exec_module(module)
    return module
