"""Byte code of all modules in one file: the same modules, and never those of another source."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import skyextract

WHERE = """
from skyextract import bytecode
bytecode.use()
from skyextract import errors, server
from skyextract.settings import grammar
for module in errors, server, grammar:
    print(type(module.__loader__).__name__, module.__file__, grammar.dump.__code__.co_filename)
"""


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """Return a folder with a copy of the package without byte code."""
    package = Path(skyextract.__file__).parent
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(package, tmp_path / "a" / "skyextract", ignore=ignored)
    return tmp_path / "a"


def call(folder: Path, *arguments: str, **others: str) -> str:
    """Run Python on the package in a folder."""
    left_out = ("PYTHONDONTWRITEBYTECODE", "PYTHONPYCACHEPREFIX")
    environment = {name: value for name, value in os.environ.items() if name not in left_out}
    environment |= {"PYTHONPATH": str(folder), "SKYEXTRACT_SERVER": "off", **others}
    done = subprocess.run(
        [sys.executable, *arguments], env=environment, capture_output=True, text=True, check=True
    )
    assert not done.stderr
    return done.stdout


def loaders(folder: Path) -> list[str]:
    """Return how three modules are loaded; they must be those of the folder."""
    lines = [line.split() for line in call(folder, "-c", WHERE).splitlines()]
    package = folder / "skyextract"
    places = [
        package / "errors.py",
        package / "server/__init__.py",
        package / "settings/grammar.py",
    ]
    assert [[Path(file), Path(code)] for _, file, code in lines] == [
        [place, places[2]] for place in places
    ]
    return [loader for loader, _, _ in lines]


def test_modules_come_from_the_file_as_long_as_their_source_is_that_of_it(copy: Path) -> None:
    call(copy, "-m", "skyextract", "-d", PYTHONDONTWRITEBYTECODE="1")
    assert loaders(copy) == ["SourceFileLoader"] * 3
    text = call(copy, "-m", "skyextract", "-d")
    assert loaders(copy) == ["_Loader"] * 3
    assert call(copy, "-m", "skyextract", "-d") == text

    errors = copy / "skyextract/errors.py"
    errors.write_text(errors.read_text() + "print('changed')\n")
    assert call(copy, "-m", "skyextract", "-d") == "changed\n" + text
    (copy / "skyextract/settings/grammar.py").unlink()
    with pytest.raises(subprocess.CalledProcessError, match="exit status 1"):
        call(copy, "-m", "skyextract", "-d")


def test_a_package_that_was_moved_and_a_damaged_file(copy: Path) -> None:
    call(copy, "-m", "skyextract", "-d")
    other = copy.rename(copy.with_name("b"))
    assert loaders(other) == ["_Loader"] * 3
    (kept,) = other.glob("skyextract/__pycache__/modules*.all")
    for damage in (b"", kept.read_bytes()[:1000], kept.read_bytes()[:-1000], b"\xff" * 1000):
        kept.write_bytes(damage)
        assert loaders(other) == ["SourceFileLoader"] * 3
    call(other, "-m", "skyextract", "-d")
    assert loaders(other) == ["_Loader"] * 3
