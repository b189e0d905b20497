"""Dockerfile and recipe ask for what pyproject.toml does."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

import skyextract

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
NAMES = {"astropy": "astropy-base", "matplotlib": "matplotlib-base"}  # of conda-forge


def of_conda(requirement: str) -> str:
    name, version = re.fullmatch(r"([a-z0-9]+)(>=.+)", requirement).groups()
    return f"{NAMES.get(name, name)} {version}"


def test_the_recipe_has_the_dependencies_of_the_project():
    yaml = pytest.importorskip("yaml")
    recipe = yaml.safe_load((ROOT / "recipe/recipe.yaml").read_text())
    assert recipe["context"]["version"] == skyextract.__version__
    needs = recipe["requirements"]
    assert set(needs["run"]) == {"python >=3.11", *map(of_conda, PROJECT["dependencies"])}
    extras = PROJECT["optional-dependencies"]
    offered = {of_conda(item) for name in ("report", "parquet", "online", "progress", "watch")
               for item in extras[name]}  # fmt: skip
    assert set(needs["run_constraints"]) == offered
    (entry,) = recipe["build"]["python"]["entry_points"]
    assert entry == f"skyextract = {PROJECT['scripts']['skyextract']}"


def test_the_image_has_extras_that_exist():
    text = (ROOT / "Dockerfile").read_text()
    (extras,) = re.findall(r"\[([a-z,]+)\]", text)
    assert set(extras.split(",")) <= set(PROJECT["optional-dependencies"])
