"""The commands of the tutorial do what the page shows."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
EXIT = {"skyextract field.fits.fz -DETECT_TRESH 3": 2}
"""Commands that are shown to fail."""


def commands() -> list[tuple[str, list[str]]]:
    """Return the commands of the page, each with the lines that it is shown to print."""
    found: list[tuple[str, list[str]]] = []
    page = (ROOT / "docs/tutorial.md").read_text()
    for block in re.findall(r"^```console\n(.*?)^```", page, re.MULTILINE | re.DOTALL):
        for line in block.splitlines():
            if line.startswith("$ "):
                found.append((line[2:], []))
            else:
                found[-1][1].append(line)
    return found


def matches(shown: str, printed: str) -> bool:
    """Tell whether a line was printed; an ellipsis stands for anything."""
    pattern = ".*".join(re.escape(part.strip()) for part in shown.split("..."))
    return re.search(pattern, printed) is not None


@pytest.fixture
def examples(tmp_path: Path) -> Path:
    """Copy the examples, so that products go elsewhere."""
    folder = tmp_path / "examples"
    shutil.copytree(ROOT / "examples", folder)
    program = tmp_path / "bin"
    program.mkdir()
    (program / "skyextract").write_text(f'#!/bin/sh\nexec {sys.executable} -m skyextract "$@"\n')
    (program / "skyextract").chmod(0o755)
    (program / "python").symlink_to(sys.executable)
    return folder


def test_commands_of_the_tutorial(examples: Path) -> None:
    path = f"{examples.parent / 'bin'}{os.pathsep}{os.environ['PATH']}"
    assert len(commands()) > 5
    for command, shown in commands():
        done = subprocess.run(
            command, shell=True, cwd=examples, capture_output=True, text=True, check=False,
            env={**os.environ, "PATH": path},
        )  # fmt: skip
        printed = done.stdout + done.stderr
        assert done.returncode == EXIT.get(command, 0), f"{command}\n{printed}"
        for line in shown:
            assert matches(line, printed), f"{command}\n{line}\n{printed}"
