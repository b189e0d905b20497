"""Find the messages of the program in its source, for the page docs/messages.md and its test.

A message is the text of a warning, or of an error with a line for the user: a literal or an
f-string that stands in the call or is named `message`.  What an f-string inserts is written as an
ellipsis.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[1] / "src/skyextract"
ELSEWHERE = {
    "AssertionError", "AttributeError", "FrozenInstanceError", "KeyError", "OSError",
    "RuntimeError", "TypeError", "ValueError",
}  # fmt: skip
"""Errors that tell of a wrong call by a programmer, not of something that a user did."""
CALLS = {"warn", "warning", "error"}


def template(node: ast.expr) -> str:
    """Return a literal or an f-string with an ellipsis for what it inserts; else nothing."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(template(part) for part in node.values)
    if isinstance(node, ast.FormattedValue):
        return "…"
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return (template(node.left) or "…") + (template(node.right) or "…")
    return ""


def tidy(text: str) -> str:
    """Return a message as the page has it: one ellipsis for a variable part, no % codes."""
    text = re.sub(r"%[sdr]", "…", text)
    text = re.sub(r"…(?:[:, ]*…)+", "…", text).replace("|", "\\|").replace("`", "'")
    return re.sub(r"^(…: )+", "", text).strip(" :;")


def parts(node: ast.AST) -> list[ast.expr]:
    """Return what may be a message's text: arguments of its call, or a value named `message`."""
    if isinstance(node, ast.Assign):
        (target, *_), value = node.targets, node.value
        pairs = [(target, value)]
        if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
            pairs = list(zip(target.elts, value.elts, strict=True))
        return [value for target, value in pairs if getattr(target, "id", "") == "message"]
    if not isinstance(node, ast.Call):
        return []
    called = node.func
    name = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
    error = name.endswith("Error") and name not in ELSEWHERE
    return node.args if error or name in CALLS else []


def messages() -> Iterator[tuple[str, str]]:
    """Yield (place, text) of every message in the source."""
    for path in sorted(SOURCE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            text = max((tidy(template(part)) for part in parts(node)), key=len, default="")
            if " " in text and len(re.findall(r"[a-zA-Z]{2,}", text)) > 1:
                yield f"{path.relative_to(SOURCE)}:{node.lineno}", text


def differences(page: str) -> tuple[list[str], list[str]]:
    """Return the messages that the page does not explain, with their places, and the reverse."""
    found = list(messages())
    rows = re.findall(r"^\| `(.+?)` \|", page, re.MULTILINE)
    missing = [f"{place}: `{text}`" for place, text in found if text not in rows]
    return missing, [row for row in rows if row not in {text for _, text in found}]


if __name__ == "__main__":
    new, old = differences((Path(__file__).parent / "messages.md").read_text())
    print("\n".join(["not explained:", *new, "", "no longer in the source:", *old]))
