"""Diagrams as SVG text that takes the colours of the page it stands in, light or dark."""

from __future__ import annotations

import math
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from io import StringIO
from typing import Any

import numpy as np

from skyextract.datamodel.arrays import F8, AnyArray
from skyextract.record import record
from skyextract.settings.extras import require

BLUE, ORANGE, GREEN, VERMILION, SKY, PURPLE = (
    "#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#CC79A7",
)  # fmt: skip
"""Of Okabe & Ito (2008), which the colour-blind tell apart; all stand out on black and white."""

PAGE_BLUE = "var(--blue)"
"""That blue on a light page, a lighter one on a dark page."""

GREY = "#8a8f98"
SEQUENTIAL = "viridis"
DIVERGING = "PuOr"

_LIBRARIES = ("matplotlib", "jinja2")
_MODULES = ("matplotlib.figure", "matplotlib.backends.backend_svg", "PIL.Image", "jinja2")
_INK = "#010203"  # becomes the colour of the page's text
_STYLE = {
    "svg.fonttype": "none", "svg.hashsalt": "skyextract", "font.size": 9.5,
    "font.family": "sans-serif", "text.color": _INK, "axes.edgecolor": _INK,
    "axes.labelcolor": _INK, "xtick.color": _INK, "ytick.color": _INK, "axes.facecolor": "none",
    "figure.facecolor": "none", "legend.frameon": False, "legend.fontsize": 8.5,
    "axes.formatter.limits": (-4, 6), "axes.formatter.useoffset": False,
    "lines.markersize": 3.0, "axes.axisbelow": True, "path.simplify": True,
}  # fmt: skip


def prepare_drawing(keyword: str) -> None:
    """Import what draws the pages in a thread: it takes 0.7 s, while the kernels run.

    Raises
    ------
    ConfigError
        It is not installed.
    """
    require(keyword, "report", *_LIBRARIES)
    threading.Thread(target=lambda: list(map(import_module, _MODULES))).start()


@record
class Figure:
    """A diagram of a page.

    Attributes
    ----------
    title, note : str
        What it shows, and how to read it.
    svg : str
        Empty if there is nothing to draw; the note says why.
    """

    title: str
    note: str
    svg: str = ""


class Canvas:
    """Axes to draw into, and the SVG that comes of it."""

    def __init__(self, figure: Any, axes: Any) -> None:
        self.figure, self.axes = figure, axes
        self.svg = ""

    def color_bar(self, mappable: Any, label: str) -> None:
        """Put a scale of colours to the right of the axes."""
        from matplotlib.ticker import MaxNLocator

        place = self.axes.get_position()
        axes = self.figure.add_axes((0.79, place.y0, 0.025, place.height))
        self.figure.colorbar(mappable, cax=axes, label=label).locator = MaxNLocator(5)

    def key(self, arrows: Any, length: float, text: str) -> None:
        """Show above the axes how long an arrow of a given length is, and what it stands for."""
        self.axes.quiverkey(
            arrows, 0.80, 0.975, length, text, coordinates="figure", labelpos="E", labelsep=0.05
        )

    def field(self, shape: tuple[int, int]) -> None:
        """Make the axes those of the frame: FITS pixels, equal scales."""
        self.axes.set(xlabel="x (pixels)", ylabel="y (pixels)")
        self.axes.set_xlim(0.5, shape[1] + 0.5)
        self.axes.set_ylim(0.5, shape[0] + 0.5)
        self.axes.set_aspect("equal", anchor="W")
        self.axes.locator_params(nbins=5)


@contextmanager
def canvas(
    xlabel: str = "", ylabel: str = "", *, colors: bool = False, height: float = 3.4
) -> Iterator[Canvas]:
    """Give a canvas; its `svg` is made at the end of the block.

    Parameters
    ----------
    colors : bool
        Leave room for a scale of colours.
    height : float
        Inches; the width is 5.2.
    """
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure as MplFigure

    with mpl.rc_context(_STYLE):
        figure = MplFigure(figsize=(5.2, height))
        FigureCanvasSVG(figure)
        bottom = 0.5 / height
        width = 0.61 if colors else 0.83
        axes = figure.add_axes((0.15, bottom, width, 1.0 - bottom - 0.22 / height))
        axes.set(xlabel=xlabel, ylabel=ylabel)
        axes.grid(color=GREY, alpha=0.25, linewidth=0.6)
        made = Canvas(figure, axes)
        yield made
        text = StringIO()
        figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
        made.svg = _for_page(text.getvalue())


def _for_page(svg: str) -> str:
    """Return the SVG element alone, with the page's ink and blue and no unused names."""
    svg = svg[svg.index("<svg ") :].replace(_INK, "currentColor")
    svg = svg.replace(BLUE.lower(), PAGE_BLUE)
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r' id="[A-Za-z]+_\d+"', "", svg)
    svg = re.sub(r'^<svg ([^>]*?)height="[^"]*"', r"<svg \1", svg)
    svg = re.sub(r'^<svg ([^>]*?)width="[^"]*"', r"<svg \1", svg)
    return re.sub(r"\n\s*", "\n", svg)


MAX_POINTS = 2000
"""Points of a diagram, at most; others are left out evenly."""


def thinned(rows: AnyArray, most: int = MAX_POINTS) -> AnyArray:
    """Return at most so many of the rows, evenly."""
    return rows if len(rows) <= most else rows[:: math.ceil(len(rows) / most)]


def value_range(values: F8, margin: float) -> tuple[float, float]:
    """Return the range of nearly all magnitudes, whatever a few without light have."""
    finite = values[np.isfinite(values)]
    least, low, high, most = np.percentile(finite, (0.3, 3.0, 97.0, 99.7))
    low, high = max(least, low - 3.0), min(most, high + 1.0)
    return float(low) - margin, float(high) + margin + (1e-3 if low == high else 0.0)
