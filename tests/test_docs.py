"""Generated files equal what the code generates."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SPEC = importlib.util.spec_from_file_location("generate", ROOT / "docs/generate.py")
assert SPEC is not None
assert SPEC.loader is not None
generate = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(generate)


@pytest.mark.parametrize("name", generate.GENERATED)
def test_generated_file_is_up_to_date(name):
    assert (ROOT / name).read_text() == generate.GENERATED[name](), "run `make docs`"
