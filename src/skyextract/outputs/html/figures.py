"""The diagrams of a frame's report; each says why, where there is nothing to draw."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from skyextract.datamodel.arrays import F4, F8, AnyArray, Bools
from skyextract.datamodel.catalog import Catalog
from skyextract.datamodel.psfshape import core_shape
from skyextract.errors import StepError
from skyextract.outputs.html.plots import (
    BLUE,
    DIVERGING,
    GREY,
    ORANGE,
    SEQUENTIAL,
    VERMILION,
    Figure,
    canvas,
)

if TYPE_CHECKING:
    from skyextract.datamodel.background import BackgroundMap
    from skyextract.datamodel.psf import Psf

MOST_POINTS = 2000
"""Points of a diagram, at most; others are left out evenly."""


def psf_field(
    psf: Psf | None, stars: Catalog | None, shape: tuple[int, int], scale: float
) -> list[Figure]:
    """Draw FWHM and ellipticity of the PSF across the frame.

    The FWHM is that at the centre, scaled by the size of the core.

    Parameters
    ----------
    scale : float
        Arcsec per pixel; NaN if unknown.
    """
    titles = ("FWHM across the field", "Ellipticity across the field")
    if psf is None or not psf.n_stars:
        return [Figure(title, "No PSF was measured.") for title in titles]
    ny, nx = shape
    n = 5 if psf.degree else 1
    xs, ys = (np.arange(n) + 0.5) * nx / n - 0.5, (np.arange(n) + 0.5) * ny / n - 0.5
    fwhm, whisker = np.full((n, n), np.nan), np.full((n, n, 2), np.nan)
    middle_width = _core(psf, psf.x_zero, psf.y_zero)[0]
    for j, y in enumerate(ys):
        for i, x in enumerate(xs):
            width, ellipticity, angle = _core(psf, x, y)
            fwhm[j, i] = psf.fwhm * width / middle_width
            whisker[j, i] = ellipticity * math.cos(angle), ellipticity * math.sin(angle)
    unit, factor = ("arcsec", scale) if math.isfinite(scale) else ("pixels", 1.0)
    with canvas(colors=True, height=4.0) as first:
        values = fwhm * factor
        middle = float(np.nanmedian(values)) if np.isfinite(values).any() else 1.0
        spread = max(float(np.nanmax(values) - np.nanmin(values)), 0.04 * middle)
        drawn = first.axes.imshow(
            values, origin="lower", extent=(0.5, nx + 0.5, 0.5, ny + 0.5), cmap=SEQUENTIAL,
            vmin=middle - 0.6 * spread, vmax=middle + 0.6 * spread, interpolation="bilinear",
        )  # fmt: skip
        first.field(shape)
        if stars is not None and stars.n_rows:
            size = np.asarray(stars["FWHM_IMAGE"], np.float64)
            size *= psf.fwhm * factor / np.nanmedian(size)  # one definition of FWHM for both
            first.axes.scatter(
                stars["X_IMAGE"], stars["Y_IMAGE"], c=size, cmap=SEQUENTIAL, s=16,
                norm=drawn.norm, edgecolors="white", linewidths=0.6,
            )  # fmt: skip
        first.color_bar(drawn, f"FWHM ({unit})")
    with canvas(colors=True, height=4.0) as second:
        size = np.hypot(whisker[..., 0], whisker[..., 1])
        gx, gy = np.meshgrid(xs + 1.0, ys + 1.0)
        strongest = max(float(np.nanmax(size)) if np.isfinite(size).any() else 0.0, 0.05)
        drawn = second.axes.quiver(
            gx, gy, whisker[..., 0], whisker[..., 1], size, pivot="mid", headwidth=0, headlength=0,
            headaxislength=0, cmap=SEQUENTIAL, width=0.012, angles="xy", scale_units="xy",
            scale=strongest * n / (0.8 * min(nx, ny)) if n > 1 else strongest * 4 / min(nx, ny),
        )  # fmt: skip
        drawn.set_clim(0.0, max(strongest, 0.1))
        second.field(shape)
        second.color_bar(drawn, "ellipticity 1 − b/a")
    return [
        Figure(
            titles[0],
            f"Colour: the PSF model; dots: its {psf.n_stars} stars, scaled to "
            "the same median. A slope is tilt or defocus at "
            "one side; a bowl is field curvature.",
            first.svg,
        ),
        Figure(
            titles[1],
            f"Each line lies along the long axis of the PSF there. All parallel and long: tracking "
            f"or wind. At the centre: {psf.ellipticity:.3f}.",
            second.svg,
        ),
    ]


def _core(psf: Psf, x: float, y: float) -> tuple[float, float, float]:
    """Return size, ellipticity and position angle (rad) of the PSF's core; NaN without one."""
    try:
        _, _, xx, yy, xy = core_shape(_psf_image(psf, x, y))
    except StepError:
        return math.nan, math.nan, math.nan
    split, mean = math.hypot(0.5 * (xx - yy), xy), 0.5 * (xx + yy)
    least = math.sqrt(max(mean - split, 0.0) / (mean + split))
    return math.sqrt(mean), 1.0 - least, 0.5 * math.atan2(2.0 * xy, xx - yy)


