"""Shells complete options, keywords and values; asked of the shells themselves."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from skyextract.cli import option_words
from skyextract.columns.table import COLUMNS
from skyextract.settings.completion import FILTERS, SHELLS, completion_script, keyword_words
from skyextract.settings.grammar import declarations
from skyextract.settings.keywords import CATALOG_TYPES
from skyextract.stages.detection.filters import builtin_filter

BASH = """
compopt() { :; }
source ./script
COMP_WORDS=(skyextract "$@"); COMP_CWORD=$#
_skyextract
printf '%s\\n' "${COMPREPLY[@]}"
"""
ZSH = """
compdef() { : }
compadd() { while [[ $1 != -- ]]; do shift; done; shift; print -l -- $start${^@} }
compset() { [[ $PREFIX == *,* ]] && start=${PREFIX%,*}, }
_files() { print -l -- *(N) }
_describe() { print -l -- ${(P)3%%:*} }
source ./script
start=""; words=(skyextract "$@"); CURRENT=$#words; PREFIX=${words[-1]}
_skyextract
"""
FISH = r"""
source ./script
complete -C "skyextract $argv" | string split -f 1 \t
"""


@pytest.fixture(params=SHELLS)
def complete(request, tmp_path):
    """Return what a shell offers for the last of some words."""
    shell = request.param
    if shutil.which(shell) is None:
        pytest.skip(f"no {shell}")
    words = [*option_words(), *keyword_words(COLUMNS)]
    (tmp_path / "script").write_text(completion_script(shell, words))
    (tmp_path / "image.fits").touch()
    code = {"bash": BASH, "zsh": ZSH, "fish": FISH}[shell]

    def run(*arguments: str) -> list[str]:
        command = {"bash": ["bash", "-c", code, "bash"], "zsh": ["zsh", "-fc", code, "zsh"],
                   "fish": ["fish", "--no-config", "-c", code, "--"]}[shell]  # fmt: skip
        done = subprocess.run(
            [*command, *arguments], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert not done.stderr, done.stderr
        offered = done.stdout.split()
        return [word for word in offered if word.upper().startswith(arguments[-1].upper())]

    return run


def test_values_of_keywords(complete):
    fits = [name for name in CATALOG_TYPES if name.startswith("FITS")]
    assert complete("-CATALOG_TYPE", "FITS") == fits
    assert complete("a.fits", "-catalog_type", "FITS") in (fits, [])  # fish heeds the case
    assert {"Y", "N"} <= set(complete("-CR_REPAIR", ""))
    assert complete("-CHECKIMAGE_TYPE", "OBJECTS,SEG") == ["OBJECTS,SEGMENTATION"]
    assert complete("-PHOT_FLUX_KEY", "FLUX_PS") == ["FLUX_PSF"]
    assert complete("-FILTER_NAME", "gauss_2.0") == ["gauss_2.0_5x5"]
    assert complete("-ASTREF_CATALOG", "GA") == ["GAIA-DR3"]


def test_options_and_keywords(complete):
    assert sorted(complete("-CATALOG_")) == ["-CATALOG_NAME", "-CATALOG_TYPE"]
    assert complete("--wat") == ["--watch"]
    assert complete("--steps", "char") == ["characterize"]
    assert "image.fits" in complete("-ASTREFCAT_NAME", "ima")


def test_every_keyword_that_counts_is_offered():
    names = {name for word in keyword_words(()) for name in word.names}
    assert names == {f"-{n}" for n, d in declarations().items() if d.keyword.support == "yes"}


def test_the_filters_are_those_that_are_built_in():
    assert all(builtin_filter(name) is not None for name in FILTERS)


def test_the_program_prints_the_script(capsys):
    from skyextract.cli import main

    assert main(["--completion", "bash"]) == 0
    assert "complete -F _skyextract skyextract" in capsys.readouterr().out


def test_the_manual_page_is_one(tmp_path):
    page = Path(__file__).resolve().parents[2] / "docs/skyextract.1"
    if shutil.which("mandoc") is None:
        pytest.skip("no mandoc")
    command = ["mandoc", "-T", "lint", "-W", "warning", str(page)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    faults = [line for line in done.stdout.splitlines() if "missing date" not in line]
    assert not faults
