"""What a column is, and the families of columns that come for several kinds of measurement.

Plain data: nothing heavy is imported here.
"""

from __future__ import annotations

from collections.abc import Iterator

from skyextract.record import record

MEASURE = "measure"
PSF = "psf"
MODEL = "model"
PIPELINE = "pipeline"
DERIVE = "derive"


@record
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
        Who provides it: 'measure' (from pixels), 'psf' (PSF fitting), 'model' (fits of
        galaxies), 'pipeline' (number and
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


SYSTEMS = (("SKY", "native"), ("J2000", "J2000"), ("B1950", "B1950"))
_MAIN = ";meta.main"


def photometry(
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


def position(suffix: str, text: str, dtype: str = "f8", stage: str = MEASURE) -> Iterator[Column]:
    """Yield pixel and sky coordinates of one kind of position."""
    fitted = suffix in ("PSF", "MODEL")
    extra = ";stat.fit.param" if fitted else ";pos.barycenter" if suffix == "" else ""
    main = _MAIN if suffix == "" else ""
    pixel = (f"X{suffix}_IMAGE", f"Y{suffix}_IMAGE")
    form = "%10d" if dtype == "i4" else "%11.4f"
    for axis, name in zip("xy", pixel, strict=True):
        yield Column(name, f"{text} along x" if axis == "x" else f"{text} along y", "pixel", dtype,
                     form, f"pos.cartesian.{axis}{extra};instr.det{main}", stage=stage)  # fmt: skip
    for axis in "xy":
        if fitted:
            continue
        yield Column(f"{axis.upper()}{suffix}_FOCAL", f"{text} along focal-plane {axis}", "", "f8",
                     "%18.10e", f"pos.cartesian.{axis}", stage=DERIVE, needs=pixel,
                     wcs=True)  # fmt: skip
    for axis, eq in (("x", "ra"), ("y", "dec")):
        yield Column(f"{axis.upper()}{suffix}_WORLD", f"{text} along world {axis}", "deg", "f8",
                     "%18.10e", f"pos.eq.{eq}{extra if fitted else ''}", stage=DERIVE,
                     needs=pixel, wcs=True)  # fmt: skip
    for system, label in SYSTEMS:
        tail = f"{extra}{_MAIN if system == 'J2000' and suffix == '' else ''}"
        yield Column(f"ALPHA{suffix}_{system}", f"Right ascension of {text.lower()} ({label})",
                     "deg", "f8", "%11.7f", f"pos.eq.ra{tail}", stage=DERIVE, needs=pixel,
                     wcs=True)  # fmt: skip
        yield Column(f"DELTA{suffix}_{system}", f"Declination of {text.lower()} ({label})", "deg",
                     "f8", "%+11.7f", f"pos.eq.dec{tail}", stage=DERIVE, needs=pixel,
                     wcs=True)  # fmt: skip


WORLD_NOTE = "in rotated frames, where SExtractor takes half of the xy term"
B1950_NOTE = f"{WORLD_NOTE}, and turns from J2000 to B1950 the other way"
_CXX_NOTE = "inverse of the moment matrix; SExtractor divides by 1e-12 where that is larger"


def ellipse(prefix: str, suffix: str, text: str, stage: str = MEASURE) -> Iterator[Column]:
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
                         note=WORLD_NOTE if world and m != "XY" else "")  # fmt: skip
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
                         note=WORLD_NOTE if world else "")  # fmt: skip
        angle = "CCW from world x" if world else "CCW from x"
        yield Column(f"{prefix}THETA{suffix}_{frame}", f"{text}: angle ({angle})", "deg",
                     "f4", "%6.2f", f"pos.posAng{shape}{det}{main if not world else ''}",
                     stage=DERIVE, needs=needs, wcs=world,
                     note=WORLD_NOTE if world else "")  # fmt: skip
    for system, label in SYSTEMS:
        yield Column(f"{prefix}THETA{suffix}_{system}",
                     f"{text}: angle east of north ({label})", "deg", "f4",
                     "%6.2f" if error else "%+6.2f",
                     f"pos.posAng{shape}{main if system == 'J2000' else ''}", stage=DERIVE,
                     needs=(*moments, *pixel), wcs=True,
                     note=B1950_NOTE if system == "B1950" else WORLD_NOTE)  # fmt: skip
