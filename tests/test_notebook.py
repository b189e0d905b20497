"""The notebook of the docs runs from top to bottom."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def test_notebook(monkeypatch):
    monkeypatch.chdir(ROOT)
    notebook = json.loads((ROOT / "docs/python.ipynb").read_text())
    names: dict[str, object] = {}
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            assert cell["outputs"] == []
            exec("".join(cell["source"]), names)
    assert names["sources"].status["photometry"] == "COMPLETE"
    assert names["sources"].metrics["astrometry"]["rms_arcsec"] == pytest.approx(0.02, abs=0.01)