def _psf_image(psf: Psf, x: float, y: float) -> F8:
    """Return the samples of the PSF at a 0-based place."""
    u, v = (float(w) for w in psf.normalised(np.float64(x), np.float64(y)))  # type: ignore[arg-type]
    terms = [u**i * v**j for j in range(psf.degree + 1) for i in range(psf.degree + 1 - j)]
    image: F8 = np.tensordot(np.array(terms), psf.basis.astype(np.float64), 1)
    return image


def psf_stamps(
    psf: Psf | None, stars: Catalog | None, data: F4 | None, residual: F4 | None
) -> Figure:
    """Stamps of the PSF and of four of its stars, as they are and after the fit.

    Parameters
    ----------
    data : (ny, nx) float32 or None
        The image without its background.
    residual : (ny, nx) float32 or None
        The same without the fitted point sources.
    """
    title = "PSF, its stars, and what the fit leaves"
    if psf is None or not psf.n_stars:
        return Figure(title, "No PSF was measured.")
    half = max(5, math.ceil(2.5 * psf.fwhm))
    side = 2 * half + 1
    model = psf.stamp(psf.x_zero, psf.y_zero, size=side).astype(np.float64)
    blank = np.full((side, side), np.nan)
    above, below, names = [_stretched(model, float(model.max()))], [blank], ["PSF"]
    if stars is not None and data is not None and stars.n_rows:
        for star, left, name in _star_stamps(psf, stars, data, residual, half):
            peak = float(star.max())
            above.append(_stretched(star, peak))
            below.append(left / peak)
            names.append(name)
    tiles = 5
    border = np.full((side, 1), np.nan)
    with canvas(height=2.6) as made:
        made.axes.remove()
        for row, stamps, colors, limits in (
            (0, above, SEQUENTIAL, (-1.0, 4.6)), (1, below, DIVERGING, (-0.1, 0.1)),
        ):  # fmt: skip
            filled = stamps + [blank] * (tiles - len(stamps))
            strip = np.hstack([part for stamp in filled for part in (stamp, border)])
            axes = made.figure.add_axes((0.03, 0.5 - 0.48 * row, 0.94, 0.4))
            axes.set_axis_off()
            axes.imshow(strip, origin="lower", cmap=colors, vmin=limits[0], vmax=limits[1])
            for k, name in enumerate(names):
                text = name if row == 0 else "after" if k else ""
                axes.text(k * (side + 1) + half, side, text, ha="center", fontsize=8.5)
    note = (
        f"{side} × {side} pixels. Above, asinh stretch: the PSF at the centre and bright stars of "
        "it. Below: after the fit, from −10 to +10 % of the star's peak (orange below, violet "
        "above)."
    )
    return Figure(title, note, made.svg)


