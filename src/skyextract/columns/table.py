"""The table of all output columns, declared by family.

Names, units, storage types and print formats are those of SExtractor (Bertin & Arnouts
1996, A&AS 117, 393; its manual and the output of `source-extractor -dp`), so that readers
of its catalogues need no change; columns that SExtractor does not have are marked `own`.
Plain data: nothing heavy is imported here.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from skyextract.columns.families import (
    DERIVE,
    PIPELINE,
    PSF,
    WORLD_NOTE,
    Column,
    ellipse,
    photometry,
    position,
)
from skyextract.columns.models import model_columns

NOT_SUPPORTED: tuple[tuple[str, str], ...] = (
    (r"(VECTOR|MATRIX)_MODEL(ERR)?", "SExtractor's own coefficients; the columns have names"),
    (r"\w*(BAR|ARMS|HYBRID)(ERR)?(_\w+)?", "bars, arms and tables are not fitted"),
    (r"[XY]FOCAL_WORLD", "focal-plane coordinates of models are not supported"),
    (r"\w*_GALFIT", "galaxies of that program are not supported"),
    (r"\w*_SOMFIT", "self-organizing maps are not supported"),
    (r"\w*(PRINCOMP|_PC)(_\w+)?", "principal components are not supported"),
    (r"(VIGNET_)?DGEO\w+", "differential geometry maps are not supported"),
    (r"[XY]_MAMA", "plate-scanner coordinates are not supported"),
    (r"DURATION_ANALYSIS", "time per source is not measured, sources are measured together"),
)
"""Patterns of SExtractor's parameters that are known and not supported, with the reason."""


_XY = ("X_IMAGE", "Y_IMAGE")
_X2 = ("X2_IMAGE", "Y2_IMAGE", "XY_IMAGE")


def _numbers() -> Iterator[Column]:
    """Yield what says which source it is."""
    yield Column("NUMBER", "Running number of the source", "", "i4", "%10d", "meta.record",
                 stage=PIPELINE)  # fmt: skip
    yield Column("ID_PARENT", "Number of the parent (before deblending)", "", "i4", "%10d",
                 "meta.id.parent")  # fmt: skip
    yield Column("EXT_NUMBER", "FITS extension number", "", "i2", "%3d", "meta.id;meta.dataset",
                 stage=PIPELINE)  # fmt: skip


def _fluxes() -> Iterator[Column]:
    """Yield fluxes and magnitudes, and the radii of their apertures."""
    yield from photometry("ISO", "Isophotal")
    yield from photometry("ISOCOR", "Corrected isophotal")
    yield from photometry("APER", "Circular aperture", ndim=1)
    yield from photometry("AUTO", "Kron-like elliptical aperture")
    yield from photometry("PETRO", "Petrosian-like elliptical aperture")
    yield from photometry("BEST", "Best of AUTO and ISOCOR:")
    yield from photometry("WIN", "Gaussian-weighted")
    yield from photometry("PSF", "PSF fit:", stage=PSF)
    yield from photometry("APERCOR", "Aperture-corrected", ndim=1, own=True, stage=PSF)
    yield Column("SNR_WIN", "Gaussian-weighted signal-to-noise ratio", "", "f4", "%10.4g",
                 "stat.snr")  # fmt: skip
    for kind, label in (("KRON", "Kron"), ("PETRO", "Petrosian")):
        yield Column(f"{kind}_RADIUS", f"{label} aperture in units of A or B", "", "f4", "%5.2f",
                     "arith.factor;arith.ratio")  # fmt: skip


def _levels() -> Iterator[Column]:
    """Yield background, thresholds and peaks."""
    yield Column("BACKGROUND", "Background at the barycentre", "count", ucd="instr.skyLevel")
    yield Column("THRESHOLD", "Detection threshold above background", "count",
                 ucd="instr.sensitivity;phot.flux.sb")  # fmt: skip
    yield Column("THRESHOLD_ANALYSIS", "Analysis threshold above (local) background", "count",
                 ucd="instr.sensitivity;phot.flux.sb", own=True)  # fmt: skip
    yield Column("THRESHOLDMAX", "Highest threshold at which it is detected", "count",
                 ucd="phot.flux.sb;stat.max")  # fmt: skip
    yield Column("FLUX_MAX", "Peak flux above background", "count", ucd="phot.flux.sb;stat.max")
    mu: dict[str, Any] = {"unit": "mag * arcsec**(-2)", "format": "%8.4f", "stage": DERIVE}
    yield Column(
        "MU_THRESHOLD",
        "Analysis threshold above background",
        needs=("THRESHOLD_ANALYSIS", *_XY),
        ucd="instr.sensitivity;phot.mag.sb",
        **mu,
    )
    yield Column(
        "MU_MAX",
        "Peak surface brightness above background",
        needs=("FLUX_MAX", *_XY),
        ucd="phot.mag.sb;stat.max",
        **mu,
    )


