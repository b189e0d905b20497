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
    thinned,
    value_range,
)

if TYPE_CHECKING:
    from skyextract.datamodel.background import BackgroundMap
    from skyextract.datamodel.psf import Psf

LEAST_LEFT, MOST_LEFT = 0.005, 0.1
"""Limits of the scale of what the fit leaves of stars, in units of their peak."""


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
    with canvas(height=4.0) as second:
        size = np.hypot(whisker[..., 0], whisker[..., 1])
        gx, gy = np.meshgrid(xs + 1.0, ys + 1.0)
        strongest = max(float(np.nanmax(size)) if np.isfinite(size).any() else 0.0, 0.1)
        drawn = second.axes.quiver(
            gx, gy, whisker[..., 0], whisker[..., 1], pivot="mid", headwidth=0, headlength=0,
            headaxislength=0, color=BLUE, width=0.012, angles="xy", scale_units="xy",
            scale=strongest * n / (0.8 * min(nx, ny)) if n > 1 else strongest * 4 / min(nx, ny),
        )  # fmt: skip
        second.field(shape)
        second.key(drawn, strongest, f"{strongest:.2g}")
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
            "Each line lies along the long axis of the PSF there, its length is the ellipticity, "
            f"1 − b/a; at the centre {psf.ellipticity:.3f}. All parallel and long: tracking, wind.",
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
    reach = _reach(below[1:])
    tiles = 5
    border = np.full((side, 1), np.nan)
    with canvas(height=2.6) as made:
        made.axes.remove()
        for row, stamps, colors, limits in (
            (0, above, SEQUENTIAL, (-1.0, 4.6)), (1, below, DIVERGING, (-reach, reach)),
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
        f"it. Below: after the fit, from −{100.0 * reach:.2g} to +{100.0 * reach:.2g} % of the "
        "star's peak (orange below, violet above)."
    )
    return Figure(title, note, made.svg)


def _reach(left: list[F8]) -> float:
    """Return the scale of residuals, by what is there: a good PSF's are a percent of the peak."""
    if not left:
        return MOST_LEFT
    return float(np.clip(np.percentile(np.abs(left), 99.0), LEAST_LEFT, MOST_LEFT))


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


def background_maps(background: BackgroundMap | None, unit: str) -> list[Figure]:
    """Draw the sky and its noise over the frame.

    Parameters
    ----------
    unit : str
        Of the pixels.
    """
    titles = ("Background", "Background rms")
    if background is None:
        return [Figure(titles[0], "No background was measured.")]
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
            made.color_bar(drawn, f"{title.lower()} ({unit})")
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
            shown = thinned(np.flatnonzero(rows))
            if len(shown):
                made.axes.scatter(mag[shown], size[shown], s=area, c=color, label=label, lw=0)
        low, high = np.percentile(size[good], (0.5, 97.0))
        made.axes.set_ylim(0.5 * low, 1.3 * high)
        made.axes.set_xlim(*value_range(mag[good], 0.5))
        made.axes.legend(loc="upper left")
    note = "Stars have one size at all magnitudes: the band that the PSF stars are taken from."
    return Figure(title, note, made.svg)


def number_counts(mag: F8, limit: float | None, label: str) -> Figure:
    """Count the sources per half magnitude; draw the limiting magnitude."""
    title = "Number counts"
    mag = mag[np.isfinite(mag)]
    if len(mag) < 3:
        return Figure(title, "Fewer than three sources have a magnitude.")
    with canvas(label, "sources per 0.5 mag") as made:
        low, high = value_range(mag, 0.0)
        edges = np.arange(math.floor(2 * low) / 2, math.ceil(2 * high) / 2 + 0.75, 0.5)
        counts, _ = np.histogram(mag, edges)
        made.axes.set_yscale("log")
        made.axes.minorticks_off()
        made.axes.yaxis.set_major_formatter("{x:g}")
        made.axes.set_ylim(0.5, 2.0 * float(counts.max()))
        made.axes.stairs(counts, edges, fill=True, color=BLUE, alpha=0.75, baseline=0.5)
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
    rows = thinned(np.arange(len(hits[0])))
    with canvas(height=4.0) as made:
        made.axes.scatter(hits[0][rows], hits[1][rows], s=4, c=VERMILION, lw=0)
        made.field(shape)
    counted = "" if number is None else f"{number} cosmic rays. "
    return Figure(
        title, f"{counted}Evenly spread if they are real; on stars, they are not.", made.svg
    )
