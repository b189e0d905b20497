"""Columns of fitted models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import numpy as np

from skyextract.columns.families import MODEL
from skyextract.columns.table import COLUMNS
from skyextract.datamodel.arrays import F4, F8, AnyArray
from skyextract.datamodel.imageunit import FLUX
from skyextract.kernels.galaxies.source import DISK, POINT, SPHEROID, X, Y
from skyextract.record import record
from skyextract.stages.galaxies.fit import ModelFits, Profile, fit_models
from skyextract.stages.galaxies.quantities import (
    COMPONENTS,
    error_name,
    parameters_of,
    second_moments,
    slopes_of,
    surface_brightness,
    total_flux,
    total_surface_brightness,
    unresolved_share,
)
from skyextract.stages.galaxies.reported import reported
from skyextract.stages.galaxies.scaled import scale_models
from skyextract.stages.galaxies.scene import Sky
from skyextract.stages.galaxies.start import DE_VAUCOULEURS
from skyextract.stages.galaxies.wide import on_surfaces
from skyextract.stages.pointsources.corrections import ApertureCorrections

if TYPE_CHECKING:
    from skyextract.datamodel.detections import Detections
    from skyextract.datamodel.exposure import Exposure
    from skyextract.run import Run
    from skyextract.settings.keywords import Config
    from skyextract.stages.background.planes import Plane
    from skyextract.stages.galaxies.beneath import Beneath

MODEL_COLUMNS = frozenset(name for name, column in COLUMNS.items() if column.stage == MODEL)
_POINT = frozenset(name for name in MODEL_COLUMNS if name.endswith("_POINTSOURCE"))
_SHOWN = {"MODELS", "SPHEROIDS", "DISKS", "RESIDUALS"}
WINGS = 3.5
"""Size of the wings that the PSF of an image lacks, in FWHM: a Moffat's beyond 2 FWHM."""
_DETECTION = frozenset(name for name in MODEL_COLUMNS if name.endswith("_DETMODEL"))


@record
class ModelImages:
    """Images of the models that check images show.

    Attributes
    ----------
    models, spheroids, disks : (ny, nx) float32 or None
        Only where they are wanted.
    residual : (ny, nx) float32 or None
        The image less background and all models, likewise.
    """

    models: Annotated[F4 | None, FLUX]
    spheroids: Annotated[F4 | None, FLUX]
    disks: Annotated[F4 | None, FLUX]
    residual: Annotated[F4 | None, FLUX]


@record
class Galaxies:
    """Columns of models, and images of them."""

    columns: dict[str, AnyArray]
    images: ModelImages


@record
class Images:
    """The images of one measurement.

    Attributes
    ----------
    exposure : Exposure
        The image to measure, with its PSF.
    plane : Plane
        That image less background.
    variance : (ny, nx) float32
        Of the background, for what is as large as the PSF.
    detection : Exposure or None
        The image that sources were detected on, in dual-image mode.
    detection_plane : Plane
        That image less background.
    spare : (ny, nx) float32 or None
        Memory that nobody needs any more, which the fits may write to.
    per_variance : float
        1 / variance of the pixels whose gain is GAIN, where the gain follows the weight; else 0.
    """

    exposure: Exposure
    plane: Plane
    variance: F4
    detection: Exposure | None
    detection_plane: Plane
    spare: F4 | None = None
    per_variance: float = 0.0

    def sky(self) -> Sky:
        """Return the image to measure."""
        exposure = self.exposure
        assert exposure.psf is not None
        return Sky(
            self.plane.subtracted, self.variance, exposure.mask, exposure.detector.gain,
            exposure.psf, self.plane.background, self.spare, self.per_variance,
        )  # fmt: skip

    def detected(self, run: Run) -> Sky | None:
        """Return the image that sources were detected on; None if it is the one to measure."""
        detection, psf = self.detection, self.exposure.psf
        if detection is None or detection.image is self.exposure.image:
            return None
        if detection.has_psf:
            psf = detection.psf
        else:
            run.warn(
                "DETMODEL columns: the PSF of the detection image is not known, that of the "
                "measurement image stands in"
            )
        assert psf is not None
        plane, gain = self.detection_plane, detection.detector.gain
        variance = plane.variance_plane(run)
        return Sky(
            plane.subtracted, variance, detection.mask, gain, psf, plane.background, self.spare,
            plane.per_variance,
        )  # fmt: skip