def _extents() -> Iterator[Column]:
    """Yield isophotal areas, and the box about the pixels."""
    for area, label in (("ISOAREA", "analysis threshold"), ("ISOAREAF", "detection threshold")):
        yield Column(f"{area}_IMAGE", f"Isophotal area above {label}", "pixel**2", "i4", "%9d",
                     "phys.area")  # fmt: skip
        yield Column(f"{area}_WORLD", f"Isophotal area above {label}", "deg**2",
                     ucd="phys.angArea", stage=DERIVE, needs=(f"{area}_IMAGE", *_XY),
                     wcs=True)  # fmt: skip
    for level in range(8):
        yield Column(f"ISO{level}", f"Isophotal area at level {level}", "pixel**2", "i4", "%8d",
                     "phys.area;instr.det")  # fmt: skip
    for end, label in (("MIN", "Smallest"), ("MAX", "Largest")):
        for axis in "xy":
            yield Column(f"{axis.upper()}{end}_IMAGE", f"{label} {axis} of the detected pixels",
                         "pixel", "i4", "%10d",
                         f"pos.cartesian.{axis};stat.{end.lower()}")  # fmt: skip


def _positions() -> Iterator[Column]:
    """Yield positions."""
    yield from position("PEAK", "Brightest pixel", "i4")
    yield from position("", "Barycentre", "f4")
    for axis in "XY":
        yield Column(f"{axis}_IMAGE_DBL", f"Barycentre along {axis.lower()} (double precision)",
                     "pixel", "f8", "%11.4f",
                     f"pos.cartesian.{axis.lower()};pos.barycenter;instr.det", stage=DERIVE,
                     needs=(f"{axis}_IMAGE",))  # fmt: skip
    yield from position("WIN", "Windowed position")
    yield from position("PSF", "Fitted PSF", stage=PSF)


def _shapes() -> Iterator[Column]:
    """Yield second moments and ellipses."""
    yield from ellipse("", "", "Profile")
    yield from ellipse("ERR", "", "Position error")
    yield from ellipse("", "WIN", "Windowed profile")
    yield from ellipse("ERR", "WIN", "Windowed position error")
    yield from ellipse("ERR", "PSF", "PSF position error", stage=PSF)
    yield Column("NITER_WIN", "Iterations of the windowed position", "", "i2", "%3d", "meta.number")


def _flags() -> Iterator[Column]:
    """Yield flags, and numbers of flagged pixels."""
    counts: dict[str, Any] = {"dtype": "i4", "format": "%9d", "ucd": "meta.number"}
    flags: dict[str, Any] = {"dtype": "i2", "format": "%3d", "ucd": "meta.code.qual"}
    yield Column("FLAGS", "Extraction flags", **flags)
    yield Column("FLAGS_WEIGHT", "Weight flags", "", "i2", "%1d", "meta.code.qual")
    yield Column("FLAGS_WIN", "Flags of the windowed measurements", **flags)
    yield Column(
        "FLAGS_SKY",
        "Flags of the processing, see the table below",
        stage=PIPELINE,
        own=True,
        **flags,
    )
    yield Column("IMAFLAGS_ISO", "Flag-map flags over the isophotal footprint", "", "i4", "%9d",
                 "meta.code.qual", ndim=1)  # fmt: skip
    yield Column("NIMAFLAGS_ISO", "Number of pixels in IMAFLAGS_ISO", "", ndim=1, **counts)
    yield Column("NLOWWEIGHT_ISO", "Pixels of low weight in the footprint", "", **counts)
    yield Column("NLOWDWEIGHT_ISO", "Pixels of low detection weight in the footprint", "", **counts)


