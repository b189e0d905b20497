"""Measurements of speed and truth, beside other programs; `python -m benchmarks --help`."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT.parent / "shared" / "data"
"""Real and simulated frames; benchmarks that need them take another folder by --data."""
