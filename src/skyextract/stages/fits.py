"""Fits: the PSF, then models of galaxies, fitted to all sources."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from skyextract.columns.families import MODEL
from skyextract.columns.request import PSF_COLUMNS
from skyextract.columns.table import COLUMNS
from skyextract.datamodel.arrays import F4, F8, I8, Bools
from skyextract.datamodel.catalog import Catalog
from skyextract.datamodel.exposure import Exposure
from skyextract.datamodel.flags import FlagsSky
from skyextract.datamodel.psf import PsfSource
from skyextract.record import record
from skyextract.stages.detection.singlepixels import are_single_pixels
from skyextract.stages.find import Found
from skyextract.stages.measurement.flags import with_flags, with_light_beneath
from skyextract.stages.noise import point_source_variance

if TYPE_CHECKING:
    from skyextract.datamodel.detections import Detections
    from skyextract.datamodel.noise import NoiseCorrelation
    from skyextract.datamodel.psf import Psf
    from skyextract.run import Run
    from skyextract.settings.keywords import Config
    from skyextract.stages.background.planes import Plane
    from skyextract.stages.crowded.hidden import Hidden
    from skyextract.stages.galaxies.columns import Galaxies, ModelImages
    from skyextract.stages.pointsources.columns import PointSources


OFF_PEAK = 0.8
"""Distance of a barycentre from the peak of its detection, in FWHM, from which fits of the PSF
begin there."""


@record
class Wanted:
    """What is fitted to the sources, and whether sources are searched beneath others.

    Attributes
    ----------
    columns : frozenset of str
        Base columns.
    uses_psf : bool
        Something needs a PSF: the fits or the detection filter.
    """

    columns: frozenset[str]
    psf: bool
    galaxies: bool
    searches: bool
    uses_psf: bool

    @classmethod
    def of(
        cls, columns: frozenset[str], exposure: Exposure, config: Config, *, is_dual: bool
    ) -> Wanted:
        """Return what the columns need."""
        galaxies = any(name in COLUMNS and COLUMNS[name].stage == MODEL for name in columns)
        # Models take the aperture corrections, which come of fits of the PSF to its stars.
        corrects = exposure.aperture_corrections is None and _has_stars(exposure, config)
        psf = bool(columns & PSF_COLUMNS) or (galaxies and corrects)
        # What an assumed PSF leaves over is no star, nor is what a denoising program does.
        is_known = exposure.has_psf and not exposure.denoised
        searches = is_known and psf and not is_dual and config.extraction.crowd_niter > 0
        uses_psf = config.extraction.filters_by_psf or psf or galaxies
        return cls(columns, psf, galaxies, searches, uses_psf)


@record
class Fitted:
    """The sources with the columns of fits, and the exposure with what was learnt of it.

    Attributes
    ----------
    lost : (k,) int64
        Sources that are none: light of those that they were found beneath, or beside.
    residual : (ny, nx) float32 or None
        Image without the fitted point sources, where it is kept.
    models : ModelImages or None
        Images of the galaxies' models.
    """

    sources: Catalog
    exposure: Exposure
    lost: I8
    residual: F4 | None = None
    models: ModelImages | None = None


@record
class SourceFits:
    """Fits of the PSF and of galaxies to all sources.

    Attributes
    ----------
    hidden : Hidden or None
        In a crowd the fits go on where the search for sources ended.
    detection : Exposure or None
        In dual-image mode.
    correlation : NoiseCorrelation or None
        Of the noise, which errors of point sources know.
    keep_image : bool
        The residual is wanted; else its plane is room to work in.
    """

    exposure: Exposure
    found: Found
    hidden: Hidden | None
    detection: Exposure | None
    correlation: NoiseCorrelation | None
    config: Config
    wanted: Wanted
    run: Run
    keep_image: bool

    def fit(self, sources: Catalog, errors: F8 | None) -> Fitted:
        """Fit what is wanted; `errors` as `with_errors_of_apertures` gives them."""
        exposure, hidden = self.exposure, self.hidden
        seen = exposure if hidden is None else hidden.with_gain(exposure)
        residual = spare = models = None
        lost = np.zeros(0, np.int64)
        if self.wanted.psf:
            points = self._points(seen, sources, errors)
            residual, spare = points.residual, None
            if not self.keep_image:
                residual, spare = None, points.residual
            sources = self._with_points(seen, sources, points, spare)
            exposure = replace(exposure, aperture_corrections=points.corrections)
            seen = replace(seen, aperture_corrections=points.corrections)
        if hidden is not None:
            from skyextract.stages.crowded.dropped import Dropped

            dropped = Dropped.of(sources, self.found.detections, hidden)
            sources, lost = dropped.flagged(sources), dropped.lost
        if self.wanted.galaxies:
            galaxies = self._galaxies(seen, sources, lost, spare)
            sources, models = sources.with_columns(**galaxies.columns), galaxies.images
        return Fitted(sources, exposure, lost, residual, models)

    def _points(self, exposure: Exposure, sources: Catalog, errors: F8 | None) -> PointSources:
        """Fit the PSF to all sources."""
        from skyextract.stages.pointsources.columns import measure_point_sources
        from skyextract.stages.pointsources.sweeps import CROWDED, FINE, FORCED
        from skyextract.stages.psf.pixelphase import PSF_POSITIONS, is_undersampled

        found, hidden, columns = self.found, self.hidden, self.wanted.columns
        plane, x, y, start, sky = found.plane, found.detections.x, found.detections.y, None, None
        above = None
        if hidden is not None:
            plane, x, y, sky = hidden.plane, hidden.x, hidden.y, hidden.sky
            start = None if hidden.is_of_companions else (hidden.sources, hidden.models)
            # They tell which hidden sources are significant, and make the errors of crowds.
            columns |= {"FLUX_PSF", "FLUXERR_PSF"}
            if sky is not None:
                columns |= {"SPREAD_MODEL", "SPREADERR_MODEL"}  # knots from stars
            # They were measured on what the fits of a crowd leave, which is above its sky.
            above = (sources["FLAGS_SKY"] & np.int16(FlagsSky.HIDDEN)) != 0
        if start is None:
            x, y = _at_peaks(found.detections, x, y, exposure.psf)
        if is_undersampled(exposure):
            columns |= PSF_POSITIONS | {"FLUX_PSF", "FLUXERR_PSF"}
        apertures = None
        if errors is not None:
            apertures = (sources["FLUX_APER"], sources["FLUXERR_APER"], errors)
        accuracy = CROWDED if hidden is not None and hidden.local is None else FINE
        if self.detection is not None and self.detection.image is not exposure.image:
            accuracy = FORCED
        return measure_point_sources(
            exposure, plane.subtracted, self._variance(plane), x, y, apertures, self.config,
            columns, self.run, start=start, sky=sky, above=above,
            accuracy=accuracy, per_variance=self._per_variance(plane),
        )  # fmt: skip

    def _with_points(
        self, exposure: Exposure, sources: Catalog, points: PointSources, spare: F4 | None
    ) -> Catalog:
        """Return the sources with the columns and flags of fits of the PSF."""
        from skyextract.stages.psf.pixelphase import is_undersampled, with_pixel_phase

        hidden, matched = self.hidden, self.found.matched
        sources = with_flags(sources.with_columns(**points.columns), points.flags)
        sources = with_light_beneath(sources, self.found.detections, points.beneath)
        if is_undersampled(exposure) and self.config.extraction.noise_type == "MEASURED":
            sources = with_pixel_phase(sources, self.run)
        if hidden is None or matched is None:
            return sources
        from skyextract.stages.crowded.errors import with_errors_of_crowds
        from skyextract.stages.crowded.knots import knots_of_clouds

        noise2, gain, run = self._variance(hidden.plane), exposure.detector.gain, self.run
        sources = with_errors_of_crowds(sources, hidden, noise2, gain, matched, run, spare=spare)
        return with_flags(sources, knots_of_clouds(sources, hidden, matched, run))

    def _galaxies(
        self, exposure: Exposure, sources: Catalog, lost: I8, spare: F4 | None
    ) -> Galaxies:
        """Fit models of galaxies to all sources but those that are `lost`."""
        from skyextract.stages.galaxies.beneath import Beneath
        from skyextract.stages.galaxies.columns import Images, measure_galaxies

        beneath = None
        if self.hidden is not None:
            points = (sources["FLAGS_SKY"] & np.int16(FlagsSky.HIDDEN)) != 0
            beneath = Beneath(points, np.isin(np.arange(points.size), lost))

        plane, detected = self.found.plane, self.found.detection_plane
        images = Images(
            exposure, plane, self._variance(plane), self.detection, detected, spare,
            self._per_variance(plane),
        )  # fmt: skip
        return measure_galaxies(
            images, self.found.detections, self.config, self.wanted.columns, self.run, beneath
        )

    def _variance(self, plane: Plane) -> F4:
        return point_source_variance(plane, self.correlation, self.run)

    def _per_variance(self, plane: Plane) -> float:
        """Return 1 / variance, as fits have it, of the pixels whose gain is GAIN; 0: of all."""
        factor = 1.0 if self.correlation is None else self.correlation.point_source
        return plane.per_variance / factor


def _at_peaks(found: Detections, x: F8, y: F8, psf: Psf | None) -> tuple[F8, F8]:
    """Return where fits begin: detections far from their barycentre at their peaks.

    Of a star beside a galaxy in one detection that lies between them, where fits of the PSF end
    without a place.

    Parameters
    ----------
    x, y : (n,) float64
        Of all sources, 0-based pixels; those that were found beneath others stay where they are.
    """
    if psf is None:
        return x, y
    far = np.hypot(found.xpeak - x, found.ypeak - y) > OFF_PEAK * psf.fwhm
    far[found.n_drawn :] = False
    return np.where(far, found.xpeak, x), np.where(far, found.ypeak, y)


def _has_stars(exposure: Exposure, config: Config) -> bool:
    """Tell whether stars of the PSF are known, or looked for, as are those of a file's."""
    if exposure.psf_stars is not None:
        return True
    from_file = exposure.psf is not None and exposure.psf.source is PsfSource.FILE
    unseen = exposure.background is None and config.extraction.noise_type == "MEASURED"
    return from_file and unseen


