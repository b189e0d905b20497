"""Every kernel has exactly one signature, whatever the input and the settings."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from skyextract.kernels.sources import SIGNATURES

SCRIPT = Path(__file__).with_name("kernel_signatures.py")


@pytest.mark.skipif(bool(os.environ.get("NUMBA_DISABLE_JIT")), reason="nothing is compiled")
def test_one_signature_per_kernel_and_it_is_declared(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(SCRIPT)], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) > 30
    assert lines == SIGNATURES.read_text().splitlines()
