"""Columns of models fitted to galaxies: totals, spheroids, disks, point sources, sky."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from skyextract.columns.families import (
    B1950_NOTE,
    DERIVE,
    MODEL,
    SYSTEMS,
    WORLD_NOTE,
    Column,
    ellipse,
    photometry,
    position,
)

_POSITION = ("XMODEL_IMAGE", "YMODEL_IMAGE")
_MOMENTS = ("X2MODEL_IMAGE", "Y2MODEL_IMAGE", "XYMODEL_IMAGE")


def model_columns() -> Iterator[Column]:
    """Yield all columns of models, in the order of SExtractor's listing."""
    yield from _quality("MODEL", "of the model fit")
    yield from photometry("MODEL", "Model fit:", stage=MODEL)
    yield from _brightness("MODEL", "model")
    yield from position("MODEL", "Fitted model", stage=MODEL)
    yield from ellipse("ERR", "MODEL", "Model position error", stage=MODEL)
    yield from ellipse("", "MODEL", "Model profile", stage=MODEL)
    for frame in ("IMAGE", "WORLD"):
        yield from _ellipticity(frame)
    yield Column("NOISEAREA_MODEL", "Equivalent noise area of the fitted model", "pixel**2",
                 ucd="phys.area", stage=MODEL)  # fmt: skip
    yield Column("FLUX_BACKOFFSET", "Background offset from fitting", "count",
                 ucd="instr.skyLevel;arith.diff;stat.fit.param", stage=MODEL)  # fmt: skip
    yield Column("FLUXERR_BACKOFFSET", "RMS error of FLUX_BACKOFFSET", "count",
                 ucd="stat.error;instr.skyLevel;arith.diff;stat.fit.param",
                 stage=MODEL)  # fmt: skip
    yield from photometry("POINTSOURCE", "Fitted point source:", stage=MODEL)
    yield from _ratio("POINTSOURCE", "Point source")
    yield Column("PROB_POINTSOURCE", "Probability of a point source, against the model", "",
                 "f4", "%8.6f", "stat.probability;src.class.starGalaxy", stage=MODEL,
                 own=True)  # fmt: skip
    for kind, size, label, length in (
        ("SPHEROID", "REFF", "Spheroid", "effective radius (major axis)"),
        ("DISK", "SCALE", "Disk", "scale length (major axis)"),
    ):
        yield from photometry(kind, f"Fitted {label.lower()}:", stage=MODEL)
        yield from _brightness(kind, label.lower())
        yield from _ratio(kind, label)
        yield from _shape(kind, size, label, length)
    yield from _parameter("SPHEROID_SERSICN", "SPHEROID_SERSICNERR", "Spheroid: Sersic index")
    yield from _parameter("DISK_INCLINATION", "DISK_INCLINATIONERR",
                          "Disk: inclination, of the axis ratio", "deg")  # fmt: skip
    yield from _quality("DETMODEL", "of the detection image's model")
    yield from photometry("DETMODEL", "Detection model:", stage=MODEL)


def _quality(kind: str, text: str) -> Iterator[Column]:
    """Yield what tells how a fit went."""
    integer: dict[str, Any] = {"dtype": "i2", "format": "%3d", "stage": MODEL}
    yield Column(f"CHI2_{kind}", f"Reduced chi2 {text}", "", "f4", "%12.7g",
                 "stat.fit.chi2;src.morph", stage=MODEL)  # fmt: skip
    yield Column(f"FLAGS_{kind}", f"Flags {text}", ucd="meta.code;stat.fit;src.morph", **integer)
    yield Column(f"NITER_{kind}", f"Iterations {text}", ucd="meta.number;stat.fit;src.morph",
                 **integer)  # fmt: skip


def _brightness(kind: str, text: str) -> Iterator[Column]:
    """Yield surface brightnesses of the model before the PSF, per pixel and per square arcsec."""
    kinds = (
        ("MAX", "Peak"),
        ("EFF", "Effective"),
        ("MEAN", "Mean effective"),
    )
    for name, label in kinds:
        yield Column(f"FLUX_{name}_{kind}", f"{label} {text} flux above background", "count",
                     ucd="phot.flux.sb", stage=MODEL)  # fmt: skip
    for name, label in kinds:
        yield Column(f"MU_{name}_{kind}", f"{label} {text} surface brightness",
                     "mag * arcsec**(-2)", "f4", "%8.4f", "phot.mag.sb", stage=DERIVE,
                     needs=(f"FLUX_{name}_{kind}", "X_IMAGE", "Y_IMAGE"))  # fmt: skip