def compared(exposure: Exposure, found: Found, config: Config, run: Run) -> tuple[Exposure, str]:
    """Compare a PSF of a file with the stars; return what is wrong with it, too."""
    if exposure.psf is None or exposure.psf.source is not PsfSource.FILE:
        return exposure, ""
    from skyextract.stages.psf.given import with_compared_stars

    return with_compared_stars(exposure, found.plane, config, run)


def with_psf_flags(
    sources: Catalog, exposure: Exposure, found: Found, run: Run, *, uses_psf: bool,
    is_doubtful: bool,
) -> Catalog:  # fmt: skip
    """Flag all where the PSF is a default, and what is sharper than a good PSF can be."""
    psf, plane, d = exposure.psf, found.plane, found.detections
    if psf is None:
        return sources
    if uses_psf and psf.source is PsfSource.DEFAULT:
        return with_flags(sources, FlagsSky.DEFAULT_PSF)
    # Single photons are single pixels, too.
    if psf.source is PsfSource.DEFAULT or is_doubtful or plane.background.skewness is not None:
        return sources
    bad, sigma = plane.bad, plane.background.sigma

    def part(span: tuple[int, int]) -> Bools:
        some = slice(*span)
        return are_single_pixels(plane.subtracted, bad, sigma, psf, d.x[some], d.y[some])

    single = np.concatenate(run.map(part, run.bands(d.n)))
    return with_flags(sources, single * np.int32(FlagsSky.SHARP))
