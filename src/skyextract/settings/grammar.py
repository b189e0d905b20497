"""SExtractor's configuration format: ``KEYWORD value[,value...]  # comment``.

The same grammar serves the file and the command line.  Values are separated by commas or
blanks; quotes keep both; ``$NAME`` and ``${NAME}`` stand for environment variables.
"""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any

from skyextract.errors import ConfigError
from skyextract.record import record
from skyextract.settings.keywords import SAME, Config, Keyword

_TOKEN = re.compile(r'"([^"]*)"|\'([^\']*)\'|(\[[^\]]*:[^\]]*\](?=[\s,]|$)|[^\s,]+)')
"""Quoted, or a section [x1:x2,y1:y2], or what stands between blanks and commas."""
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_NOT_PLAIN = re.compile(r"""[\s,#$'"]""")
_MAX_NAME = 255
_MAX_NUMBER = 1e30
"""Of numbers; their squares are still numbers."""
_VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))")


@record
class Setting:
    """One keyword as the user wrote it."""

    name: str
    values: tuple[str, ...]
    origin: str
    """`default.conf:12` or `command line`."""


@record
class Declaration:
    """Where a keyword is declared: its group, field, type and `Keyword`."""

    group: str
    name: str
    type: str
    default: Any
    keyword: Keyword

    def base(self, sextractor: bool) -> Any:
        """Return the default in the base layer of SExtractor, or in ours."""
        if sextractor and self.keyword.sextractor is not SAME:
            return self.keyword.sextractor
        return self.default

    @property
    def takes_one(self) -> bool:
        """Whether the keyword takes one value, no list."""
        return self.keyword.size is None

    @property
    def is_text(self) -> bool:
        """Whether a value is any text, a file's name say."""
        return self.type == "str" and not self.keyword.choices


@cache
def declarations() -> dict[str, Declaration]:
    """Return all keywords by name, in the order of their declaration."""
    found = {}
    for group in dataclasses.fields(Config):
        for item in dataclasses.fields(group.default):  # type: ignore[arg-type]
            name = item.name.upper()
            found[name] = Declaration(
                group.name, name, str(item.type), item.default, item.metadata["keyword"]
            )
    return found


def split_values(text: str, origin: str) -> tuple[str, ...]:
    """Split the value part of a setting and fill in environment variables."""

    def variable(match: re.Match[str]) -> str:
        name = match[1] or match[2]
        if name not in os.environ:
            raise ConfigError(f"{origin}: environment variable {name} is not set")
        return os.environ[name]

    values = []
    for double, single, plain in _TOKEN.findall(text):
        values.append(single or _VARIABLE.sub(variable, double or plain))
    return tuple(values)


def parse(text: str, filename: str) -> list[Setting]:
    """Parse the text of a configuration file.

    Raises
    ------
    ConfigError
        If a line does not begin with a keyword, or a variable is not set.
    """
    settings = []
    for number, raw in enumerate(text.splitlines(), start=1):
        line = _without_comment(raw).strip()
        if not line:
            continue
        origin = f"{filename}:{number}"
        name, _, rest = line.replace("=", " ", 1).replace("\t", " ").partition(" ")
        if not _NAME.fullmatch(name):
            raise ConfigError(f"{origin}: expected KEYWORD value, got {line[:40]!r}")
        settings.append(Setting(name.upper(), split_values(rest, origin), origin))
    return settings


def _without_comment(line: str) -> str:
    """Cut a line at the first # that stands outside quotes."""
    quote = ""
    for position, char in enumerate(line):
        if quote:
            quote = "" if char == quote else quote
        elif char in "\"'":
            quote = char
        elif char == "#":
            return line[:position]
    return line


def convert(setting: Setting, declaration: Declaration) -> Any:
    """Convert the words of a setting to the keyword's type and check them.

    Raises
    ------
    ConfigError
        If the number of values, a value's type, range or choice is wrong.
    """
    keyword = declaration.keyword
    label = f"{setting.origin}: {setting.name} = {_shortened(setting.values)}"
    kind = declaration.type
    if keyword.size is None:
        if len(setting.values) > 1 and declaration.is_text:
            raise ConfigError(f"{label}: one value expected; quote a name with blanks or commas")
        if len(setting.values) > 1:
            raise ConfigError(f"{label}: one value expected")
        if not setting.values:
            if declaration.is_text:
                return ""
            raise ConfigError(f"{label}: value missing")
        # Of the names that SExtractor does not have, NONE is no name.
        if keyword.new and setting.name.endswith("_NAME") and setting.values[0].upper() == "NONE":
            return ""
        return _convert_one(setting.values[0], kind, keyword, label)
    least, most = keyword.size
    values = setting.values
    # The word NONE empties a list of header keywords or files, and an empty list of choices is
    # the first of them, as in SExtractor.
    none = tuple(v.upper() for v in values) == ("NONE",)
    if least == 0 and none and not keyword.choices and "str" in kind:
        return ()
    if least == 0 and keyword.choices and not values:
        return keyword.choices[:1]
    if not least <= len(values) <= most:
        wanted = str(least) if least == most else f"{least} to {most}"
        wanted = f"at least {least}" if len(values) < least and most > 1000 else wanted
        raise ConfigError(f"{label}: {len(values)} values, {wanted} expected")
    element = kind.removeprefix("tuple[").removesuffix(", ...]")
    converted = tuple(_convert_one(value, element, keyword, label) for value in values)
    if keyword.ascending and list(converted) != sorted(converted):
        raise ConfigError(f"{label}: the smaller value comes first")
    return converted


