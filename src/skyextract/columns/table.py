"""The table of all output columns, declared by family.

Names, units, storage types and print formats are those of SExtractor (Bertin & Arnouts
1996, A&AS 117, 393; its manual and the output of `source-extractor -dp`), so that readers
of its catalogues need no change; columns that SExtractor does not have are marked `own`.
Plain data: nothing heavy is imported here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

MEASURE = "measure"
PSF = "psf"
PIPELINE = "pipeline"
DERIVE = "derive"


@dataclass(frozen=True, slots=True)
class Column:
    """One output column.

    Attributes
    ----------
    name, description, unit, ucd : str
        Unit in the FITS form that SExtractor writes; UCD1+ word(s).
    dtype : str
        numpy type of the stored values: f4, f8, i2 or i4.
    format : str
        printf format of the ASCII catalogues.
    ndim : int
        Dimensions of an element: 0 scalar, 1 vector (`MAG_APER(4)`), 2 image (`VIGNET(35,35)`).
    stage : str
        Who provides it: 'measure' (from pixels), 'psf' (PSF fitting), 'pipeline' (number and
        extension of a source, flags of later steps), or 'derive' (computed from `needs`).
    needs : tuple of str
        The columns that a derived column is computed from.
    wcs : bool
        Needs the world coordinate system.
    own : bool
        Not a SExtractor column.
    note : str
        Where the values differ from SExtractor's, and why.
    """

    name: str
    description: str
    unit: str = ""
    dtype: str = "f4"
    format: str = "%12.7g"
    ucd: str = ""
    ndim: int = 0
    stage: str = MEASURE
    needs: tuple[str, ...] = ()
    wcs: bool = False
    own: bool = False
    note: str = ""

    @property
    def tdisp(self) -> str:
        """FITS display format, such as F8.4."""
        return self.format[-1].upper().replace("D", "I") + self.format[1:-1].lstrip("+")


NOT_SUPPORTED: tuple[tuple[str, str], ...] = (
    (
        r"\w*(MODEL|SPHEROID|DISK|BAR|ARMS|HYBRID|POINTSOURCE|BACKOFFSET)(ERR)?(_\w+)?"
        r"|[XY]FOCAL_WORLD",
        "galaxy model fitting is not supported",
    ),
    (r"\w*_GALFIT", "galaxy model fitting is not supported"),
    (r"\w*_SOMFIT", "self-organizing maps are not supported"),
    (r"\w*(PRINCOMP|_PC)(_\w+)?", "principal components are not supported"),
    (r"(VIGNET_)?DGEO\w+", "differential geometry maps are not supported"),
    (r"[XY]_MAMA", "plate-scanner coordinates are not supported"),
    (r"DURATION_ANALYSIS", "time per source is not measured, sources are measured together"),
)
"""Patterns of SExtractor's parameters that are known and not supported, with the reason."""

_SYSTEMS = (("SKY", "native"), ("J2000", "J2000"), ("B1950", "B1950"))
_MAIN = ";meta.main"


def _photometry(
    kind: str, text: str, ndim: int = 0, stage: str = MEASURE, own: bool = False
) -> Iterator[Column]:
    """Yield flux, magnitude and their errors."""
    main = _MAIN if kind == "AUTO" else ""
    flux, error = f"FLUX_{kind}", f"FLUXERR_{kind}"
    needs: tuple[str, ...] = ()
    needs_error: tuple[str, ...] = ()
    if kind == "BEST":
        stage = DERIVE
        needs = ("FLUX_AUTO", "FLUX_ISOCOR", "FLAGS")
        needs_error = ("FLUXERR_AUTO", "FLUXERR_ISOCOR", "FLAGS")
    yield Column(flux, f"{text} flux", "count", ucd="phot.flux" + main, ndim=ndim, stage=stage,
                 needs=needs, own=own)  # fmt: skip
    yield Column(error, f"RMS error of {flux}", "count", ucd="stat.stdev;phot.flux" + main,
                 ndim=ndim, stage=stage, needs=needs_error, own=own)  # fmt: skip
    yield Column(f"MAG_{kind}", f"{text} magnitude", "mag", format="%8.4f", ndim=ndim,
                 ucd="phot.mag" + main, stage=DERIVE, needs=(flux,), own=own)  # fmt: skip
    yield Column(f"MAGERR_{kind}", f"RMS error of MAG_{kind}", "mag", format="%8.4f", ndim=ndim,
                 ucd="stat.stdev;phot.mag" + main, stage=DERIVE, needs=(flux, error),
                 own=own)  # fmt: skip


