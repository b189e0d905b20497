"""What to do about a message: the rows of docs/messages.md, which `docs/generate.py` puts here."""

from __future__ import annotations

import json
import re
from functools import cache
from importlib import resources

_MIN_LETTERS = 8  # letters of its own that a template needs to be recognised by


@cache
def _templates() -> list[tuple[re.Pattern[str], int, str]]:
    text = resources.files("skyextract.outputs.html").joinpath("remedies.json").read_text("utf-8")
    found = []
    for message, remedy in json.loads(text).items():
        parts = [re.escape(part) for part in message.split("…")]
        size = sum(map(len, message.split("…")))
        if size >= _MIN_LETTERS:
            found.append((re.compile(".*?".join(parts), re.DOTALL), size, remedy))
    return sorted(found, key=lambda item: -item[1])


def remedy(message: str) -> str:
    """Return what a message means and what to do; empty if the pages do not tell.

    Of the messages that could be meant, the one with most letters of its own is taken.
    """
    plain = message.replace("`", "'")
    return next((text for pattern, _, text in _templates() if pattern.search(plain)), "")