def _stretched(stamp: F8, peak: float) -> F8:
    shown: F8 = np.arcsinh(stamp / (0.02 * peak))
    return shown


def _star_stamps(
    psf: Psf, stars: Catalog, data: F4, residual: F4 | None, half: int
) -> list[tuple[F8, F8, str]]:
    """Return four bright stars, as they are and after the fit, and where they are."""
    ny, nx = data.shape
    x, y = np.asarray(stars["X_IMAGE"]) - 1.0, np.asarray(stars["Y_IMAGE"]) - 1.0
    i, j = np.rint(x).astype(int), np.rint(y).astype(int)
    inside = (i >= half) & (j >= half) & (i < nx - half) & (j < ny - half)
    rows = np.flatnonzero(inside)
    rows = rows[np.argsort(-np.asarray(stars["FLUX_PSF"])[rows], kind="stable")][:4]
    found = []
    for row in rows:
        cut = np.s_[j[row] - half : j[row] + half + 1, i[row] - half : i[row] + half + 1]
        star = data[cut].astype(np.float64)
        if not star.max() > 0.0:
            continue
        if residual is not None:
            left = residual[cut].astype(np.float64)
        else:
            model = psf.stamp(x[row], y[row], x[row] - i[row], y[row] - j[row], 2 * half + 1)
            left = star - float(np.sum(star * model) / np.sum(model * model)) * model
        found.append((star, left, f"({x[row] + 1:.0f}, {y[row] + 1:.0f})"))
    return found


def background_maps(background: BackgroundMap | None) -> list[Figure]:
    """Draw the sky and its noise over the frame."""
    titles = ("Background", "Background rms")
    if background is None:
        return [Figure(title, "No background was measured.") for title in titles]
    notes = (
        f"Sky on the mesh; median {background.mean:.5g}. Structure of the size of a galaxy or of "
        "the frame's border does not come from the sky.",
        f"Noise of the sky on the mesh; median {background.sigma:.4g}.",
    )
    figures = []
    ny, nx = background.shape
    for title, note, values in zip(titles, notes, (background.level, background.rms), strict=True):
        with canvas(colors=True, height=4.0) as made:
            low, high = np.nanpercentile(values, (1, 99))
            if not high > low:
                low, high = low - 1.0, high + 1.0
            drawn = made.axes.imshow(
                values, origin="lower", cmap=SEQUENTIAL, vmin=low, vmax=high,
                extent=(
                    0.5, 0.5 + values.shape[1] * background.mesh_width,
                    0.5, 0.5 + values.shape[0] * background.mesh_height,
                ),
            )  # fmt: skip
            made.field((ny, nx))
            made.color_bar(drawn, f"{title.lower()} (image units)")
        figures.append(Figure(title, note, made.svg))
    return figures


def stellar_locus(
    mag: F8, size: F8, stars: Bools, flagged: Bools, names: tuple[str, str]
) -> Figure:
    """Draw size against magnitude.

    Parameters
    ----------
    mag, size : (n,) float64
    stars, flagged : (n,) bool
        PSF stars; sources that are saturated or cut.
    names : (str, str)
        Labels of both axes.
    """
    title = "Stellar locus"
    good = np.isfinite(mag) & np.isfinite(size) & (size > 0.0)
    if good.sum() < 3:
        return Figure(title, "Fewer than three sources have a magnitude and a size.")
    with canvas(*names) as made:
        for rows, color, label, area in (
            (good & ~stars & ~flagged, GREY, "sources", 5),
            (good & flagged, ORANGE, "saturated or cut", 12),
            (good & stars, BLUE, "PSF stars", 12),
        ):
            shown = _thin(np.flatnonzero(rows))
            if len(shown):
                made.axes.scatter(mag[shown], size[shown], s=area, c=color, label=label, lw=0)
        low, high = np.percentile(size[good], (0.5, 97.0))
        made.axes.set_ylim(0.5 * low, 1.3 * high)
        made.axes.set_xlim(*_range(mag[good], 0.5))
        made.axes.legend(loc="upper left")
    note = "Stars have one size at all magnitudes: the band that the PSF stars are taken from."
    return Figure(title, note, made.svg)


