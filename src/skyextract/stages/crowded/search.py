"""Crowded fields: what the fit of all point sources leaves over shows the sources beneath.

Sources are fitted together and subtracted; sky and noise are estimated from what is left, and
peaks in it that are significant, and a share of the models there (the rest of an imperfect PSF
is a small share), join the fit, until none is found.  After Stetson (1987, PASP 99, 191) and
Schlafly et al. (2018, ApJS 234, 39).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from skyextract.datamodel.arrays import F4, I8, Bools
from skyextract.datamodel.flags import Mask
from skyextract.datamodel.noise import median
from skyextract.datamodel.psf import PsfSource
from skyextract.kernels.psf.fit import FROZEN, RUNAWAY
from skyextract.record import record
from skyextract.stages.crowded.cells import are_many, is_crowded
from skyextract.stages.crowded.clouds import CLOUD_CELL, MESHES, above_clouds, has_clouds
from skyextract.stages.crowded.extended import pieces_of_extended
from skyextract.stages.crowded.hidden import Hidden, merged, only
from skyextract.stages.crowded.peaks import least_share, new_peaks
from skyextract.stages.crowded.plateau import beside_flat_tops, beside_saturated
from skyextract.stages.crowded.refine import refined_psf
from skyextract.stages.crowded.rest import (
    SIGNIFICANT,
    LeastFlux,
    filtered_plane,
    filtered_together,
    gain_of_rest,
    nearest_pixel,
    noise_scale,
    significant_sources,
)
from skyextract.stages.crowded.sky import wide_plane, with_fine_meshes, without_models
from skyextract.stages.crowded.smooth import plainly_extended
from skyextract.stages.crowded.sums import sums_of_stars
from skyextract.stages.detection.detect import detection_threshold
from skyextract.stages.detection.matchedwaves import is_wide
from skyextract.stages.detection.noise import in_sigma
from skyextract.stages.pointsources.sweeps import (
    COARSE,
    FittedSources,
    add_models,
    felt_noise,
    point_fit,
)

if TYPE_CHECKING:
    from skyextract.datamodel.detections import Detections
    from skyextract.datamodel.exposure import Exposure
    from skyextract.datamodel.psf import Psf
    from skyextract.run import Run
    from skyextract.settings.keywords import Config
    from skyextract.stages.background.planes import Plane
    from skyextract.stages.detection.matched import MatchedFilter

MIN_NEW = 0.005
"""Passes end when fewer sources than this share are added, less those that are dropped."""
KEPT_SIGNIFICANCE = 0.8
"""Added sources keep at least this part of the detection threshold in the fit."""
FIRST_PASSES = 2
"""Passes in which bright pairs are found that were taken for one star."""
SKY_CELL = 6.0
"""Size of the meshes of the sky among fitted sources, in FWHM: it follows the light of stars that
are too faint or too close to be found, and holds enough pixels for a mode."""
WIDE_STAR = 4.0
"""Meshes of BACK_SIZE that are narrower than this, in FWHM, would follow the stars themselves."""
MIN_SKY_CELL = 16
"""The same in pixels, at least."""
FIRST_SWEEPS = 4
"""Sweeps of the first fit."""
SWEEPS = 2
"""Sweeps after sources were added; the last fit goes on until nothing changes."""
REFINED = 2
"""Passes after which the PSF is refined, once: a second time changes it by its noise, and all is to
be fitted again."""
LAST_SWEEPS = 6
"""Sweeps after which an added source has a place of its own, or none."""


def find_hidden(
    exposure: Exposure,
    plane: Plane,
    found: Detections,
    matched: MatchedFilter,
    config: Config,
    run: Run,
    *,
    within: Bools | None = None,
) -> Hidden | None:
    """Find the sources that hide beneath the detected ones, in at most CROWD_NITER passes.

    None if the field is not crowded.

    Parameters
    ----------
    exposure : Exposure
        With its PSF.
    plane : Plane
        Of the exposure, as it was detected on.
    found : Detections
    matched : MatchedFilter
        The PSF as detection filter.
    within : (ny, nx) bool, optional
        Pixels of the window of a crowded region of a frame, in which sources are searched with the
        PSF of the frame as it is.
    """
    psf = exposure.psf
    if psf is None:
        return None
    clouds = False
    if within is None and not are_many(found, psf.fwhm):
        # Light that runs together is a crowd where no smoother light explains it.
        clouds = has_clouds(found, psf.fwhm)
        if not (clouds or is_crowded(found, psf.fwhm)):
            return None
    hopeless = _beside_saturated(exposure, plane, found, psf.fwhm)
    if within is not None:
        hopeless |= ~within
    fine = _with_fine_sky(config, psf.fwhm)
    if clouds:
        fine = with_fine_meshes(config, CLOUD_CELL * psf.fwhm)
    crowd = _Crowd(exposure, found, matched, fine, clouds, hopeless, run)
    detected = FittedSources.at(found.x, found.y)
    hidden = crowd.fitted(plane, psf, detected, None, FIRST_SWEEPS)
    gain = 0.0  # where none is given
    if not exposure.detector.gain > 0.0:
        gain = gain_of_rest(hidden, plane.variance_plane(run))
        exposure = replace(hidden, gain=gain).with_gain(exposure)
        crowd = replace(crowd, exposure=exposure)
        if gain > 0.0 and within is None:
            run.tell(
                f"{exposure.name}: GAIN, which nothing gives, is {gain:.4g} e- per image unit by "
                "what fits leave of stars: errors of fits have their photons"
            )
    del plane
    keeps_psf = psf.source is not PsfSource.MEASURED or within is not None
    galaxies, n_galaxies = np.zeros(0, np.int64), 0
    for number in range(1, config.extraction.crowd_niter + 1):
        hidden = crowd.on_new_sky(hidden)
        peaks = crowd.peaks(hidden, galaxies, splits=number <= FIRST_PASSES)
        hidden, n_growth, n_all = crowd.with_peaks(hidden, peaks, number)
        if number == 1 and not clouds:
            least = peaks.least.flux
            torn, galaxies, n_galaxies = plainly_extended(exposure, hidden, found, least, run)
            hidden = only(hidden, ~torn, found.n, in_place=True)
            hopeless.ravel()[galaxies] = True
        before = hidden.psf
        if number <= REFINED and before is psf and not keeps_psf:
            hidden = _with_psf(hidden, refined_psf(hidden, exposure, run))
        if hidden.psf is before and n_growth < max(1.0, MIN_NEW * n_all):
            break
    significant = peaks.least.times(SIGNIFICANT)
    hidden = crowd.verified(hidden, significant, n_galaxies)
    hidden = replace(hidden, noise_scale=median(peaks.least.scale), least_share=peaks.share)
    if within is not None:
        return hidden
    hidden = replace(hidden, gain=gain)
    hidden = replace(hidden, wide=wide_plane(exposure, hidden, found, config, run))
    if clouds:
        hidden = above_clouds(exposure, hidden, significant, crowd.fitted, matched, run)
    return hidden


@record
class _Peaks:
    """Peaks in what the models leave: where sources hide.

    Attributes
    ----------
    x, y : (n,) int64
    least : LeastFlux
        At the detection threshold.
    share : float
        Of the models there, at least.
    """

    x: I8
    y: I8
    least: LeastFlux
    share: float


@record
class _Crowd:
    """What all passes of a crowded field have in common.

    Attributes
    ----------
    exposure : Exposure
    found : Detections
    matched : MatchedFilter
        The PSF as detection filter.
    config : Config
        With meshes of the background that follow what is not resolved.
    clouds : bool
        The light that runs together is of clouds.
    hopeless : (ny, nx) bool
        Where nothing can be found; changed in place.
    run : Run
    """

    exposure: Exposure
    found: Detections
    matched: MatchedFilter
    config: Config
    clouds: bool
    hopeless: Bools
    run: Run

    def fitted(
        self, plane: Plane, psf: Psf, sources: FittedSources, models: F4 | None, sweeps: int
    ) -> Hidden:
        """Fit all sources together, in so many sweeps, from the models of earlier fits on."""
        exposure, run = self.exposure, self.run
        fit = point_fit(
            plane.subtracted, plane.variance_plane(run), exposure.detector.gain, exposure.mask, psf,
            sources, models, COARSE, run,
        )  # fmt: skip
        sources = fit.sweep(sources, sweeps, run)
        residual = fit.planes.residual
        return Hidden(sources, np.subtract(plane.subtracted, residual, out=residual), plane, psf)

    def on_new_sky(self, hidden: Hidden) -> Hidden:
        """Return the sources on the sky of what their models leave."""
        plane = without_models(
            self.exposure, hidden.plane, hidden.models, self.config, self.run,
            rounds=MESHES if self.clouds else 1,
        )  # fmt: skip
        return replace(hidden, plane=plane) if self.clouds else _on_plane(hidden, plane)

    def peaks(self, hidden: Hidden, galaxies: I8, *, splits: bool) -> _Peaks:
        """Return the peaks that are significant, and a share of the models there.

        Parameters
        ----------
        galaxies : (k,) int64
            Pixels of galaxies, whose light is none of the noise.
        splits : bool
            Bright stars may be pairs.
        """
        plane, matched, run = hidden.plane, self.matched, self.run
        residual = hidden.residual
        model = None
        if is_wide(matched.cells):
            filtered, model = filtered_together(plane, (residual, hidden.models), matched, run)
        else:  # one plane less at a time
            filtered = filtered_plane(plane, residual, matched, run)
        sigma = plane.background.sigma
        unit = matched.unit(sigma)
        scale = noise_scale(
            filtered, residual, plane, unit, matched, galaxies, run,
            about=hidden.psf.fwhm if self.clouds else 0.0,
        )  # fmt: skip
        del residual
        if model is None:
            model = filtered_plane(plane, hidden.models, matched, run)
        in_sigma(filtered, scale, run)
        in_sigma(model, scale, run)
        threshold = detection_threshold(self.config.extraction, unit)
        gain = self.exposure.detector.gain
        photon_noise = 1.0 / (gain * sigma**2) if gain > 0.0 else 0.0
        share = least_share(filtered, model, self.hopeless, threshold)
        x, y = new_peaks(
            filtered, model, scale, hidden, self.hopeless, threshold, share, photon_noise, run,
            splits=splits,
        )  # fmt: skip
        least = LeastFlux(threshold / matched.square, scale, self.exposure.shape)
        return _Peaks(x, y, least, share)

    def with_peaks(self, hidden: Hidden, peaks: _Peaks, number: int) -> tuple[Hidden, int, int]:
        """Fit all sources with the new ones, and drop added ones that are not significant.

        Parameters
        ----------
        number : int
            Of the pass, for the message.

        Returns
        -------
        hidden : Hidden
        n_growth : int
            Added sources, less those that are dropped.
        n_all : int
            Sources that were fitted.
        """
        new = FittedSources.at(peaks.x.astype(np.float64), peaks.y.astype(np.float64))
        sources = hidden.sources.append(new)
        hidden = self.fitted(hidden.plane, hidden.psf, sources, hidden.models, SWEEPS)
        kept = _kept(hidden, self.found.n, peaks.least.times(KEPT_SIGNIFICANCE))
        added, dropped = peaks.x.size, int((~kept).sum())
        self.run.info(
            f"crowded field, pass {number}: {added} sources beneath others, "
            f"{dropped} dropped, noise {hidden.plane.background.sigma:.4g} x "
            f"{median(peaks.least.scale):.2f}"
        )
        return only(hidden, kept, self.found.n, in_place=True), added - dropped, kept.size

    def verified(self, hidden: Hidden, least: LeastFlux, n_galaxies: int) -> Hidden:
        """Drop added sources that what is left disproves, and fit the others again.

        The plane of the models is changed.

        Parameters
        ----------
        least : LeastFlux
            Where nothing but noise is left.
        n_galaxies : int
            Detections that are known to be galaxies.
        """
        exposure, found, run, plane = self.exposure, self.found, self.run, hidden.plane
        clear = significant_sources(hidden, found.n, least, self.matched, run)
        hidden = only(hidden, clear, found.n, in_place=True)
        hidden = self.fitted(plane, hidden.psf, hidden.sources, hidden.models, SWEEPS)
        torn, whole = pieces_of_extended(exposure, hidden, found, run, n_galaxies=n_galaxies)
        hidden = only(hidden, ~torn, found.n, in_place=True)
        whole = whole[~torn]
        sources = hidden.sources.all_stale()
        hidden = self.fitted(plane, hidden.psf, sources, hidden.models, LAST_SWEEPS)
        placed = (hidden.sources.status & FROZEN) == 0
        placed &= ~merged(hidden)
        placed[: found.n] = True
        faint, bright, fainter = sums_of_stars(exposure, hidden, found.n, least, run)
        faint &= ~whole
        bright &= ~whole
        kept = placed & ~faint
        run.info(
            f"crowded field: {int((~clear).sum())} sources lost in what is left about them, "
            f"{int(torn.sum())} pieces of extended sources, {int((~placed).sum())} without a place "
            f"of their own, {int((placed & faint).sum())} too broad for a star dropped, "
            f"{int((kept & bright).sum())} that are sums of several fitted, but no rows"
        )
        faded, extended = np.flatnonzero(bright[kept]), np.flatnonzero(whole[kept])
        kept_of = only(hidden, kept, found.n, in_place=True)
        return replace(kept_of, faded=faded, extended=extended, fainter=fainter[kept])


def _on_plane(hidden: Hidden, plane: Plane) -> Hidden:
    """Return the sources on another sky, those that feel the difference to be fitted again.

    Not for meshes that are about as small as stars, as those of clouds: they take of their light
    what fits leave, and fits that followed them would leave ever more.
    """
    row, column = nearest_pixel(hidden.x, hidden.y, plane.subtracted.shape)
    change = np.abs(plane.subtracted[row, column] - hidden.plane.subtracted[row, column])
    limit = COARSE.min_change * felt_noise(plane.background.sigma, hidden.psf.fwhm)
    stale = np.where(change > limit, np.uint8(1), hidden.sources.stale)
    return replace(hidden, plane=plane, sources=replace(hidden.sources, stale=stale))


def _with_psf(hidden: Hidden, psf: Psf) -> Hidden:
    """Return the sources with the models of another PSF, to be fitted again."""
    if psf is hidden.psf:
        return hidden
    models = np.zeros_like(hidden.models)
    add_models(models, psf, hidden.sources, 1.0)
    return replace(hidden, psf=psf, models=models, sources=hidden.sources.all_stale())


def _with_fine_sky(config: Config, fwhm: float) -> Config:
    """Return the configuration with meshes of the background that follow what is not resolved."""
    cell = max(MIN_SKY_CELL, round(SKY_CELL * fwhm))
    wide = WIDE_STAR * fwhm
    sizes = tuple(min(size, cell) if size > wide else cell for size in config.background.back_size)
    return replace(config, background=replace(config.background, back_size=sizes))


def _kept(hidden: Hidden, n_detected: int, least: LeastFlux) -> Bools:
    """Tell which sources stay: the detected ones, and added ones that are significant and alone.

    An added source nearer than MIN_SEPARATION to a brighter one has moved onto that.
    """
    x, y, shape = hidden.x, hidden.y, hidden.models.shape
    kept: Bools = (hidden.flux >= least.at(x, y)) & ~merged(hidden)
    kept &= (hidden.sources.status & RUNAWAY) == 0
    kept &= (x > -0.5) & (x < shape[1] - 0.5) & (y > -0.5) & (y < shape[0] - 0.5)
    kept[:n_detected] = True
    return kept


def _beside_saturated(exposure: Exposure, plane: Plane, found: Detections, fwhm: float) -> Bools:
    """Mark what is beside saturated pixels, which the PSF does not describe."""
    marked: Bools = (exposure.mask & np.uint16(Mask.SAT)) != 0
    marked.ravel()[beside_saturated(found, marked.ravel()[found.pixel], fwhm, marked.shape[1])] = (
        True
    )
    marked.ravel()[beside_flat_tops(found, plane.subtracted, fwhm)] = True
    return marked
