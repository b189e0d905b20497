"""The commands of the tutorials do what the pages show."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
EXIT = {"skyextract field.fits.fz -DETECT_TRESH 3": 2}
"""Commands that are shown to fail."""


def commands(name: str) -> list[tuple[str, list[str]]]:
    """Return the commands of a page, each with the lines that it is shown to print."""
    found: list[tuple[str, list[str]]] = []
    page = (ROOT / "docs" / name).read_text()
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
    for name, words in (("skyextract", "-m skyextract"), ("python", "")):
        (program / name).write_text(f'#!/bin/sh\nexec {sys.executable} {words} "$@"\n')
        (program / name).chmod(0o755)
    return folder


@contextmanager
def running(command: str, shown: list[str], folder: Path, environment: dict[str, str]):
    """Run a watch beside the next commands, until it has printed what is shown."""
    said = folder / "said"
    words = ["exec", *shlex.split(command)]
    with said.open("w") as stream:
        process = subprocess.Popen(
            shlex.join(words), shell=True, cwd=folder, stderr=stream, env=environment,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
        )  # fmt: skip
    try:
        yield
        end = time.monotonic() + 180.0
        while not all(matches(line, said.read_text()) for line in shown):
            assert time.monotonic() < end, said.read_text()
            assert process.poll() is None, said.read_text()
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        assert process.wait(60.0) == 0, said.read_text()
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("page", ["tutorial.md", "night.md"])
def test_commands_of_a_page(examples: Path, page: str) -> None:
    path = f"{examples.parent / 'bin'}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path}
    assert len(commands(page)) > 5
    with ExitStack() as beside:
        for command, shown in commands(page):
            if "--watch" in command:
                beside.enter_context(running(command, shown, examples, environment))
                continue
            done = subprocess.run(
                command, shell=True, cwd=examples, capture_output=True, text=True, check=False,
                env=environment,
            )  # fmt: skip
            printed = done.stdout + done.stderr
            assert done.returncode == EXIT.get(command, 0), f"{command}\n{printed}"
            beside.close()  # a watch ends when it has seen what this command made
            for line in shown:
                assert matches(line, printed), f"{command}\n{line}\n{printed}"