def measure_galaxies(
    images: Images, found: Detections, config: Config, wanted: frozenset[str], run: Run,
    beneath: Beneath | None = None,
) -> Galaxies:  # fmt: skip
    """Fit models of galaxies to all sources.

    Parameters
    ----------
    images : Images
    found : Detections
    config : Config
        MODEL_TYPE, MODEL_PRIORS, and the types of check images.
    wanted : frozenset of str
        Base columns; those of other stages are ignored.
    beneath : Beneath, optional
        Sources that were found beneath others.
    """
    wanted = wanted & MODEL_COLUMNS
    model_type = config.measurement.model_type
    profile = profile_of(model_type, wanted, priors=config.measurement.model_priors)
    for kind, there in (("SPHEROID", profile.spheroid), ("DISK", profile.disk)):
        if not there and any(kind in name for name in wanted):
            run.warn(f"{kind} columns are empty: MODEL_TYPE {model_type} has none")
    sky = on_surfaces(images.sky(), found, run)
    as_point = "PROB_POINTSOURCE" in wanted
    shown = {kind.removeprefix("-") for kind in config.output.checkimage_type}
    search = images.detected(run) if wanted & _DETECTION else None
    search = search and on_surfaces(search, found, run)
    fits = shapes = None
    if search is not None:
        shapes = fit_models(search, found, profile, run, keep_residual="RESIDUALS" in shown)
        if wanted <= _DETECTION and not shown & _SHOWN:
            fits = shapes  # nothing of a model of the other image is asked for
    fits = fits or fit_models(
        sky, found, profile, run, as_point=as_point, keep_residual="RESIDUALS" in shown,
        beneath=beneath,
    )  # fmt: skip
    shapes = shapes or fits
    columns = columns_of(reported(fits, sky), wanted - _DETECTION)
    if as_point:
        columns["PROB_POINTSOURCE"] = fits.point_probability()
    if wanted & _DETECTION:
        scaled = scale_models(sky, shapes, run, fitted=search or sky)
        light = total_flux(reported(shapes, search or sky).parameters)
        columns.update(
            CHI2_DETMODEL=scaled.chi2,
            FLAGS_DETMODEL=shapes.flags.astype(np.int16),
            NITER_DETMODEL=_as_short(shapes.iterations + scaled.iterations),
            FLUX_DETMODEL=scaled.scale * light,
            FLUXERR_DETMODEL=scaled.error * np.abs(light),
        )
    _correct_fluxes(columns, images.exposure, fits, shapes, found)

    def image(kind: str, *parts: int) -> F4 | None:
        return fits.drawn(sky, *parts) if kind in shown else None

    return Galaxies(
        {name: columns[name] for name in columns if name in wanted},
        ModelImages(
            image("MODELS", SPHEROID, DISK, POINT),
            image("SPHEROIDS", SPHEROID),
            image("DISKS", DISK),
            fits.residual,
        ),
    )


def _correct_fluxes(
    columns: dict[str, AnyArray],
    exposure: Exposure,
    fits: ModelFits,
    shapes: ModelFits,
    found: Detections,
) -> None:
    """Bring fluxes to the reference aperture by the correction of FLUX_PSF, as there is one.

    The models are convolved with the same PSF.  What this has wrong beyond the core is as wrong in
    galaxies that are small beside its image, and is nothing to those that are large: their light
    is where it is seen.  A shape that is fitted takes up a part of what the PSF lacks.  A given
    one does not: models lose as much as stars do where they are small beside the wings.
    `shapes` are the fits behind the DETMODEL columns: their corrections are those where they are.
    """
    if exposure.aperture_corrections is None or exposure.psf is None:
        return
    psf, corrections = exposure.psf, ApertureCorrections.from_catalog(exposure.aperture_corrections)
    if corrections.is_to_the_model(psf):
        return  # the unit of PSFEx's models, which SExtractor has in FLUX_PSF alone

    def factors(each: ModelFits, fwhm: float) -> F8:
        x, y = (
            np.where(np.isfinite(each.parameters[:, p]), each.parameters[:, p], middle)
            for p, middle in ((X, found.x), (Y, found.y))
        )
        beyond = corrections.psf_factor(x, y) - 1.0
        return np.asarray(1.0 + beyond * unresolved_share(each.parameters, fwhm))

    own, theirs = factors(fits, psf.fwhm), factors(shapes, WINGS * psf.fwhm)
    for name, values in columns.items():
        if name.startswith(("FLUX_", "FLUXERR_")) and "BACKOFFSET" not in name:
            columns[name] = values * (theirs if "DETMODEL" in name else own)


