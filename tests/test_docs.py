"""Generated files equal what the code generates; the pages name every message."""

from __future__ import annotations

from pathlib import Path

import pytest

import generate
import messages

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize("name", generate.GENERATED)
def test_generated_file_is_up_to_date(name):
    assert (ROOT / name).read_text() == generate.GENERATED[name](), "run `make docs`"


def test_every_message_of_the_program_is_explained():
    missing, old = messages.differences((ROOT / "docs/messages.md").read_text())
    assert missing == [], "rows wanted in docs/messages.md"
    assert old == [], "rows of docs/messages.md to remove or to change"


def test_every_limit_of_the_checks_is_filled_in():
    assert "{" not in generate.checks_markdown()
