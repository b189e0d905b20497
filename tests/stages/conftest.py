"""Simulated star fields for the tests of the stages."""

from __future__ import annotations

from types import ModuleType

import pytest


@pytest.fixture(scope="session")
def starfield() -> ModuleType:
    """Return the simulator of star fields."""
    pytest.importorskip("galsim")
    from tests.simulate import starfield

    return starfield
