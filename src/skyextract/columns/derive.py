"""Columns that follow from measured ones: magnitudes, ellipses, sky coordinates.

The formulas are those of SExtractor (Bertin & Arnouts 1996, A&AS 117, 393, and the manual's
chapters on photometry, position and shape), except where `columntable` notes otherwise.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cached_property

import numpy as np

from skyextract.columns.request import COLUMNS, Requested
from skyextract.datamodel.arrays import F8, AnyArray
from skyextract.datamodel.catalog import Catalog
from skyextract.datamodel.photocal import PhotoCal
from skyextract.datamodel.wcs import LATITUDES, SkyWcs
from skyextract.sky.angles import ARCSEC
from skyextract.sky.frames import j2000_to_b1950, north_angle, tangent_axes, to_j2000, unit_vectors

_MAGERR = 1.086
"""As in SExtractor, for 2.5 / ln 10."""
_POSITION = re.compile(r"(X|Y|ALPHA|DELTA)(WIN|PEAK|PSF|MODEL|)_(WORLD|FOCAL|SKY|J2000|B1950)")
_ELLIPSE = re.compile(
    r"(ERR|)(X2|Y2|XY|CXX|CYY|CXY|A|B|THETA)(WIN|PSF|MODEL|)_(IMAGE|WORLD|SKY|J2000|B1950)"
)
_POLAR = re.compile(r"POLAR(WIN|)_(IMAGE|WORLD)")
_ELLIPTICITY = re.compile(r"(ELLIP|POLAR)(1|2|CORR)(ERR|)MODEL_WORLD")
_SHAPE = re.compile(r"(SPHEROID|DISK)_(REFF|SCALE|ASPECT|THETA)(ERR|)_(WORLD|SKY|J2000|B1950)")
_NORTH_STEP = 1e-3
_ELLIPTICITY_STEP = 1e-4


def derive(
    base: Catalog,
    requested: Iterable[Requested],
    wcs: SkyWcs | None,
    photocal: PhotoCal,
    pixel_scale: float = 0.0,
    shape: tuple[int, int] = (1, 1),
    floor: float | F8 = 0.0,
) -> Catalog:
    """Compute the requested columns from the measured ones.

    Parameters
    ----------
    base : Catalog
        At least `columns.base_columns(requested)`; a derived column that is already in it is
        taken as it is.
    requested : iterable of Requested
        Columns wanted, in their order; a vector is cut or filled with NaN (0 if integer) to
        the size wanted.
    wcs : SkyWcs or None
        None: columns on the sky are NaN.
    photocal : PhotoCal
        A NaN zero point gives NaN magnitudes.
    pixel_scale : float
        Arcsec per pixel for surface brightness, FWHM_WORLD and ISOAREA(F)_WORLD; 0: from the
        WCS at each source.
    shape : (int, int)
        Shape [y, x] of the image, for a zero point that varies over the field.
    floor : float or float64 (n,)
        Error of the astrometric solution per axis, arcsec, at each source: part of the position
        errors on the sky.

    Returns
    -------
    Catalog
        Exactly the requested columns.  A magnitude of a flux that is not positive is NaN.
    """
    sources = _Sources(base, wcs, photocal, pixel_scale, shape, floor)
    columns = {}
    with np.errstate(divide="ignore", invalid="ignore", over="ignore", under="ignore"):
        for name, size in requested:
            columns[name] = _to_shape(sources.column(name), size)
    return Catalog(columns)


def _to_shape(values: AnyArray, shape: tuple[int, ...]) -> AnyArray:
    """Cut or fill the elements of a vector column."""
    if len(shape) != 1 or values.shape[1:] == shape:
        return values
    rows = values.reshape(len(values), values.size // max(len(values), 1))
    filling = np.nan if np.issubdtype(values.dtype, np.floating) else 0
    result = np.full((len(values), shape[0]), filling, dtype=values.dtype)
    n = min(shape[0], rows.shape[1])
    result[:, :n] = rows[:, :n]
    return result


def ellipse_axes(x2: F8, y2: F8, xy: F8) -> tuple[F8, F8, F8]:
    """Return A, B and THETA (deg, from x towards y, in (-90, 90]) of second moments."""
    mean = 0.5 * (x2 + y2)
    half = 0.5 * np.hypot(x2 - y2, 2.0 * xy)
    a = np.sqrt(np.maximum(mean + half, 0.0))
    b = np.sqrt(np.maximum(mean - half, 0.0))
    theta = np.degrees(0.5 * np.arctan2(2.0 * xy, x2 - y2))
    return a, b, np.where(x2 == y2, np.where(np.isfinite(xy), 45.0, np.nan), theta)


def ellipticities(kind: str, x2: F8, y2: F8, xy: F8) -> tuple[F8, F8]:
    """Return both components of ELLIP, (A - B)/(A + B), or POLAR, (A^2 - B^2)/(A^2 + B^2)."""
    total = x2 + y2
    if kind == "ELLIP":
        total = total + 2.0 * np.sqrt(np.maximum(x2 * y2 - xy**2, 0.0))
    return (x2 - y2) / total, 2.0 * xy / total


def moments_of(kind: str, first: F8, second: F8) -> tuple[F8, F8, F8]:
    """Return second moments with A = 1 of the components of ELLIP or POLAR."""
    size = np.minimum(np.hypot(first, second), 1.0)
    ratio = (1.0 - size) / (1.0 + size)
    b2 = ratio**2 if kind == "ELLIP" else ratio
    twice = np.arctan2(second, first)
    half, mean = 0.5 * (1.0 - b2), 0.5 * (1.0 + b2)
    return mean + half * np.cos(twice), mean - half * np.cos(twice), half * np.sin(twice)


def _fold(angle: F8) -> F8:
    """Bring position angles (deg) into (-90, 90]."""
    return 90.0 - (90.0 - angle) % 180.0


class _Sources:
    """The measured columns with what several derived columns share, computed once."""

    def __init__(
        self,
        base: Catalog,
        wcs: SkyWcs | None,
        photocal: PhotoCal,
        pixel_scale: float,
        shape: tuple[int, int],
        floor: float | F8,
    ) -> None:
        self.base = base
        self.wcs = wcs
        self.photocal = photocal
        self.shape = shape
        self.floor = floor / ARCSEC
        self.pixel_scale = pixel_scale
        self._sky: dict[tuple[str, str], tuple[F8, F8]] = {}
        self._jacobian: dict[str, F8] = {}
        self._of_ellipticity: dict[str, tuple[F8, F8]] = {}
        self._of_moments: dict[tuple[str, str, str], tuple[F8, F8, F8]] = {}
        self._of_axes: dict[tuple[str, str, str], tuple[F8, F8, F8]] = {}

    def _values(self, name: str) -> F8:
        return np.asarray(self.base[name], dtype=np.float64)

    def column(self, name: str) -> AnyArray:
        """Return one column."""
        if name in self.base:
            return self.base[name]
        if match := _POSITION.fullmatch(name):
            return self._position(*match.groups())
        if match := _ELLIPSE.fullmatch(name):
            return self._ellipse(*match.groups())
        if match := _POLAR.fullmatch(name):
            a2, b2 = (self._axes("", match[1], match[2])[i] ** 2 for i in (0, 1))
            return (a2 - b2) / (a2 + b2)
        if match := _ELLIPTICITY.fullmatch(name):
            return self._ellipticity(*match.groups())
        if match := _SHAPE.fullmatch(name):
            return self._shape(*match.groups())
        if name.startswith(("MAG", "MU_")):
            return self._magnitude(name)
        if name.endswith("_WORLD"):
            return self._scaled(name)
        if name.endswith("_BEST"):
            auto, isocor = self.base[name[:-4] + "AUTO"], self.base[name[:-4] + "ISOCOR"]
            return np.where(self.base["FLAGS"] & 1, isocor, auto)
        if name.endswith("_IMAGE_DBL"):
            return self._values(name.removesuffix("_DBL"))
        a, b = (self._axes("", "", "IMAGE")[i] for i in (0, 1))
        return {"ELONGATION": a / b, "ELLIPTICITY": 1.0 - b / a}[name]

    def _magnitude(self, name: str) -> AnyArray:
        if name == "MAG_GROWTHSTEP":
            return self.base["FLUX_GROWTHSTEP"]
        zero_point = self.photocal.zero_point
        if name.startswith("MAGERR_"):
            kind = name.removeprefix("MAGERR_")
            flux, error = self.column(f"FLUX_{kind}"), self.column(f"FLUXERR_{kind}")
            usable = (flux > 0.0) & (not np.isnan(zero_point))
            return np.where(usable, _MAGERR * error / flux, np.nan)
        flux = np.asarray(self.column(COLUMNS[name].needs[0]), dtype=np.float64)
        if name.startswith("MAG_"):
            flux = self.column(f"FLUX_{name.removeprefix('MAG_')}")
        else:
            flux = flux / self._pixel_area_arcsec
        magnitude = zero_point - 2.5 * np.log10(np.where(flux > 0.0, flux, np.nan))
        if self.photocal.polynomial:
            offset = self.photocal.offset(*self._pixels(""), self.shape)
            magnitude = (magnitude.T + offset).T
        return magnitude

    def _scaled(self, name: str) -> AnyArray:
        """Sizes and areas: the value in pixels times the pixel size, PIXEL_SCALE's if set."""
        area = self._pixel_area_arcsec / ARCSEC**2
        values = self._values(name.replace("_WORLD", "_IMAGE"))
        return values * (area if name.startswith("ISOAREA") else np.sqrt(area))

    @cached_property
    def _pixel_area(self) -> F8:
        """Pixel area at each source in deg**2."""
        j = self._world_jacobian("")
        return np.abs(j[:, 0, 0] * j[:, 1, 1] - j[:, 0, 1] * j[:, 1, 0])

    @property
    def _pixel_area_arcsec(self) -> F8:
        if self.pixel_scale > 0.0:
            return np.full(self.base.n_rows, self.pixel_scale**2)
        return self._pixel_area * ARCSEC**2

    def _pixels(self, suffix: str) -> tuple[F8, F8]:
        """0-based pixel positions."""
        return (
            self._values(f"X{suffix}_IMAGE") - 1.0,
            self._values(f"Y{suffix}_IMAGE") - 1.0,
        )

    def _nothing(self) -> F8:
        return np.full(self.base.n_rows, np.nan)

    def sky(self, suffix: str, system: str) -> tuple[F8, F8]:
        """Longitude and latitude (deg) of one kind of position in one system."""
        key = (suffix, system)
        if key not in self._sky:
            if self.wcs is None:
                self._sky[key] = (self._nothing(), self._nothing())
            elif system == "WORLD":
                self._sky[key] = self.wcs.to_sky(*self._pixels(suffix))
            else:
                self._sky[key] = self._to_system(system, *self.sky(suffix, "WORLD"))
        return self._sky[key]

    def _to_system(self, system: str, lon: F8, lat: F8) -> tuple[F8, F8]:
        if system in ("WORLD", "SKY") or self.wcs is None:
            return lon, lat
        lon, lat = to_j2000(self.wcs.frame, lon, lat)
        return (lon, lat) if system == "J2000" else j2000_to_b1950(lon, lat)

    def _position(self, axis: str, suffix: str, system: str) -> F8:
        first = axis in ("X", "ALPHA")
        if system == "FOCAL":
            return self._focal(suffix)[0 if first else 1]
        return self.sky(suffix, system)[0 if first else 1]

    def _focal(self, suffix: str) -> tuple[F8, F8]:
        """Tangent-plane coordinates (deg) about the reference point of the projection."""
        if self.wcs is None:
            return self._nothing(), self._nothing()
        cards = self.wcs.to_header()
        pole = np.array([cards["CRVAL1"]]), np.array([cards["CRVAL2"]])
        if str(cards["CTYPE1"])[:4].rstrip("-") in LATITUDES:
            pole = pole[1], pole[0]
        east, north = tangent_axes(*pole)
        vectors = unit_vectors(*self.sky(suffix, "WORLD"))
        depth = (vectors * unit_vectors(*pole)).sum(-1)
        depth = np.where(depth > 0.0, depth, np.nan)
        return (
            np.degrees((vectors * east).sum(-1) / depth),
            np.degrees((vectors * north).sum(-1) / depth),
        )

    def _world_jacobian(self, suffix: str) -> F8:
        """d(east, north)/d(x, y) in degrees per pixel, (n, 2, 2), at each source."""
        if suffix not in self._jacobian:
            if self.wcs is None:
                self._jacobian[suffix] = np.full((self.base.n_rows, 2, 2), np.nan)
            else:
                self._jacobian[suffix] = self.wcs.jacobian(*self._pixels(suffix))
        return self._jacobian[suffix]

    def _moments(self, prefix: str, suffix: str, frame: str) -> tuple[F8, F8, F8]:
        key = prefix, suffix, frame
        if key not in self._of_moments:
            x2, y2, xy = (self._values(f"{prefix}{m}{suffix}_IMAGE") for m in ("X2", "Y2", "XY"))
            if frame != "IMAGE":
                floor = self.floor**2 if prefix == "ERR" else 0.0
                x2, y2, xy = self._on_sky(x2, y2, xy, suffix, floor)
            self._of_moments[key] = x2, y2, xy
        return self._of_moments[key]

    def _on_sky(
        self, x2: F8, y2: F8, xy: F8, suffix: str, floor: float | F8 = 0.0
    ) -> tuple[F8, F8, F8]:
        """Transform second moments in pixels to the sky, degrees squared."""
        j = self._world_jacobian(suffix)
        (ax, ay), (bx, by) = (j[:, 0, 0], j[:, 0, 1]), (j[:, 1, 0], j[:, 1, 1])
        return (
            ax * ax * x2 + ay * ay * y2 + 2.0 * ax * ay * xy + floor,
            bx * bx * x2 + by * by * y2 + 2.0 * bx * by * xy + floor,
            ax * bx * x2 + ay * by * y2 + (ax * by + ay * bx) * xy,
        )

    def _axes(self, prefix: str, suffix: str, frame: str) -> tuple[F8, F8, F8]:
        key = prefix, suffix, frame
        if key not in self._of_axes:
            self._of_axes[key] = ellipse_axes(*self._moments(prefix, suffix, frame))
        return self._of_axes[key]

    def _ellipse(self, prefix: str, quantity: str, suffix: str, frame: str) -> F8:
        if quantity == "THETA" and frame not in ("IMAGE", "WORLD"):
            return _fold(
                90.0 - self._axes(prefix, suffix, "WORLD")[2] + self._rotation(suffix, frame)
            )
        if quantity in ("A", "B", "THETA"):
            return self._axes(prefix, suffix, frame)[("A", "B", "THETA").index(quantity)]
        x2, y2, xy = self._moments(prefix, suffix, frame)
        if quantity in ("X2", "Y2", "XY"):
            return {"X2": x2, "Y2": y2, "XY": xy}[quantity]
        determinant = x2 * y2 - xy * xy
        top = {"CXX": y2, "CYY": x2, "CXY": -2.0 * xy}[quantity]
        return np.where(determinant > 0.0, top / determinant, np.nan)

    def _ellipticity(self, kind: str, component: str, error: str) -> F8:
        """Ellipticities of models on the sky, their errors and the correlation of these."""
        if component != "CORR" and not error:
            x2, y2, xy = self._moments("", "MODEL", "WORLD")
            return ellipticities(kind, x2, y2, xy)[int(component) - 1]
        if kind not in self._of_ellipticity:
            self._of_ellipticity[kind] = self._ellipticity_errors(kind)
        spread, correlation = self._of_ellipticity[kind]
        wanted: F8 = spread[int(component) - 1] if error else correlation
        return wanted

    def _ellipticity_errors(self, kind: str) -> tuple[F8, F8]:
        """Return the errors of both ellipticities on the sky, (2, n), and their correlation."""
        values = [self._values(f"{kind}{i}MODEL_IMAGE") for i in (1, 2)]
        errors = [self._values(f"{kind}{i}ERRMODEL_IMAGE") for i in (1, 2)]
        slopes = []
        for axis in (0, 1):
            ends = []
            for sign in (1.0, -1.0):
                moved = list(values)
                moved[axis] = moved[axis] + sign * _ELLIPTICITY_STEP
                there = self._on_sky(*moments_of(kind, *moved), "MODEL")
                ends.append(np.array(ellipticities(kind, *there)))
            slopes.append((ends[0] - ends[1]) / (2.0 * _ELLIPTICITY_STEP))
        first, second = (slopes[axis] * errors[axis] for axis in (0, 1))
        mixed = self._values(f"{kind}CORRMODEL_IMAGE")
        spread: F8 = np.sqrt(first**2 + second**2 + 2.0 * mixed * first * second)
        both: F8 = first[0] * first[1] + second[0] * second[1]
        both += mixed * (first[0] * second[1] + first[1] * second[0])
        both /= spread[0] * spread[1]
        return spread, both

    def _shape(self, kind: str, part: str, error: str, system: str) -> F8:
        """Size, axis ratio and angle of a component of a model on the sky."""
        size = "REFF" if kind == "SPHEROID" else "SCALE"
        radius, aspect = (self._values(f"{kind}_{p}_IMAGE") for p in (size, "ASPECT"))
        angle = np.radians(self._values(f"{kind}_THETA_IMAGE"))
        cosine, sine = np.cos(angle), np.sin(angle)
        a2, b2 = radius**2, (radius * aspect) ** 2
        a, b, theta = ellipse_axes(
            *self._on_sky(
                a2 * cosine**2 + b2 * sine**2, a2 * sine**2 + b2 * cosine**2,
                (a2 - b2) * cosine * sine, "MODEL",
            )
        )  # fmt: skip
        if part == "THETA" and not error:
            if system == "WORLD":
                return theta
            return _fold(90.0 - theta + self._rotation("MODEL", system))
        own = self._values(f"{kind}_{part}{error}_IMAGE")
        if part == "THETA":
            return own
        if part == "ASPECT":
            return b / a if not error else own * (b / a) / aspect
        return a if not error else own * a / radius

    def _rotation(self, suffix: str, system: str) -> F8 | float:
        """Angle (deg) that takes native position angles to those of another system."""
        if system == "SKY" or self.wcs is None:
            return 0.0
        lon, lat = self.sky(suffix, "WORLD")
        there = self.sky(suffix, system)
        if there[0] is lon:
            return 0.0
        # a step to the native north, by vectors so that it may cross the pole
        _, north = tangent_axes(lon, lat)
        ahead = unit_vectors(lon, lat) + np.radians(_NORTH_STEP) * north
        east_of = np.degrees(np.arctan2(ahead[:, 1], ahead[:, 0])) % 360.0
        up = np.degrees(np.arctan2(ahead[:, 2], np.hypot(ahead[:, 0], ahead[:, 1])))
        return north_angle(*there, *self._to_system(system, east_of, up))
