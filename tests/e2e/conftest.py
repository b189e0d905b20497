"""Run the program as a user does, and read what it wrote."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest


@dataclass
class Outcome:
    """Exit status, streams and folder of one run."""

    status: int
    stdout: str
    stderr: str
    folder: Path

    def summary(self, name: str) -> list[dict[str, Any]]:
        return json.loads((self.folder / name).read_text())


@pytest.fixture
def skyextract(tmp_path: Path) -> Callable[..., Outcome]:
    """Run the command line program in an empty folder."""

    def run(*arguments: object, cwd: Path = tmp_path) -> Outcome:
        done = subprocess.run(
            [sys.executable, "-m", "skyextract", *map(str, arguments)],
            cwd=cwd,
            capture_output=True,
            text=True,
            check=False,
        )
        assert "Traceback" not in done.stderr, done.stderr
        return Outcome(done.returncode, done.stdout, done.stderr, cwd)

    return run