def astrometry_figures(matches: Catalog, shape: tuple[int, int], failed: str) -> list[Figure]:
    """Differences of the positions to the reference stars: over the frame, and how many."""
    titles = ("Astrometric residuals over the field", "Astrometric residuals")
    if not matches.n_rows:
        return [Figure(title, failed) for title in titles]
    used = np.asarray(matches["USED"], dtype=bool)
    dx, dy = (np.asarray(matches[name], np.float64) for name in ("DXI", "DETA"))
    rows = _thin(np.flatnonzero(used if used.any() else ~used), 800)
    typical = float(np.median(np.hypot(dx[rows], dy[rows]))) if len(rows) else 0.0
    typical = typical or 1.0
    with canvas(height=4.0) as first:
        arrow = 0.05 * max(shape) / typical
        drawn = first.axes.quiver(
            matches["X_IMAGE"][rows], matches["Y_IMAGE"][rows], dx[rows], dy[rows], color=BLUE,
            angles="uv", scale_units="xy", scale=1.0 / arrow, width=0.005,
        )  # fmt: skip
        first.field(shape)
        first.axes.quiverkey(
            drawn, 0.80, 0.975, typical, f'{_round(typical)}″', coordinates="figure",
            labelpos="E", labelsep=0.05,
        )  # fmt: skip
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
        second.axes.axvline(0.0, color=GREY, lw=0.8)
        second.axes.set_ylim(top=1.25 * second.axes.get_ylim()[1])
        second.axes.legend(loc="upper left", ncols=2)
    notes = (
        f"{used.sum()} stars of the fit (of {len(used)} matched). Arrows: east to the right, north "
        "up. Arrows that agree with their neighbours are distortion that the fit does not have.",
        "Both should be centred on 0 and equally wide.",
    )
    return [Figure(titles[0], notes[0], first.svg), Figure(titles[1], notes[1], second.svg)]


def photometry_figures(matches: Catalog, shape: tuple[int, int], failed: str) -> list[Figure]:
    """Residuals of the zero point against magnitude, colour and position."""
    title = "Zero point residuals"
    if not matches.n_rows:
        return [Figure(title, failed)]
    used = np.asarray(matches["USED"], dtype=bool)
    residual, error = (np.asarray(matches[n], np.float64) for n in ("RESIDUAL", "MAGERR"))
    scatter = 1.4826 * float(np.median(np.abs(residual[used]))) if used.any() else 0.1
    reach = max(6.0 * scatter, 0.02)
    figures = []
    color = np.asarray(matches["COLOR"], np.float64)
    notes = {
        "magnitude": "A slope, or bright stars that lie low, is non-linearity or saturation.",
        "colour": "A slope is a colour term (COLOR_TERM).",
        "position": "Dots: stars of the fit; squares: left out. A pattern is a flat field, "
        "vignetting or clouds (PHOT_DEGREES).",
    }
    for name, values, label in (
        (
            "magnitude",
            np.asarray(matches["MAG_REFERENCE"], np.float64),
            "reference magnitude (mag)",
        ),
        ("colour", color, "colour of the reference star (mag)"),
    ):
        if not np.isfinite(values).any() or np.ptp(values[np.isfinite(values)]) == 0.0:
            text = "No colour of the stars is known to the fit: COLOR_TERM is 0."
            figures.append(Figure(f"{title}: {name}", text))
            continue
        with canvas(label, "residual (mag)") as made:
            for rows, ink, what in ((~used, VERMILION, "left out"), (used, BLUE, "of the fit")):
                shown = _thin(np.flatnonzero(rows))
                if len(shown):
                    made.axes.errorbar(
                        values[shown], np.clip(residual[shown], -reach, reach), error[shown],
                        fmt="x" if what == "left out" else "o", color=ink, ms=3.2, lw=0.5,
                        label=what,
                    )  # fmt: skip
            made.axes.axhline(0.0, color=GREY, lw=0.8)
            made.axes.set_ylim(-1.25 * reach, 1.25 * reach)
            made.axes.set_xlim(*_range(values, 0.3))
            made.axes.legend(loc="upper left", ncols=2)
        figures.append(Figure(f"{title}: {name}", notes[name], made.svg))
    with canvas(colors=True, height=4.0) as made:
        limit = max(3.0 * scatter, 0.01)
        for kind, marker in ((~used, "s"), (used, "o")):
            rows = _thin(np.flatnonzero(kind))
            drawn = made.axes.scatter(
                matches["X_IMAGE"][rows], matches["Y_IMAGE"][rows], c=residual[rows],
                cmap=DIVERGING, vmin=-limit, vmax=limit, s=18, marker=marker, edgecolors=GREY,
                linewidths=0.4,
            )  # fmt: skip
        made.field(shape)
        made.color_bar(drawn, "residual (mag)")
    figures.append(Figure(f"{title}: position", notes["position"], made.svg))
    return figures