def _position(suffix: str, text: str, dtype: str = "f8", stage: str = MEASURE) -> Iterator[Column]:
    """Yield pixel and sky coordinates of one kind of position."""
    extra = {"": ";pos.barycenter", "WIN": "", "PEAK": "", "PSF": ";stat.fit.param"}[suffix]
    main = _MAIN if suffix == "" else ""
    pixel = (f"X{suffix}_IMAGE", f"Y{suffix}_IMAGE")
    form = "%10d" if dtype == "i4" else "%11.4f"
    for axis, name in zip("xy", pixel, strict=True):
        yield Column(name, f"{text} along x" if axis == "x" else f"{text} along y", "pixel", dtype,
                     form, f"pos.cartesian.{axis}{extra};instr.det{main}", stage=stage)  # fmt: skip
    for axis in "xy":
        if suffix == "PSF":
            continue
        yield Column(f"{axis.upper()}{suffix}_FOCAL", f"{text} along focal-plane {axis}", "", "f8",
                     "%18.10e", f"pos.cartesian.{axis}", stage=DERIVE, needs=pixel,
                     wcs=True)  # fmt: skip
    for axis, eq in (("x", "ra"), ("y", "dec")):
        yield Column(f"{axis.upper()}{suffix}_WORLD", f"{text} along world {axis}", "deg", "f8",
                     "%18.10e", f"pos.eq.{eq}{extra if suffix == 'PSF' else ''}", stage=DERIVE,
                     needs=pixel, wcs=True)  # fmt: skip
    for system, label in _SYSTEMS:
        tail = f"{extra}{_MAIN if system == 'J2000' and suffix == '' else ''}"
        yield Column(f"ALPHA{suffix}_{system}", f"Right ascension of {text.lower()} ({label})",
                     "deg", "f8", "%11.7f", f"pos.eq.ra{tail}", stage=DERIVE, needs=pixel,
                     wcs=True)  # fmt: skip
        yield Column(f"DELTA{suffix}_{system}", f"Declination of {text.lower()} ({label})", "deg",
                     "f8", "%+11.7f", f"pos.eq.dec{tail}", stage=DERIVE, needs=pixel,
                     wcs=True)  # fmt: skip


_WORLD_NOTE = "in rotated frames, where SExtractor takes half of the xy term"
_B1950_NOTE = f"{_WORLD_NOTE}, and turns from J2000 to B1950 the other way"
_CXX_NOTE = "inverse of the moment matrix; SExtractor divides by 1e-12 where that is larger"


