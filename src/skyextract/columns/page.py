"""The page docs/columns.md, generated from the column table."""

from __future__ import annotations

from typing import NamedTuple

from skyextract.columns.families import DERIVE, MODEL, PIPELINE, PSF, Column
from skyextract.columns.table import COLUMNS, NOT_SUPPORTED
from skyextract.datamodel.flags import Flags, FlagsSky, flag_table


class Pull(NamedTuple):
    """Measured quality of an error column: (measured - true) / error over isolated stars.

    Attributes
    ----------
    value, error : str
        The column and the column of its error.
    bias, width : float
        Mean and standard deviation of the pulls.
    how : str
        The simulation and the number of stars.
    """

    value: str
    error: str
    bias: float
    width: float
    how: str


_STARS = "`benchmarks.truth.pulls`: 1557 isolated Gaussian stars, S/N 60-300"

PULLS: tuple[Pull, ...] = (
    Pull("X_IMAGE", "ERRX2_IMAGE", -0.03, 0.79, _STARS),
    Pull("Y_IMAGE", "ERRY2_IMAGE", 0.00, 0.77, _STARS),
    Pull("XWIN_IMAGE", "ERRX2WIN_IMAGE", -0.02, 0.94, _STARS),
    Pull("YWIN_IMAGE", "ERRY2WIN_IMAGE", 0.01, 0.95, _STARS),
    Pull("XPSF_IMAGE", "ERRX2PSF_IMAGE", -0.02, 0.97, _STARS),
    Pull("YPSF_IMAGE", "ERRY2PSF_IMAGE", 0.04, 1.01, _STARS),
    Pull("FLUX_APER", "FLUXERR_APER", 0.18, 0.99, _STARS),
    Pull("FLUX_AUTO", "FLUXERR_AUTO", 0.36, 1.01, _STARS),
    Pull("FLUX_ISO", "FLUXERR_ISO", 1.50, 0.94, _STARS),
    Pull("FLUX_ISOCOR", "FLUXERR_ISOCOR", 5.47, 1.33, _STARS),
    Pull("FLUX_PETRO", "FLUXERR_PETRO", 0.33, 1.03, _STARS),
    Pull("FLUX_PSF", "FLUXERR_PSF", 0.45, 1.02, _STARS),
    Pull("FLUX_APERCOR", "FLUXERR_APERCOR", 0.44, 1.00, _STARS),
)
"""Median and width of measured pulls, as `benchmarks.truth.pulls` prints them."""

_TYPES = {"f4": "float", "f8": "double", "i2": "int16", "i4": "int32"}
_VECTOR = ("", "(n)", "(w,h)")
_GROUPS = (
    ("Identification", ("NUMBER", "ID_PARENT", "EXT_NUMBER", "NUMBER_ASSOC", "VECTOR_ASSOC")),
    ("Fluxes and magnitudes", ("FLUX", "MAG", "SNR", "KRON", "PETRO", "MU_", "BACKG", "THRESH")),
    ("Positions", ("X", "Y", "ALPHA", "DELTA")),
    ("Flags", ("FLAGS", "IMAFLAGS", "NIMAFLAGS", "NLOW")),
    ("Shapes and sizes", ("",)),
)

_FLAGS = f"""
### FLAGS

{flag_table(Flags)}

### FLAGS_SKY

{flag_table(FlagsSky)}
"""


def _group(name: str) -> str:
    """Return the section of a column: positions end in _IMAGE etc. and name no moment."""
    if name.startswith(("X2", "Y2", "XY")):
        return "Shapes and sizes"
    return next(title for title, starts in _GROUPS if name.startswith(starts))


def _meaning(column: Column) -> str:
    """Return the description, and where the column is not SExtractor's."""
    if column.own:
        return f"{column.description} (not in SExtractor)"
    if column.note:
        return f"{column.description} (differs from SExtractor: {column.note})"
    return column.description


def _source(column: Column) -> str:
    if column.stage == DERIVE:
        return "from " + ", ".join(column.needs)
    return {PSF: "PSF fit", MODEL: "model fit", PIPELINE: "pipeline"}.get(column.stage, "pixels")


def _code(text: str) -> str:
    return text.replace("|", "\\|")


def columns_markdown() -> str:
    """Return the text of docs/columns.md."""
    parts = [
        "# Output columns\n\n"
        f"{len(COLUMNS)} columns can be asked for in the file of PARAMETERS_NAME, one per line; "
        "`skyextract -dp` prints them in that form.  `(n)` marks a vector, `MAG_APER(4)`; "
        "`(w,h)` an image, `VIGNET(35,35)`.  Only what is asked for is measured.\n\n"
        "- Pixel coordinates are FITS coordinates: the centre of the first pixel is (1, 1).\n"
        "- A magnitude of a flux that is not positive, a sky coordinate without a WCS and "
        "whatever else has no value is NaN; in the ASCII, ASCII_HEAD and ASCII_SKYCAT formats a "
        "missing magnitude is 99, as SExtractor writes it.\n"
        "- `_SKY` is the frame of the header, `_J2000` the same without an ICRS shift if that "
        "frame is ICRS or FK5, `_B1950` is FK4 for an observation at epoch J2000.\n"
        "- World moments and ellipses are in degrees on the sky: x to the east (times "
        "cos(declination)), y to the north.  They are the full linear transformation of the "
        "pixel moments: in a frame that is rotated without distortion A_WORLD / A_IMAGE is the "
        "pixel scale for every source.  SExtractor 2.25 takes the term of XY_IMAGE in X2_WORLD "
        "and Y2_WORLD once instead of twice, so that its world axes and angles agree with ours "
        "only where the pixel axes are parallel to the sky's.\n"
        "- FWHM_WORLD, ISOAREA_WORLD, ISOAREAF_WORLD and MU_ magnitudes take the pixel size from "
        "PIXEL_SCALE where it is not 0, as SExtractor does (its default.sex says 1.0), else from "
        "the WCS at the place of the source; all other `_WORLD` columns always from the WCS.\n"
        "- Columns mean what they mean in SExtractor, but where the meaning says otherwise.\n"
    ]
    for title, _ in _GROUPS:
        parts.append(f"\n## {title}\n")
        if title == "Flags":
            parts.append(_FLAGS + "\n")
        else:
            parts.append("\n")
        parts.append("| column | unit | type | meaning | from |\n| --- | --- | --- | --- | --- |\n")
        parts += [
            f"| {c.name}{_VECTOR[c.ndim]} | {_code(c.unit)} | {_TYPES[c.dtype]} | "
            f"{_code(_meaning(c))} | {_source(c)} |\n"
            for c in COLUMNS.values()
            if _group(c.name) == title
        ]
    parts.append(
        "\n## Known and not supported\n\n"
        "Asking for one of these parameters of SExtractor is an error that says so.\n\n"
        "| parameters (pattern) | reason |\n| --- | --- |\n"
    )
    parts += [f"| `{_code(pattern)}` | {reason} |\n" for pattern, reason in NOT_SUPPORTED]
    parts.append("\n## Measured pulls of the error columns\n\n")
    if PULLS:
        parts.append(
            "Pull = (measured - true) / error; a width of 1 and a bias of 0 mean that the error "
            "column is right.  Error columns keep SExtractor's formulas.\n\n"
            "| value | error | bias | width | measured on |\n| --- | --- | --- | --- | --- |\n"
        )
        parts += [
            f"| {p.value} | {p.error} | {p.bias:+.2f} | {p.width:.2f} | {p.how} |\n" for p in PULLS
        ]
    else:
        parts.append("Not measured yet.\n")
    return "".join(parts)
