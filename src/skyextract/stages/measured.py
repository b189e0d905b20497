"""What measure returns: the sources of an image, and what they were measured with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from skyextract.datamodel.arrays import F4, I8
from skyextract.datamodel.catalog import Catalog
from skyextract.datamodel.exposure import Exposure
from skyextract.datamodel.imageunit import FLUX
from skyextract.record import record
from skyextract.settings.steps import Status
from skyextract.stages.detection.detect import filter_image
from skyextract.stages.detection.withpsf import filter_as_found

if TYPE_CHECKING:
    from skyextract.datamodel.background import BackgroundMap
    from skyextract.datamodel.detections import Detections
    from skyextract.run import Run
    from skyextract.stages.background.planes import Plane
    from skyextract.stages.detection.matched import MatchedFilter
    from skyextract.stages.galaxies.columns import ModelImages


@record
class Measured:
    """Sources of an image, and what they were measured with.

    Attributes
    ----------
    exposure : Exposure
        With the background, the PSF that was used and the aperture corrections.
    sources : Catalog
        NUMBER, FLAGS, FLAGS_SKY and the columns that were wanted.
    detections : Detections
        All detections, also those that ASSOCSELEC_TYPE leaves out of `sources`.
    rows : (n,) int64
        Row in `detections` of each source.
    plane, detection_plane : Plane
        Measurement and detection image; the same in single-image mode.
    threshold, analysis_threshold : float
        Image units.
    taps : (h, w) float32 or None
        Detection filter, if it is a convolution kernel.
    matched : MatchedFilter or None
        Detection filter, if it is the PSF.
    residual : (ny, nx) float32 or None
        Image less background and all fitted point sources.
    models : ModelImages or None
        Images of fitted galaxies, and what they leave.
    seen_twice : str
        Why positions and magnitudes may be those of second images of the stars; empty else.
    about_sky : str
        Why fluxes have a part of the sky in them; empty if they have not.
    metrics : dict
        n_sources; n_saturated, n_flagged, n_ghosts, n_sharp, n_tracks (by their flags); iterations;
        noise_scale (of the filtered image, over that of independent pixels), detection_scale (the
        same as detection has it), sky_share (of pixels with data).
    """

    exposure: Exposure
    sources: Catalog
    detections: Detections
    rows: I8
    plane: Plane
    detection_plane: Plane
    threshold: Annotated[float, FLUX]
    analysis_threshold: Annotated[float, FLUX]
    taps: F4 | None
    matched: MatchedFilter | None
    residual: Annotated[F4 | None, FLUX]
    models: ModelImages | None
    seen_twice: str
    about_sky: str
    metrics: dict[str, float]
    run: Run
    status: Status = Status.COMPLETE
    reason: str = ""

    @property
    def background(self) -> BackgroundMap:
        """Background of the measurement image."""
        return self.plane.background

    @property
    def variance(self) -> F4:
        """Background variance of every pixel of the measurement image."""
        return self.plane.variance_plane(self.run)

    @property
    def shapes(self) -> Catalog:
        """Positions, ellipses, Kron and Petrosian radii and flags of the sources, for drawings."""
        d, rows = self.detections, self.rows
        columns = {
            "X_IMAGE": d.x[rows] + 1.0, "Y_IMAGE": d.y[rows] + 1.0, "A_IMAGE": d.a[rows],
            "B_IMAGE": d.b[rows], "THETA_IMAGE": d.theta[rows], "FLAGS": self.sources["FLAGS"],
        }  # fmt: skip
        radii = ("KRON_RADIUS", "PETRO_RADIUS")
        columns |= {name: self.sources[name] for name in radii if name in self.sources}
        return Catalog(columns)

    def filtered(self) -> F4:
        """Return the detection image as the filter made it (check image FILTERED)."""
        plane = self.detection_plane
        if self.matched is not None:
            given = plane.filter_variance(self.matched.core_radius, self.run)
            variance = plane.variance_plane(self.run) if given is None else given
            return filter_as_found(
                plane.subtracted, self.matched, self.detections, self.run,
                sigma=plane.background.sigma, variance=variance, smooth=given is None,
                bad=plane.holes,
            )  # fmt: skip
        if self.taps is None:
            return plane.subtracted
        return filter_image(plane.subtracted, self.taps, plane.holes, self.run)