def _sizes() -> Iterator[Column]:
    """Yield widths, elongations and the class that follows of them."""
    yield Column("FWHM_IMAGE", "FWHM, assuming a Gaussian core", "pixel", "f4", "%8.2f",
                 "phys.size.diameter;instr.det.psf")  # fmt: skip
    yield Column("FWHM_WORLD", "FWHM, assuming a Gaussian core", "deg", stage=DERIVE, wcs=True,
                 ucd="phys.angSize;instr.det.psf", needs=("FWHM_IMAGE", *_XY))  # fmt: skip
    yield Column("ELONGATION", "A_IMAGE/B_IMAGE", "", "f4", "%8.3f", stage=DERIVE, needs=_X2,
                 ucd="src.ellipticity;arith.ratio;instr.det")  # fmt: skip
    yield Column("ELLIPTICITY", "1 - B_IMAGE/A_IMAGE", "", "f4", "%8.3f", stage=DERIVE, needs=_X2,
                 ucd="src.ellipticity;instr.det")  # fmt: skip
    for suffix in ("", "WIN"):
        moments = tuple(f"{m}{suffix}_IMAGE" for m in ("X2", "Y2", "XY"))
        for frame in ("IMAGE", "WORLD"):
            world = frame == "WORLD"
            yield Column(f"POLAR{suffix}_{frame}", f"(A^2 - B^2)/(A^2 + B^2) of A{suffix}_{frame}",
                         "", "f4", "%7.5f", "src.ellipticity" + ";instr.det" * (not world),
                         stage=DERIVE, wcs=world, note=WORLD_NOTE if world else "",
                         needs=(*moments, f"X{suffix}_IMAGE", f"Y{suffix}_IMAGE") if world
                         else moments)  # fmt: skip
    yield Column("CLASS_STAR", "Star/galaxy classification (1 = star)", "", "f4", "%6.3f",
                 "src.class.starGalaxy")  # fmt: skip


def _vignettes() -> Iterator[Column]:
    """Yield images of the pixels around a source."""
    yield Column("VIGNET", "Pixels around the source", "count", ucd="phot.count;obs.image", ndim=2)
    yield Column("VIGNET_SHIFT", "Pixels around the source, centred by resampling", "count",
                 ucd="phot.count;obs.image", ndim=2)  # fmt: skip


def _associates() -> Iterator[Column]:
    """Yield what ASSOC_NAME says of a source."""
    yield Column("VECTOR_ASSOC", "Associated data", "", "f8", ucd="meta.id.assoc", ndim=1)
    yield Column("NUMBER_ASSOC", "Number of associates", "", "i4", "%10d", "meta.number;src")


def _growth() -> Iterator[Column]:
    """Yield growth curves."""
    yield Column("FLUX_GROWTH", "Growth curve", "count", ucd="phot.count", ndim=1)
    yield Column("FLUX_GROWTHSTEP", "Step of the growth curve", "pixel", "f4", "%10.3f",
                 "pos.distance")  # fmt: skip
    yield Column("MAG_GROWTH", "Growth curve in magnitudes", "mag", "f4", "%8.4f", "phot.mag",
                 ndim=1, stage=DERIVE, needs=("FLUX_GROWTH",))  # fmt: skip
    yield Column("MAG_GROWTHSTEP", "Step of the growth curve", "pixel", "f4", "%10.3f",
                 "pos.distance", stage=DERIVE, needs=("FLUX_GROWTHSTEP",))  # fmt: skip
    yield Column("FLUX_RADIUS", "Radii that hold fractions PHOT_FLUXFRAC of the light", "pixel",
                 "f4", "%10.3f", "phys.size.radius;instr.det", ndim=1)  # fmt: skip


def _fits() -> Iterator[Column]:
    """Yield what comes of fits of the PSF."""
    yield Column("FWHMPSF_IMAGE", "FWHM of the local PSF model", "pixel", "f4", "%8.3f",
                 "phys.size.diameter;instr.det.psf", stage=PSF)  # fmt: skip
    yield Column("FWHMPSF_WORLD", "FWHM of the local PSF model", "deg", stage=DERIVE, wcs=True,
                 ucd="phys.angSize;instr.det.psf", needs=("FWHMPSF_IMAGE", *_XY))  # fmt: skip
    yield Column("NITER_PSF", "Iterations of the PSF fit", "", "i2", "%3d", "meta.number",
                 stage=PSF)  # fmt: skip
    yield Column("CHI2_PSF", "Reduced chi2 of the PSF fit", "", "f4", "%9.4g", "stat.fit.chi2",
                 stage=PSF)  # fmt: skip
    yield Column("FRACFLUX_PSF", "Share of the light in the PSF that is the source's own", "",
                 "f4", "%8.4f", "phot.flux;arith.ratio", stage=PSF, own=True)  # fmt: skip
    yield Column("SPREAD_MODEL", "Spread: 0 for a point source, above 0 for extended ones", "",
                 "f4", "%11.5g", "src.morph.param", stage=PSF)  # fmt: skip
    yield Column("SPREADERR_MODEL", "RMS error of SPREAD_MODEL", "", "f4", "%11.5g",
                 "src.morph.param", stage=PSF)  # fmt: skip


_FAMILIES = (
    _numbers, _fluxes, _levels, _extents, _positions, _shapes, _flags, _sizes, _vignettes,
    _associates, _growth, _fits, model_columns,
)  # fmt: skip

COLUMNS: dict[str, Column] = {column.name: column for family in _FAMILIES for column in family()}
"""All supported columns by name, in the order of `skyextract -dp`."""
