"""The documentation page of the configuration keywords."""

from __future__ import annotations

import dataclasses

from skyextract.settings.grammar import Declaration, declarations, format_value
from skyextract.settings.keywords import Config


def config_markdown() -> str:
    """Return the documentation page of all keywords."""
    lines = [
        "# Configuration keywords",
        "",
        "A name without a mark is a keyword of",
        "SExtractor; * marks those of PSFEx, SCAMP and skyextract. The third column is the default",
        "of the SExtractor base layer (`BASE_DEFAULTS`) where it differs.",
        "",
    ]
    table = declarations()
    for group in dataclasses.fields(Config):
        lines += [f"## {(group.default.__doc__ or '').strip()}", ""]
        lines += ["| keyword | default | SExtractor base | range or choices | meaning |"]
        lines += ["| --- | --- | --- | --- | --- |"]
        for item in table.values():
            if item.group == group.name:
                lines.append(_markdown_row(item))
        lines.append("")
    return "\n".join(lines)


def _markdown_row(item: Declaration) -> str:
    keyword = item.keyword
    other = item.base(True)
    allowed = ", ".join(keyword.choices)
    if keyword.low is not None:
        allowed = f"&ge; {keyword.low:.10g}"
        if keyword.high is not None:
            allowed = f"{keyword.low:.10g} to {keyword.high:.10g}"
    state = {"yes": "", "ignored": " (no meaning here)", "later": " (not supported)"}
    unit = f" [{keyword.unit}]" if keyword.unit else ""
    cells = [
        item.name + ("*" if keyword.new else ""),
        format_value(item.default),
        format_value(other) if other != item.default else "",
        allowed,
        keyword.help + unit + state[keyword.support],
    ]
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
