"""Generated files equal what the code generates."""

from __future__ import annotations

from pathlib import Path

import pytest

import generate

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize("name", generate.GENERATED)
def test_generated_file_is_up_to_date(name):
    assert (ROOT / name).read_text() == generate.GENERATED[name](), "run `make docs`"
