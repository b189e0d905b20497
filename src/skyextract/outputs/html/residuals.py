"""The diagrams of the calibrations: how far reference stars are from the fits."""

from __future__ import annotations

import math

import numpy as np

from skyextract.datamodel.catalog import Catalog
from skyextract.kernels.values import MAD_TO_SIGMA
from skyextract.outputs.html.plots import (
    BLUE,
    DIVERGING,
    GREY,
    ORANGE,
    VERMILION,
    Figure,
    canvas,
    thinned,
    value_range,
)

LONGEST = 2.5
"""Arrows longer than so many typical ones are cut: those of faint stars would hide the others."""


def astrometry_figures(matches: Catalog, shape: tuple[int, int], failed: str) -> list[Figure]:
    """Differences of the positions to the reference stars: over the frame, and how many."""
    titles = ("Astrometric residuals over the field", "Astrometric residuals")
    if not matches.n_rows:
        return [Figure(titles[1], failed)]
    used = np.asarray(matches["USED"], dtype=bool)
    dx, dy = (np.asarray(matches[name], np.float64) for name in ("DXI", "DETA"))
    rows = thinned(np.flatnonzero(used if used.any() else ~used), 800)
    typical = float(np.median(np.hypot(dx[rows], dy[rows]))) if len(rows) else 0.0
    typical = typical or 1.0
    with canvas(height=4.0) as first:
        arrow = 0.05 * max(shape) / typical
        cut = np.maximum(np.hypot(dx[rows], dy[rows]) / (LONGEST * typical), 1.0)
        drawn = first.axes.quiver(
            matches["X_IMAGE"][rows], matches["Y_IMAGE"][rows], dx[rows] / cut, dy[rows] / cut,
            color=np.where(cut > 1.0, GREY, BLUE), angles="uv", scale_units="xy",
            scale=1.0 / arrow, width=0.005,
        )  # fmt: skip
        first.field(shape)
        first.key(drawn, typical, f"{typical:.2g}″")
    with canvas("source − reference (arcsec)", "stars") as second:
        widest = max(float(np.percentile(np.abs(np.concatenate([dx[rows], dy[rows]])), 99.5)), 1e-6)
        edges = np.linspace(-1.1 * widest, 1.1 * widest, 41)
        for values, color, label in ((dx, BLUE, "east"), (dy, ORANGE, "north")):
            rms = math.sqrt(float(np.mean(values[used] ** 2))) if used.any() else None
            text = label if rms is None else f"{label}, rms {rms:.3g}″"
            second.axes.hist(
                values[used], edges, histtype="step", color=color, lw=1.6,
                label=text,
            )  # fmt: skip
        second.axes.locator_params(axis="y", integer=True)
        second.axes.axvline(0.0, color=GREY, lw=0.8)
        second.axes.set_ylim(top=1.25 * second.axes.get_ylim()[1])
        second.axes.legend(loc="upper left", ncols=2)
    notes = (
        f"{used.sum()} stars of the fit (of {len(used)} matched). Arrows: east to the right, north "
        "up; grey ones are longer than drawn. Arrows that agree with their neighbours are "
        "distortion that the fit does not have.",
        "Both should be centred on 0 and equally wide.",
    )
    return [Figure(titles[0], notes[0], first.svg), Figure(titles[1], notes[1], second.svg)]


def photometry_figures(matches: Catalog, shape: tuple[int, int], failed: str) -> list[Figure]:
    """Residuals of the zero point against magnitude, colour and position.

    Parameters
    ----------
    failed : str
        Why there is no zero point; empty if there is one.  The residuals of a fit that is not
        believed show where the clouds are.
    """
    title = "Zero point residuals"
    if not matches.n_rows:
        return [Figure(title, failed)]
    used = np.asarray(matches["USED"], dtype=bool)
    residual, error = (np.asarray(matches[n], np.float64) for n in ("RESIDUAL", "MAGERR"))
    scatter = MAD_TO_SIGMA * float(np.median(np.abs(residual[used]))) if used.any() else 0.1
    reach = max(6.0 * scatter, 0.02)
    figures = []
    color = np.asarray(matches["COLOR"], np.float64)
    notes = {
        "magnitude": "A slope, or bright stars that lie low, is non-linearity or saturation.",
        "colour": "A slope is a colour term (COLOR_TERM).",
        "position": "Dots: stars of the fit; squares: left out. A pattern is a flat field, "
        "vignetting or clouds (PHOT_DEGREES).",
    }
    if failed:
        notes["magnitude"] += f" {failed}"
    beyond = np.sign(residual) * (np.abs(residual) > reach)
    if beyond.any():
        notes["magnitude"] += (
            f" Triangles: {np.count_nonzero(beyond)} stars beyond the scale, to "
            f"{residual[np.argmax(np.abs(residual))]:+.2f} mag."
        )
    known = np.isfinite(color).any() and np.ptp(color[np.isfinite(color)]) > 0.0
    if not known:
        notes["magnitude"] += " No colour of the stars is known to the fit: COLOR_TERM is 0."
    for name, values, label in (
        (
            "magnitude",
            np.asarray(matches["MAG_REFERENCE"], np.float64),
            "reference magnitude (mag)",
        ),
        ("colour", color, "colour of the reference star (mag)"),
    ):
        if name == "colour" and not known:
            continue
        with canvas(label, "residual (mag)") as made:
            for rows, ink, what in ((~used, VERMILION, "left out"), (used, BLUE, "of the fit")):
                shown = thinned(np.flatnonzero(rows & (beyond == 0.0)))
                if len(shown):
                    made.axes.errorbar(
                        values[shown], residual[shown], error[shown],
                        fmt="x" if what == "left out" else "o", color=ink, ms=3.2, lw=0.5,
                        label=what,
                    )  # fmt: skip
                for side, marker in ((1.0, "^"), (-1.0, "v")):
                    off = values[thinned(np.flatnonzero(rows & (beyond == side)))]
                    edge = np.full(off.size, side * 1.12 * reach)
                    made.axes.plot(off, edge, marker, color=ink, ms=4.5)
            made.axes.axhline(0.0, color=GREY, lw=0.8)
            made.axes.set_ylim(-1.25 * reach, 1.25 * reach)
            made.axes.set_xlim(*value_range(values, 0.3))
            made.axes.legend(loc="upper left", ncols=2)
        figures.append(Figure(f"{title}: {name}", notes[name], made.svg))
    with canvas(colors=True, height=4.0) as made:
        limit = max(3.0 * scatter, 0.01)
        for kind, marker in ((~used, "s"), (used, "o")):
            rows = thinned(np.flatnonzero(kind))
            drawn = made.axes.scatter(
                matches["X_IMAGE"][rows], matches["Y_IMAGE"][rows], c=residual[rows],
                cmap=DIVERGING, vmin=-limit, vmax=limit, s=18, marker=marker, edgecolors=GREY,
                linewidths=0.4,
            )  # fmt: skip
        made.field(shape)
        made.color_bar(drawn, "residual (mag)")
    figures.append(Figure(f"{title}: position", notes["position"], made.svg))
    return figures
