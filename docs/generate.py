"""Write the files that are generated from the code: `python docs/generate.py`."""

import importlib
import json
import re
from pathlib import Path

from dataflow import draw_processes, draw_steps
from skyextract.cli import option_metavars, option_words
from skyextract.columns.request import NOT_SUPPORTED, columns_markdown
from skyextract.settings.grammar import declarations, dump
from skyextract.settings.manual import manual_page
from skyextract.settings.page import config_markdown

ROOT = Path(__file__).resolve().parents[1]
STATES = {
    "yes": "as SExtractor",
    "ignored": "accepted, no meaning here",
    "later": "not supported: an error if it is not the default",
}


def sextractor_markdown() -> str:
    """Return the page for SExtractor users: the text and the tables of what is supported."""
    text = (ROOT / "docs/sextractor.in.md").read_text()
    named = set(re.findall(r"[A-Z]+_[A-Z]+", text.partition("## Different")[2].partition("##")[0]))
    lines = ["## Keywords", "", "| keyword | state |", "| --- | --- |"]
    for item in (item for item in declarations().values() if not item.keyword.new):
        state = STATES[item.keyword.support]
        above = ", but for what the table above says" if item.name in named else ""
        lines.append(f"| {item.name} | {state}{above if state == STATES['yes'] else ''} |")
    lines += ["", "## Parameters that are not supported", ""]
    lines += [
        "All others are; docs/columns.md lists them. Asking for one of these is an error.",
        "",
    ]
    lines += ["| parameters (pattern) | reason |", "| --- | --- |"]
    for pattern, reason in NOT_SUPPORTED:
        escaped = pattern.replace("|", "\\|")
        lines.append(f"| `{escaped}` | {reason} |")
    return text + "\n".join(lines) + "\n"


def remedies_json() -> str:
    """Return what docs/messages.md says of each message, for the reports."""
    page = (ROOT / "docs/messages.md").read_text()
    rows = re.findall(r"^\| `(.+?)` \| (.+) \|$", page, re.MULTILINE)
    told = re.findall(r"^`([^`]+)`: (.+?)\n\n", page, re.MULTILINE | re.DOTALL)
    rows += [(name.replace("...", "…"), " ".join(text.split())) for name, text in told]
    found = {message.replace("\\|", "|"): remedy.replace("\\|", "|") for message, remedy in rows}
    linkless = {
        key: re.sub(r"\[([^\[\]]+)\]\([^()]+\)", r"\1", text) for key, text in found.items()
    }
    return json.dumps(linkless, indent=0, ensure_ascii=False) + "\n"


def checks_markdown() -> str:
    """Return the page of what is checked, with the limits that stand in the code."""

    def value(found: re.Match[str]) -> str:
        module, _, name = found[1].rpartition(".")
        limit = getattr(importlib.import_module(f"skyextract.stages.{module}"), name)
        limit = limit if found[2] is None else limit[int(found[2])]
        text = format(limit, found[3] or "").replace("%", " %").replace(",", " ")
        return text.replace("e-0", "e-")

    text = (ROOT / "docs/checks.in.md").read_text()
    return re.sub(r"\{([\w.]+)(?:\[(\d)\])?(?::([^}]+))?\}", value, text)


GENERATED = {
    "default.conf": lambda: dump(full=False) + "\n",
    "docs/config.md": lambda: config_markdown() + "\n",
    "docs/columns.md": columns_markdown,
    "docs/checks.md": checks_markdown,
    "docs/sextractor.md": sextractor_markdown,
    "src/skyextract/outputs/html/remedies.json": remedies_json,
    "docs/skyextract.1": lambda: manual_page(option_words(), option_metavars()),
    "docs/_static/dataflow.svg": draw_steps,
    "docs/_static/processes.svg": draw_processes,
}

if __name__ == "__main__":
    for name, make in GENERATED.items():
        page, text = ROOT / name, make()
        if not page.is_file() or page.read_text() != text:  # others may be reading it
            page.write_text(text)