def _ratio(kind: str, text: str) -> Iterator[Column]:
    yield Column(f"FLUXRATIO_{kind}", f"{text} flux over that of the model", "", "f4", "%7.5f",
                 "phot.flux;arith.ratio;stat.fit.param", stage=MODEL)  # fmt: skip
    yield Column(f"FLUXRATIOERR_{kind}", f"RMS error of FLUXRATIO_{kind}", "", "f4", "%7.5f",
                 "stat.error;phot.flux;arith.ratio;stat.fit.param", stage=MODEL)  # fmt: skip


def _parameter(name: str, error: str, text: str, unit: str = "") -> Iterator[Column]:
    """Yield a fitted number and its error."""
    yield Column(name, text, unit, "f4", "%9.4f", "stat.fit.param;src.morph.param",
                 stage=MODEL)  # fmt: skip
    yield Column(error, f"RMS error of {name}", unit, "f4", "%9.4f",
                 "stat.error;stat.fit.param;src.morph.param", stage=MODEL)  # fmt: skip


def _ellipticity(frame: str) -> Iterator[Column]:
    """Yield ellipticities (A - B)/(A + B), and (A^2 - B^2)/(A^2 + B^2), their errors."""
    world = frame == "WORLD"
    det = "" if world else ";instr.det"
    for name, label in (("ELLIP", "(A-B)/(A+B)"), ("POLAR", "(A^2-B^2)/(A^2+B^2)")):
        values = tuple(f"{name}{i}MODEL_IMAGE" for i in (1, 2))
        errors = tuple(f"{name}{i}ERRMODEL_IMAGE" for i in (1, 2))
        correlation = f"{name}CORRMODEL_IMAGE"
        stage = DERIVE if world else MODEL
        for i, wave in (("1", "cos"), ("2", "sin")):
            yield Column(f"{name}{i}MODEL_{frame}", f"{label} {wave}(2 THETA) of the model", "",
                         "f4", "%10.6f", f"src.ellipticity{det}", stage=stage, wcs=world,
                         needs=(*_MOMENTS, *_POSITION) if world else (),
                         note=WORLD_NOTE if world else "")  # fmt: skip
        needs = (*values, *errors, correlation, *_POSITION) if world else ()
        for i in "12":
            yield Column(f"{name}{i}ERRMODEL_{frame}", f"RMS error of {name}{i}MODEL_{frame}", "",
                         "f4", "%10.6f", f"stat.error;src.ellipticity{det}", stage=stage,
                         wcs=world, needs=needs)  # fmt: skip
        yield Column(f"{name}CORRMODEL_{frame}", f"Correlation of {name}1 and {name}2 errors", "",
                     "f4", "%10.6f", f"stat.correlation;src.ellipticity{det}", stage=stage,
                     wcs=world, needs=needs)  # fmt: skip


def _shape(kind: str, size: str, label: str, length: str) -> Iterator[Column]:
    """Yield size, axis ratio and angle of a component, in pixels and on the sky."""
    parts = ((size, length, "pixel", "deg"), ("ASPECT", "axis ratio B/A", "", ""),
             ("THETA", "angle (CCW from x)", "deg", "deg"))  # fmt: skip
    image = tuple(f"{kind}_{part}_IMAGE" for part, *_ in parts)
    for frame in ("IMAGE", "WORLD"):
        world = frame == "WORLD"
        for part, text, pixel_unit, sky_unit in parts:
            unit = sky_unit if world else pixel_unit
            form = "%6.2f" if part == "THETA" else "%12.7g"
            kind_of = {"ASPECT": "phys.size;arith.ratio", "THETA": "pos.posAng"}
            ucd = kind_of.get(part, "phys.angSize" if world else "phys.size")
            ucd += ";stat.fit.param;src.morph"
            own = f"{kind}_{part}ERR_IMAGE"
            yield Column(f"{kind}_{part}_{frame}", f"{label}: {text}{' (world)' * world}", unit,
                         "f4", form, ucd, stage=DERIVE if world else MODEL, wcs=world,
                         needs=(*image, *_POSITION) if world else ())  # fmt: skip
            yield Column(f"{kind}_{part}ERR_{frame}", f"RMS error of {kind}_{part}_{frame}", unit,
                         "f4", form, f"stat.error;{ucd}", stage=DERIVE if world else MODEL,
                         wcs=world, needs=(*image, own, *_POSITION) if world else ())  # fmt: skip
    for system, name in SYSTEMS:
        yield Column(f"{kind}_THETA_{system}", f"{label}: angle east of north ({name})", "deg",
                     "f4", "%+6.2f", "pos.posAng;stat.fit.param;src.morph", stage=DERIVE, wcs=True,
                     needs=(*image, *_POSITION),
                     note=B1950_NOTE if system == "B1950" else "")  # fmt: skip
