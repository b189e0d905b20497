"""Sources of a crowd: detected ones, those found beneath them, and what their models leave."""

from __future__ import annotations

from dataclasses import field, replace
from typing import TYPE_CHECKING

import numpy as np

from skyextract.datamodel.arrays import F4, F8, I8, Bools
from skyextract.record import record
from skyextract.stages.crowded.rest import disc_offsets, nearest_pixel
from skyextract.stages.pointsources.pairs import pairs_within
from skyextract.stages.pointsources.sweeps import FittedSources, add_models

if TYPE_CHECKING:
    from skyextract.datamodel.exposure import Exposure
    from skyextract.datamodel.psf import Psf
    from skyextract.stages.background.planes import Plane
    from skyextract.stages.pointsources.localsky import LocalSky

MIN_SEPARATION = 0.5
"""Sources nearer to each other than this, in FWHM, are one."""
MAX_SHARE = 0.2
"""What is left is no error of the models there from this share of them on (Schlafly et al. 2018:
0.2 to 0.3)."""
BESIDE = 3.0
"""Sources that are dropped are felt by those within this distance, in FWHM: two fit regions."""
N_PAINTED = 2048
"""Discs that are painted together."""


@record
class Hidden:
    """Sources that were found beneath others.

    Attributes
    ----------
    sources : FittedSources
        All sources, those of the detections first; those beside dropped ones are to be fitted.
    models : (ny, nx) float32
        Of all sources; (0, 0) where there is no crowd.
    plane : Plane
        With the background of the residual image, in meshes that follow unresolved light.
    psf : Psf
        With the wings that remain where the neighbours of its stars are subtracted.
    wide : Plane or None
        The same with the background of meshes of BACK_SIZE, at the end.
    faded : (k,) int64
        Sources that are fitted, but no rows: sums of stars, and what is not significant against the
        clouds about it.
    extended : (k,) int64
        Added sources that stand for galaxies, by profiles that describe them.
    fainter : (n, 2) float64 or None
        Share of the light of each source that is that of fainter stars, by its width and by how
        dense the stars about it are; None: of none.
    sky : LocalSky or None
        Light of clouds that `wide` has and `plane` has not, at the end.
    least_snr : float
        Of what is significant upon these clouds, by the errors that it has in the end.
    noise_scale : float
        Noise of the filtered image over that of independent pixels, in the last pass.
    least_share : float
        Of the models, of what was added in the last pass, where it stands.
    local : (n,) bool or None
        Sources of the crowded regions of a frame that is not crowded; None: the frame is.
    gain : float
        Electrons per image unit by what fits leave, where nothing else gives it; 0: not looked for.
    """

    sources: FittedSources
    models: F4
    plane: Plane
    psf: Psf
    wide: Plane | None = None
    faded: I8 = field(default_factory=lambda: np.zeros(0, np.int64))
    extended: I8 = field(default_factory=lambda: np.zeros(0, np.int64))
    fainter: F8 | None = None
    sky: LocalSky | None = None
    least_snr: float = 0.0
    noise_scale: float = 1.0
    least_share: float = MAX_SHARE
    local: Bools | None = None
    gain: float = 0.0

    def with_gain(self, exposure: Exposure) -> Exposure:
        """Return the exposure with the gain that nothing else gives, if it was found."""
        if not self.gain > 0.0:
            return exposure
        return replace(exposure, detector=replace(exposure.detector, gain=self.gain))

    @property
    def x(self) -> F8:
        """0-based pixels."""
        return self.sources.parameters[:, 1]

    @property
    def y(self) -> F8:
        """0-based pixels."""
        return self.sources.parameters[:, 2]

    @property
    def flux(self) -> F8:
        """Fluxes; 0 where there is no fit."""
        return np.nan_to_num(self.sources.parameters[:, 0])

    @property
    def is_of_companions(self) -> bool:
        """Whether none of the sources is in a crowd."""
        return self.local is not None and not self.local.any()

    @property
    def residual(self) -> F4:
        """What the models leave of the image."""
        return self.plane.subtracted - self.models


def only(hidden: Hidden, kept: Bools, n_detected: int, *, in_place: bool = False) -> Hidden:
    """Return some of the sources; the light of the others is for those beside them to fit.

    Parameters
    ----------
    n_detected : int
        The first ones are those of the detections, in their order, and stay all.
    in_place : bool
        The plane of the models is changed.
    """
    kept = kept | (np.arange(kept.size) < n_detected)
    gone, sources = hidden.sources.take(~kept), hidden.sources.take(kept)
    models = hidden.models if in_place else hidden.models.copy()
    add_models(models, hidden.psf, gone, -1.0)
    row, column = nearest_pixel(hidden.x, hidden.y, models.shape)
    beside = near(
        hidden.x[~kept], hidden.y[~kept], column[kept], row[kept], BESIDE * hidden.psf.fwhm,
        models.shape,
    )  # fmt: skip
    stale = np.where(beside, np.uint8(1), sources.stale)
    return replace(hidden, sources=replace(sources, stale=stale), models=models)


def near(x: F8, y: F8, peak_x: I8, peak_y: I8, radius: float, shape: tuple[int, ...]) -> Bools:
    """Tell which peaks are within `radius` pixels of a source."""
    taken = np.zeros(shape, np.bool_)
    row, column = nearest_pixel(x, y, shape)
    dy, dx = disc_offsets(radius).T
    for first in range(0, row.size, N_PAINTED):
        some = slice(first, first + N_PAINTED)
        rows = np.clip(row[some, None] + dy, 0, shape[0] - 1)
        taken[rows, np.clip(column[some, None] + dx, 0, shape[1] - 1)] = True
    return taken[peak_y, peak_x]


def merged(hidden: Hidden) -> Bools:
    """Tell which sources are nearer than MIN_SEPARATION to a brighter one."""
    flux = hidden.flux
    first, second = pairs_within(hidden.x, hidden.y, MIN_SEPARATION * hidden.psf.fwhm)
    fainter = np.where(flux[first] < flux[second], first, second)
    mark = np.zeros(flux.size, np.bool_)
    mark[fainter[flux[first] != flux[second]]] = True
    return mark