def _ellipse(prefix: str, suffix: str, text: str, stage: str = MEASURE) -> Iterator[Column]:
    """Yield second moments and the ellipse forms of them, in pixels and on the sky."""
    error = prefix == "ERR"
    shape = ";pos.errorEllipse" if error else ""
    main = _MAIN if suffix == "" else ""
    moments = tuple(f"{prefix}{m}{suffix}_IMAGE" for m in ("X2", "Y2", "XY"))
    pixel = (f"X{suffix}_IMAGE", f"Y{suffix}_IMAGE")
    for frame, unit, det in (("IMAGE", "pixel", ";instr.det"), ("WORLD", "deg", "")):
        world = frame == "WORLD"
        needs = (*moments, *pixel) if world else moments
        for m, label in (("X2", "variance along x"), ("Y2", "variance along y"),
                         ("XY", "covariance of x and y")):  # fmt: skip
            if error:
                ucd = f"stat.{'co' if m == 'XY' else ''}variance{shape}{det}"
            else:
                ucd = f"src.impactParam{det}"
            yield Column(f"{prefix}{m}{suffix}_{frame}", f"{text}: {label}{' (world)' * world}",
                         f"{unit}**2", "f8", "%18.10e", ucd, stage=DERIVE if world else stage,
                         needs=needs if world else (), wcs=world,
                         note=_WORLD_NOTE if world and m != "XY" else "")  # fmt: skip
        for c in ("CXX", "CYY", "CXY"):
            yield Column(f"{prefix}{c}{suffix}_{frame}",
                         f"{text}: ellipse parameter {c.lower()}{' (world)' * world}",
                         f"{unit}**(-2)", "f4", "%12.7g" if error else "%15.7e",
                         f"src.impactParam{shape}{det}", stage=DERIVE, needs=needs, wcs=world,
                         note=_CXX_NOTE if world else "")  # fmt: skip
        for axis, label in (("A", "major"), ("B", "minor")):
            if error:
                ucd = f"stat.stdev;stat.{'max' if axis == 'A' else 'min'}{shape}{det}{main}"
            else:
                ucd = f"phys.size.s{label[:3]}Axis{det}{main}"
            form = "%12.7g" if world else "%9.5f" if error else "%9.3f"
            yield Column(f"{prefix}{axis}{suffix}_{frame}",
                         f"{text}: RMS along {label} axis{' (world)' * world}", unit, "f4", form,
                         ucd, stage=DERIVE, needs=needs, wcs=world,
                         note=_WORLD_NOTE if world else "")  # fmt: skip
        angle = "CCW from world x" if world else "CCW from x"
        yield Column(f"{prefix}THETA{suffix}_{frame}", f"{text}: angle ({angle})", "deg",
                     "f4", "%6.2f", f"pos.posAng{shape}{det}{main if not world else ''}",
                     stage=DERIVE, needs=needs, wcs=world,
                     note=_WORLD_NOTE if world else "")  # fmt: skip
    for system, label in _SYSTEMS:
        yield Column(f"{prefix}THETA{suffix}_{system}",
                     f"{text}: angle east of north ({label})", "deg", "f4",
                     "%6.2f" if error else "%+6.2f",
                     f"pos.posAng{shape}{main if system == 'J2000' else ''}", stage=DERIVE,
                     needs=(*moments, *pixel), wcs=True,
                     note=_B1950_NOTE if system == "B1950" else _WORLD_NOTE)  # fmt: skip


