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

from skyextract.cli import main


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
def skyextract(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Callable[..., Outcome]:
    """Run the command line in an empty folder, in this process: that saves its start."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object) -> Outcome:
        capfd.readouterr()
        status = main([str(argument) for argument in arguments])
        out, err = capfd.readouterr()
        assert "RuntimeWarning" not in err, err
        return Outcome(status, out, err, tmp_path)

    return run


@pytest.fixture
def program(tmp_path: Path) -> Callable[..., Outcome]:
    """Run the command line in an empty folder, as a process of its own."""

    def run(*arguments: object, timeout: float | None = None) -> Outcome:
        done = subprocess.run(
            [sys.executable, "-m", "skyextract", *map(str, arguments)],
            cwd=tmp_path, capture_output=True, text=True, check=False, timeout=timeout,
        )  # fmt: skip
        assert "Traceback" not in done.stderr, done.stderr
        assert "RuntimeWarning" not in done.stderr, done.stderr
        return Outcome(done.returncode, done.stdout, done.stderr, tmp_path)

    return run