def number_counts(mag: F8, limit: float | None, label: str) -> Figure:
    """Count the sources per half magnitude; draw the limiting magnitude."""
    title = "Number counts"
    mag = mag[np.isfinite(mag)]
    if len(mag) < 3:
        return Figure(title, "Fewer than three sources have a magnitude.")
    with canvas(label, "log10 of the sources per 0.5 mag") as made:
        low, high = _range(mag, 0.0)
        edges = np.arange(math.floor(2 * low) / 2, math.ceil(2 * high) / 2 + 0.75, 0.5)
        counts, _ = np.histogram(mag, edges)
        bars, foot = np.log10(np.maximum(counts, 0.5)), math.log10(0.5)
        made.axes.stairs(bars, edges, fill=True, color=BLUE, alpha=0.75, baseline=foot)
        if limit is not None:
            text = f"5σ limit {limit:.2f}"
            made.axes.axvline(limit, color=VERMILION, lw=1.6, ls="--", label=text)
            made.axes.legend(loc="upper left")
    note = (
        "No limiting magnitude is known. " if limit is None else "Line: 5 sigma of a point source. "
    )
    return Figure(title, note + "The counts turn over where the catalogue is no longer complete.",
                  made.svg)  # fmt: skip


def cosmic_rays(hits: tuple[AnyArray, AnyArray], number: Any, shape: tuple[int, int]) -> Figure:
    """Where cosmic rays were repaired.

    Parameters
    ----------
    hits : (x, y)
        FITS pixels.
    number : int or None
        Of cosmic rays.
    """
    title = "Cosmic rays"
    if not len(hits[0]):
        text = "None was looked for." if number is None else f"{number} found."
        return Figure(title, text)
    rows = _thin(np.arange(len(hits[0])))
    with canvas(height=4.0) as made:
        made.axes.scatter(hits[0][rows], hits[1][rows], s=4, c=VERMILION, lw=0)
        made.field(shape)
    counted = "" if number is None else f"{number} cosmic rays. "
    return Figure(
        title, f"{counted}Evenly spread if they are real; on stars, they are not.", made.svg
    )


def _thin(rows: AnyArray, most: int = MOST_POINTS) -> AnyArray:
    return rows if len(rows) <= most else rows[:: math.ceil(len(rows) / most)]


def _range(values: F8, margin: float) -> tuple[float, float]:
    """Return the range of nearly all magnitudes, whatever a few without light have."""
    finite = values[np.isfinite(values)]
    least, low, high, most = np.percentile(finite, (0.3, 3.0, 97.0, 99.7))
    low, high = max(least, low - 3.0), min(most, high + 1.0)
    return float(low) - margin, float(high) + margin + (1e-3 if low == high else 0.0)


def _round(value: float) -> str:
    return f"{value:.2g}"
