"""Fitted models drawn into an image, and their brightness measured on another one."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from skyextract.kernels.galaxies.fit import LEFT_OUT, STALE, Places, largest_box, local_psf
from skyextract.kernels.galaxies.pixels import Pixels, add_model, gather, noise_in
from skyextract.kernels.galaxies.points import arrange_points, grid_of
from skyextract.kernels.galaxies.source import (
    N_PARAMETERS,
    X,
    Y,
    choose_groups,
    draw_pixels,
    work_space,
)
from skyextract.kernels.jit import kernel

if TYPE_CHECKING:
    from skyextract.datamodel.arrays import F8, I8, U1


@kernel
def add_models(
    members: I8, places: Places, pixels: Pixels, parameters: F8, keep: F8, sign: float
) -> None:
    """Add `sign` times models to ``pixels.residual``, within their boxes.

    Parameters
    ----------
    members : (m,) int64
        Sources; no box of another call at the same time may overlap theirs.
    parameters : (n, N_PARAMETERS) float64
        Of all sources; their sky is not drawn.
    keep : (N_PARAMETERS,) float64
        Factor of each parameter: 0 leaves out a flux.
    """
    n_psf, stamp = places.gaussians.shape[1], places.stamps.shape[1]
    work = work_space(largest_box(members, places), 0, 1, n_psf, stamp)
    own, none = np.empty(N_PARAMETERS), np.empty(0, np.int64)
    for at in range(members.size):
        i = members[at]
        for p in range(N_PARAMETERS):
            own[p] = parameters[i, p] * keep[p]
        psf = local_psf(places, at, i, work)
        box = places.boxes[i]
        grid = grid_of(box, 1)
        faintest = noise_in(pixels, box) * LEFT_OUT
        choose_groups(own, none, psf, faintest, work)
        draw_pixels(own, psf, grid, faintest, work)
        add_model(pixels, grid, sign, work.pixels)


@kernel
def visit_scales(
    members: I8, places: Places, pixels: Pixels, parameters: F8, sky: F8,
    scales: F8, chi2: F8, changed: U1,
) -> None:  # fmt: skip
    """Fit the brightness of models of given shape; all of them are out of the residual.

    Parameters
    ----------
    members : (m,) int64
        Sources whose boxes do not overlap.
    parameters : (n, N_PARAMETERS) float64
        Of the models; with fluxes times the scale they are out of the residual.
    sky : (2, n) float64
        Level below each source, which is in the residual, and its error.
    scales : (n, 2) float64
        Factor of the fluxes, changed, and its error, written.
    chi2 : (n,) float64
        Reduced chi2, written.
    changed : (n,) uint8
        Set to 1 where a scale changed by more than a tenth of its error.
    """
    side = largest_box(members, places)
    n_psf, stamp = places.gaussians.shape[1], places.stamps.shape[1]
    work = work_space(side, side * side, 1, n_psf, stamp)
    light_of, none = work.pixels, np.empty(0, np.int64)
    for at in range(members.size):
        i = members[at]
        own, box = parameters[i], places.boxes[i]
        psf = local_psf(places, at, i, work)
        grid = grid_of(box, 1)
        faintest = noise_in(pixels, box) * LEFT_OUT
        choose_groups(own, none, psf, faintest, work)
        draw_pixels(own, psf, grid, faintest, work)
        n = arrange_points(box, own[X], own[Y], 1, math.inf, work.parts)
        before = scales[i, 0] if math.isfinite(scales[i, 0]) else 0.0
        add_model(pixels, grid, before, light_of)
        scale, error, good = before, math.nan, 0
        # the second time with the photon noise of what was found the first time
        for _ in range(2):
            for k in range(n):
                work.own[k] = scale * light_of[k]
            good = gather(pixels, grid, sky[0, i], work)
            light, square, level = 0.0, 0.0, 0.0
            for k in range(n):
                weighted = float(work.weight[k]) * light_of[k]
                light += weighted * work.data[k]
                level += weighted
                square += weighted * light_of[k]
            if not square > 0.0:
                break
            unit = 1.0 / math.sqrt(square)
            scale, error = light / square, unit * math.hypot(1.0, sky[1, i] * level * unit)
        if not error > 0.0:
            scales[i, 0], scales[i, 1], chi2[i] = math.nan, math.nan, math.nan
            continue
        total = 0.0
        for k in range(n):
            total += work.weight[k] * (work.data[k] - scale * light_of[k]) ** 2
        scales[i, 0], scales[i, 1] = scale, error
        chi2[i] = total / max(good - 1, 1)
        add_model(pixels, grid, -scale, light_of)
        if abs(scale - before) > STALE * error:
            changed[i] = 1
