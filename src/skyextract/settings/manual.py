"""The manual page, skyextract(1), in the macros of man(7)."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from skyextract import __version__
from skyextract.settings.completion import Word
from skyextract.settings.grammar import declarations, format_value
from skyextract.settings.keywords import Config

STATUSES = (
    ("0", "Done."),
    ("1", "An image or an extension could not be processed, or a product could not be written."),
    ("2", "Usage or configuration error; no work was started."),
    ("3", "Done, but a step that was asked for failed; with --strict also: a default PSF is in "
          "use, or a step fell back."),
    ("130", "Interrupted (SIGINT)."),
    ("143", "Terminated (SIGTERM); 128 and the number of the signal for others."),
)  # fmt: skip
"""Exit statuses; of several images the worst counts, 1 before 3."""

_DESCRIPTION = """\
From FITS images, raw or reduced, to catalogues with measured PSF, verified
astrometry and a verified zero point.  An IMAGE is a file, an extension of it
(image.fits[2], image.fits[SCI]), or a pair det.fits,meas.fits: detect on the
first, measure on the second.  Several images are processed each with its own
fate; a table of the night stands beside their products.
.PP
Keywords are those of SExtractor, PSFEx and SCAMP.  A configuration file has
a line
.RI \\(lq KEYWORD \\ value[,value...]\\(rq
for each; on the command line
.BI \\- KEYWORD \\ value
wins over the file."""


def manual_page(options: Sequence[Word], metavars: Sequence[str]) -> str:
    """Return the page.

    Parameters
    ----------
    options : sequence of Word
        Of the command line.
    metavars : sequence of str
        What stands behind each of them.
    """
    lines = [
        f'.TH SKYEXTRACT 1 "" "skyextract {__version__}" "User Commands"',
        ".SH NAME",
        "skyextract \\- calibrated catalogues of FITS images",
        ".SH SYNOPSIS",
        ".B skyextract",
        ".IR IMAGE \\ [ IMAGE \\ ...]",
        ".RB [ \\-c",
        ".IR FILE ]",
        ".RI [ \\-KEYWORD\\ value \\ ...]",
        ".SH DESCRIPTION",
        *_DESCRIPTION.splitlines(),
        ".SH OPTIONS",
    ]
    for option, metavar in zip(options, metavars, strict=True):
        names = ", ".join(f"\\fB{_plain(name)}\\fR" for name in option.names)
        lines += [".TP", f"{names} \\fI{_plain(metavar)}\\fR".rstrip(), _plain(option.help)]
    lines.append(".SH KEYWORDS")
    for group in dataclasses.fields(Config):
        members = [item for item in declarations().values() if item.group == group.name]
        members = [item for item in members if item.keyword.support == "yes"]
        if not members:
            continue
        lines.append(f".SS {_plain((group.default.__doc__ or '').strip())}")
        for item in members:
            keyword = item.keyword
            unit = f" [{keyword.unit}]" if keyword.unit else ""
            choices = f" One of {', '.join(keyword.choices)}." if keyword.choices else ""
            default = format_value(item.default)
            text = f"{keyword.help}{unit}.{choices} Default: {default or '(empty)'}."
            lines += [".TP", f".B {item.name}", _plain(text[0].upper() + text[1:])]
    lines.append(".SH EXIT STATUS")
    for number, text in STATUSES:
        lines += [".TP", f".B {number}", _plain(text)]
    lines += [
        "Of several images the worst counts, 1 before 3; those that are interrupted end with the "
        "status of the signal.  A watch (\\-\\-watch) ends with the worst of its frames.",
        ".SH SEE ALSO",
        ".BR source-extractor (1),",
        ".BR psfex (1),",
        ".BR scamp (1)",
    ]
    return "\n".join(lines) + "\n"


def _plain(text: str) -> str:
    """Return a text without what roff would obey."""
    escaped = " ".join(text.split()).replace("\\", "\\e").replace("-", "\\-").replace('"', "\\(dq")
    return f"\\&{escaped}" if escaped.startswith((".", "'")) else escaped