def profile_of(model_type: str, wanted: frozenset[str], *, priors: bool) -> Profile:
    """Return what is fitted.

    Parameters
    ----------
    model_type : str
        MODEL_TYPE.  AUTO is SExtractor's rule: the components whose columns are wanted, a Sersic
        profile if there are none.
    wanted : frozenset of str
        Base columns; those of a point source and of a background offset add these.
    """
    disk = model_type in ("EXP", "EXP_DEV")
    spheroid = model_type != "EXP"
    if model_type == "AUTO":
        disk = any("DISK" in name for name in wanted)
        spheroid = not disk or any("SPHEROID" in name for name in wanted)
    return Profile(
        spheroid=spheroid,
        disk=disk,
        index=DE_VAUCOULEURS if model_type in ("DEV", "EXP_DEV") else None,
        point=bool(wanted & (_POINT - {"PROB_POINTSOURCE"})),
        sky=any(name.endswith("_BACKOFFSET") for name in wanted),
        priors=priors,
    )


def columns_of(fits: ModelFits, wanted: frozenset[str]) -> dict[str, AnyArray]:
    """Return the columns of the models; NaN where there is no fit, or no such component."""
    p, kinds = fits.parameters, _kinds(fits.profile)
    with np.errstate(all="ignore"):
        columns: dict[str, AnyArray] = dict(parameters_of(p, kinds))
        columns.update(_errors(fits, wanted))
        columns["X2MODEL_IMAGE"], columns["Y2MODEL_IMAGE"], columns["XYMODEL_IMAGE"] = (
            second_moments(p)
        )
        for kind in kinds:
            bright = surface_brightness(p, COMPONENTS[kind])
            for name, values in zip(("MAX", "EFF", "MEAN"), bright, strict=True):
                columns[f"FLUX_{name}_{kind}"] = values
        for kind in COMPONENTS.keys() - kinds:
            columns.update({n: np.full(len(p), np.nan) for n in MODEL_COLUMNS if kind in n})
        if not {"FLUX_MAX_MODEL", "FLUX_EFF_MODEL", "FLUX_MEAN_MODEL"}.isdisjoint(wanted):
            bright = total_surface_brightness(p)
            for name, values in zip(("MAX", "EFF", "MEAN"), bright, strict=True):
                columns[f"FLUX_{name}_MODEL"] = values
    columns["CHI2_MODEL"] = fits.chi2
    columns["NOISEAREA_MODEL"] = fits.noise_area
    columns["FLAGS_MODEL"] = fits.flags.astype(np.int16)
    columns["NITER_MODEL"] = _as_short(fits.iterations)
    return columns


def _kinds(profile: Profile) -> list[str]:
    """Return the components that a model has."""
    there = {"SPHEROID": profile.spheroid, "DISK": profile.disk}
    return [kind for kind in COMPONENTS if there[kind]]


def _errors(fits: ModelFits, wanted: frozenset[str]) -> dict[str, F8]:
    """Return the errors of wanted columns of parameters, by linear propagation.

    A variance of NaN, of what the pixels do not know, is that of what depends on it, and of no
    other column.
    """
    p, covariance, free = fits.parameters, fits.covariance, fits.profile.free
    slopes = slopes_of(p, free, _kinds(fits.profile))
    inner = covariance[:, free[:, None], free[None, :]]
    unknown = np.isnan(np.diagonal(inner, axis1=1, axis2=2))
    inner = np.where(np.isnan(inner), 0.0, inner)

    def form(first: F8, second: F8) -> F8:
        value: F8 = np.sum(np.matmul(first[:, None, :], inner)[:, 0] * second, axis=1)
        return np.where((unknown & (first * second != 0.0)).any(axis=1), np.nan, value)

    errors = {
        error_name(name): np.sqrt(form(slope, slope))
        for name, slope in slopes.items()
        if error_name(name) in wanted
    }
    for kind in ("ELLIP", "POLAR"):
        if f"{kind}CORRMODEL_IMAGE" in wanted:
            first, second = (slopes[f"{kind}{i}MODEL_IMAGE"] for i in (1, 2))
            spread = np.sqrt(form(first, first) * form(second, second))
            errors[f"{kind}CORRMODEL_IMAGE"] = form(first, second) / spread
    errors["ERRX2MODEL_IMAGE"] = covariance[:, X, X]
    errors["ERRY2MODEL_IMAGE"] = covariance[:, Y, Y]
    errors["ERRXYMODEL_IMAGE"] = covariance[:, X, Y]
    return errors


def _as_short(counts: AnyArray) -> AnyArray:
    return np.minimum(counts, np.iinfo(np.int16).max).astype(np.int16)