def _columns() -> Iterator[Column]:
    counts: dict[str, Any] = {"dtype": "i4", "format": "%9d", "ucd": "meta.number"}
    flags: dict[str, Any] = {"dtype": "i2", "format": "%3d", "ucd": "meta.code.qual"}
    yield Column("NUMBER", "Running number of the source", "", "i4", "%10d", "meta.record",
                 stage=PIPELINE)  # fmt: skip
    yield Column("ID_PARENT", "Number of the parent (before deblending)", "", "i4", "%10d",
                 "meta.id.parent")  # fmt: skip
    yield Column("EXT_NUMBER", "FITS extension number", "", "i2", "%3d", "meta.id;meta.dataset",
                 stage=PIPELINE)  # fmt: skip
    yield from _photometry("ISO", "Isophotal")
    yield from _photometry("ISOCOR", "Corrected isophotal")
    yield from _photometry("APER", "Circular aperture", ndim=1)
    yield from _photometry("AUTO", "Kron-like elliptical aperture")
    yield from _photometry("PETRO", "Petrosian-like elliptical aperture")
    yield from _photometry("BEST", "Best of AUTO and ISOCOR:")
    yield from _photometry("WIN", "Gaussian-weighted")
    yield from _photometry("PSF", "PSF fit:", stage=PSF)
    yield from _photometry("APERCOR", "Aperture-corrected", ndim=1, own=True, stage=PSF)
    yield Column("SNR_WIN", "Gaussian-weighted signal-to-noise ratio", "", "f4", "%10.4g",
                 "stat.snr")  # fmt: skip
    for kind, label in (("KRON", "Kron"), ("PETRO", "Petrosian")):
        yield Column(f"{kind}_RADIUS", f"{label} aperture in units of A or B", "", "f4", "%5.2f",
                     "arith.factor;arith.ratio")  # fmt: skip
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
    yield from _position("PEAK", "Brightest pixel", "i4")
    yield from _position("", "Barycentre", "f4")
    for axis in "XY":
        yield Column(f"{axis}_IMAGE_DBL", f"Barycentre along {axis.lower()} (double precision)",
                     "pixel", "f8", "%11.4f",
                     f"pos.cartesian.{axis.lower()};pos.barycenter;instr.det", stage=DERIVE,
                     needs=(f"{axis}_IMAGE",))  # fmt: skip
    yield from _position("WIN", "Windowed position")
    yield from _position("PSF", "Fitted PSF", stage=PSF)
    yield from _ellipse("", "", "Profile")
    yield from _ellipse("ERR", "", "Position error")
    yield from _ellipse("", "WIN", "Windowed profile")
    yield from _ellipse("ERR", "WIN", "Windowed position error")
    yield from _ellipse("ERR", "PSF", "PSF position error", stage=PSF)
    yield Column("NITER_WIN", "Iterations of the windowed position", "", "i2", "%3d", "meta.number")
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
                         stage=DERIVE, wcs=world, note=_WORLD_NOTE if world else "",
                         needs=(*moments, f"X{suffix}_IMAGE", f"Y{suffix}_IMAGE") if world
                         else moments)  # fmt: skip
    yield Column("CLASS_STAR", "Star/galaxy classification (1 = star)", "", "f4", "%6.3f",
                 "src.class.starGalaxy")  # fmt: skip
    yield Column("VIGNET", "Pixels around the source", "count", ucd="phot.count;obs.image", ndim=2)
    yield Column("VIGNET_SHIFT", "Pixels around the source, centred by resampling", "count",
                 ucd="phot.count;obs.image", ndim=2)  # fmt: skip
    yield Column("VECTOR_ASSOC", "Associated data", "", "f8", ucd="meta.id.assoc", ndim=1)
    yield Column("NUMBER_ASSOC", "Number of associates", "", "i4", "%10d", "meta.number;src")
    yield Column("FLUX_GROWTH", "Growth curve", "count", ucd="phot.count", ndim=1)
    yield Column("FLUX_GROWTHSTEP", "Step of the growth curve", "pixel", "f4", "%10.3f",
                 "pos.distance")  # fmt: skip
    yield Column("MAG_GROWTH", "Growth curve in magnitudes", "mag", "f4", "%8.4f", "phot.mag",
                 ndim=1, stage=DERIVE, needs=("FLUX_GROWTH",))  # fmt: skip
    yield Column("MAG_GROWTHSTEP", "Step of the growth curve", "pixel", "f4", "%10.3f",
                 "pos.distance", stage=DERIVE, needs=("FLUX_GROWTHSTEP",))  # fmt: skip
    yield Column("FLUX_RADIUS", "Radii that hold fractions PHOT_FLUXFRAC of the light", "pixel",
                 "f4", "%10.3f", "phys.size.radius;instr.det", ndim=1)  # fmt: skip
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


_XY = ("X_IMAGE", "Y_IMAGE")
_X2 = ("X2_IMAGE", "Y2_IMAGE", "XY_IMAGE")

COLUMNS: dict[str, Column] = {column.name: column for column in _columns()}
"""All supported columns by name, in the order of `skyextract -dp`."""