def _convert_one(word: str, kind: str, keyword: Keyword, label: str) -> Any:
    optional = kind.endswith("| None")
    kind = kind.removesuffix("| None").strip()
    if optional and word.upper() == "AUTO":
        return None
    if keyword.pattern and not re.fullmatch(keyword.pattern, word, re.IGNORECASE):
        raise ConfigError(f"{label}: not a value of it ({keyword.help})")
    if keyword.choices:
        if word.upper() not in keyword.choices:
            raise ConfigError(
                f"{label}: must be one of {', '.join(keyword.choices)}"
                f"{suggest(word, keyword.choices)}"
            )
        return word.upper()
    if kind == "bool":
        if word.upper() not in ("Y", "N", "YES", "NO"):
            raise ConfigError(f"{label}: must be Y or N")
        return word.upper().startswith("Y")
    if kind == "str":
        if "\0" in word or any(len(os.fsencode(part)) > _MAX_NAME for part in word.split("/")):
            raise ConfigError(f"{label}: no file can have such a name")
        # a word of the file, which no shell has seen
        return os.path.expanduser(word) if word.startswith("~") else word  # noqa: PTH111
    try:
        value = float(word)
    except ValueError:
        raise ConfigError(f"{label}: {word!r} is not a number") from None
    if not abs(value) <= _MAX_NUMBER:
        raise ConfigError(f"{label}: must be finite, and at most {_MAX_NUMBER:g}")
    if kind == "int":
        if value != int(value):
            raise ConfigError(f"{label}: must be an integer")
        value = int(value)
    low = -float("inf") if keyword.low is None else keyword.low
    high = float("inf") if keyword.high is None else keyword.high
    if not low <= value <= high:
        unit = f" {keyword.unit}" if keyword.unit else ""
        range_text = (
            f"in [{low:.10g}, {high:.10g}]" if high < float("inf") else f"at least {low:.10g}"
        )
        raise ConfigError(f"{label}: must be {range_text}{unit}")
    return value


def _shortened(values: Sequence[str]) -> str:
    """Return the words of a setting as far as a message needs them."""
    text = ",".join(values[:20])
    return text if len(text) <= 80 and len(values) <= 20 else f"{text[:80]}..."


def suggest(word: str, known: Mapping[str, Any] | tuple[str, ...]) -> str:
    """Return `: did you mean X?` for the nearest known word, or nothing."""
    import difflib

    near = difflib.get_close_matches(word.upper(), list(known), n=1, cutoff=0.6)
    return f": did you mean {near[0]}?" if near else ""


def format_value(value: Any) -> str:
    """Write a value in the format's own grammar; `parse` reads it back."""
    if value is None:
        return "AUTO"
    if isinstance(value, bool):
        return "Y" if value else "N"
    if isinstance(value, tuple):
        return ",".join(format_value(item) for item in value)
    if isinstance(value, float):
        short = f"{value:.10g}" if value != int(value) else f"{value:.1f}"
        return short if float(short) == value else repr(value)
    text = str(value)
    if not _NOT_PLAIN.search(text):
        return text
    return f"'{text}'" if '"' in text or "$" in text else f'"{text}"'


def dump(full: bool) -> str:
    """Return the default configuration, short (`-d`) or full (`-dd`)."""
    lines = ["# Default configuration of skyextract", ""]
    table = declarations()
    for group in dataclasses.fields(Config):
        members = [d for d in table.values() if d.group == group.name]
        members = [
            d for d in members if full or (d.keyword.basic and d.keyword.support != "ignored")
        ]
        if not members:
            continue
        lines += [f"# {(group.default.__doc__ or '').strip():-^76}".replace("# -", "#-", 1), ""]
        for item in members:
            lines += _dump_keyword(item)
        lines.append("")
    return "\n".join(lines)


def _dump_keyword(item: Declaration) -> Iterator[str]:
    """Yield the keyword's line and the continuation lines of its comment."""
    keyword = item.keyword
    comment = keyword.help
    if keyword.unit:
        comment += f" [{keyword.unit}]"
    if keyword.choices and keyword.choices != ("Y", "N"):
        comment += ": " + ", ".join(keyword.choices)
    words = comment.split()
    head = f"{item.name:<19} {format_value(item.default):<16}"
    line = ""
    for word in words:
        if line and len(line) + len(word) > 44:
            yield f"{head} # {line}"
            head, line = " " * 36, word
        else:
            line = f"{line} {word}".strip()
    yield f"{head} # {line}"
