"""Which source is which star of the reference catalogue."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from skyextract.datamodel.arrays import I8
from skyextract.datamodel.matches import match_radius
from skyextract.datamodel.positions import positions
from skyextract.errors import StepError
from skyextract.kernels.astrometry.match import mutual_nearest
from skyextract.record import record
from skyextract.sky.angles import ARCSEC
from skyextract.sky.dates import frame_date
from skyextract.sky.plate import equidistant, gnomonic
from skyextract.stages.doubles import find_doubles
from skyextract.stages.photometry.zeropoint import MIN_STARS

if TYPE_CHECKING:
    from collections.abc import Callable

    from skyextract.datamodel.arrays import F8
    from skyextract.datamodel.catalog import Catalog
    from skyextract.datamodel.exposure import Exposure
    from skyextract.datamodel.refcatalog import RefCatalog
    from skyextract.datamodel.wcs import SkyWcs
    from skyextract.stages.doubles import Doubles

NOTED_CHANCE = 0.02
"""Share of the pairs that chance would give from which on a smaller radius is looked for."""
_STEP = 1.25
"""Ratio of the radii that are tried."""
_KEPT = 0.95
"""Share of the pairs beyond chance that the smaller radius must hold."""
WIDE = 30.0
"""Degrees from the middle to a corner, from which on, or where a corner has no sky, the field is no
longer laid on a tangent plane."""
EDGE_NODES = 65
"""Rows and columns of pixels that tell how far such a field reaches."""
TOO_DEEP, BRIGHTEST = 0.3, 2.0
"""Where chance gives more than this share of the pairs, only so many stars as there are sources,
the brightest of these, are matched: a catalogue that is far deeper than the frame has a star
everywhere."""
_SURE, _CLEAR = 2.0, 5.0
"""Times the noise of chance by which they may differ from the most, and which they must be."""


@record
class Pairs:
    """Pairs of sources and stars.

    Attributes
    ----------
    row, star : (n,) int64
        In the catalogue, and in the reference.
    x, y : (n,) float64
        Positions of the sources, 0-based pixels.
    reference : RefCatalog
        What `star` counts in: double entries of the catalogue may have been joined.
    chance : float
        Share of the pairs that chance would give.
    doubles : Doubles, optional
        Stars with two entries, where these are many.
    """

    row: I8
    star: I8
    x: F8
    y: F8
    reference: RefCatalog
    chance: float
    doubles: Doubles | None = None


def zero_based_positions(catalog: Catalog) -> tuple[F8, F8]:
    """Return 0-based positions, windowed where there are such.

    Raises
    ------
    StepError
        There are none.
    """
    found = positions(catalog)
    if found is None:
        raise StepError("the catalogue has no positions")
    return found[0] - 1.0, found[1] - 1.0


def pair_stars(
    catalog: Catalog, exposure: Exposure, reference: RefCatalog, radius: float,
    report: dict[str, Any], *, join: bool = True,
) -> Pairs:  # fmt: skip
    """Pair sources with reference stars, each the nearest of the other.

    Where many stars have two entries in the reference, these are joined or left out, unless
    `join` is false.

    Parameters
    ----------
    radius : float
        CROSSID_RADIUS, arcsec; a smaller one is taken where it holds all pairs beyond chance.
    report : dict
        Takes numbers of the match.

    Raises
    ------
    StepError
        No WCS, no star in the frame, or no pairs.
    """
    wcs = exposure.wcs
    if wcs is None:
        raise StepError("no WCS to match the reference catalogue with")
    if reference.n_stars == 0:
        raise StepError(f"the reference catalogue {reference.name} is empty")
    ny, nx = exposure.shape
    radius = match_radius(radius, wcs.pixel_scale())
    field = _field_of(wcs, (ny, nx))
    stars = reference.at_epoch(frame_date(exposure.header or {}).year)
    xi, eta = field.plane(stars.ra, stars.dec)
    near = np.flatnonzero(np.hypot(xi, eta) <= field.reach + radius / ARCSEC)
    report["n_reference"] = len(near)
    if len(near) == 0:
        raise StepError(f"no star of {reference.name} within the frame: no overlap")
    x, y = zero_based_positions(catalog)
    ok = np.flatnonzero(np.isfinite(x) & np.isfinite(y))
    px, py = (ARCSEC * c for c in field.plane(*wcs.to_j2000(x[ok], y[ok])))
    if not np.isfinite(px).all():
        seen = np.isfinite(px) & np.isfinite(py)
        ok, px, py = ok[seen], px[seen], py[seen]
    sx, sy = ARCSEC * xi[near], ARCSEC * eta[near]
    matched = _Matched.within(px, py, sx, sy, radius)
    doubles = find_doubles(reference.take(near), sx, sy, matched.second, radius) if join else None
    if doubles is not None:
        found = pair_stars(catalog, exposure, doubles.reference, radius, report, join=False)
        return replace(found, doubles=doubles)
    least = match_radius(0.0, wcs.pixel_scale())
    matched = matched.settled(px, py, sx, sy, least)
    first, second = matched.first, matched.second
    most = round(BRIGHTEST * len(ok))
    mag = reference.mag[near]
    if matched.chance > TOO_DEEP and most < np.count_nonzero(np.isfinite(mag)):
        bright = np.argsort(mag, kind="stable")[:most]
        of_all = px, py, sx[bright], sy[bright]
        of_bright = _Matched.within(*of_all, radius).settled(*of_all, least)
        if of_bright.chance < matched.chance:
            matched, first, second = of_bright, of_bright.first, bright[of_bright.second]
            report["n_brightest"] = most
    radius = matched.radius
    report.update(match_radius=radius, n_matched=len(first))
    if len(first) < 2 and len(near) < MIN_STARS:
        raise StepError(
            f"{len(near)} stars of {reference.name} within the frame: too few for a zero point "
            f"({MIN_STARS} needed; {len(first)} matched)"
        )
    if len(first) < 2:
        raise StepError(
            f"{len(first)} of {len(near)} stars of {reference.name} within {radius:g} arcsec of "
            "a source: wrong WCS or no overlap"
        )
    row, star = ok[first], near[second]
    return Pairs(row, star, x[row], y[row], reference, matched.chance)


@record
class _Matched:
    """Pairs on a plane of sources (p) and stars (s), each the nearest of the other.

    Attributes
    ----------
    first, second : (n,) int64
    distance : (n,) float64
    radius : float
    by_chance : _Chance
    """

    first: I8
    second: I8
    distance: F8
    radius: float
    by_chance: _Chance

    @classmethod
    def within(cls, px: F8, py: F8, sx: F8, sy: F8, radius: float) -> _Matched:
        """Match them."""
        by_chance = _Chance.between(px, py, sx, sy)
        return cls(*mutual_nearest(px, py, sx, sy, radius), radius, by_chance)

    @property
    def chance(self) -> float:
        """Share of the pairs that chance would give."""
        return self.by_chance.share(len(self.first), self.radius)

    def settled(self, px: F8, py: F8, sx: F8, sy: F8, least: float) -> _Matched:
        """Return those within the least radius that holds all pairs beyond chance."""
        if self.chance <= NOTED_CHANCE:
            return self
        radius = self.by_chance.settled_radius(self.distance, self.radius, least)
        return _Matched(*mutual_nearest(px, py, sx, sy, radius), radius, self.by_chance)


@record
class _Field:
    """A plane on which a frame and stars are laid.

    Attributes
    ----------
    plane : callable
        From right ascension and declination to the plane, deg.
    reach : float
        The farthest of the frame from the middle, deg.
    """

    plane: Callable[[F8, F8], tuple[F8, F8]]
    reach: float


def _field_of(wcs: SkyWcs, shape: tuple[int, int]) -> _Field:
    """Return the tangent plane, or where the field is too wide for one that of true distances.

    Of a frame beyond the horizon, only some pixels have a sky.
    """
    ny, nx = shape
    ra0, dec0 = (float(c[0]) for c in wcs.to_j2000(*(np.array([0.5 * n]) for n in (nx, ny))))
    corners = wcs.to_j2000(np.array([0.0, nx, nx, 0.0]), np.array([0.0, 0.0, ny, ny]))
    edge = np.hypot(*gnomonic(*corners, ra0, dec0))
    if (edge <= np.rad2deg(np.tan(np.deg2rad(WIDE)))).all():
        return _Field(partial(gnomonic, ra0=ra0, dec0=dec0), float(edge.max()))
    y, x = (np.linspace(0.0, n, EDGE_NODES) for n in shape)
    x, y = (axis.ravel() for axis in np.meshgrid(x, y))
    ra, dec = wcs.to_j2000(x, y)
    seen = np.flatnonzero(np.isfinite(ra) & np.isfinite(dec))
    if not seen.size:
        raise StepError("no pixel of the frame has a position on the sky")
    ra, dec = ra[seen], dec[seen]
    middle = int(np.argmin(np.hypot(x[seen] - 0.5 * nx, y[seen] - 0.5 * ny)))
    ra0, dec0 = float(ra[middle]), float(dec[middle])
    reach = float(np.hypot(*equidistant(ra, dec, ra0, dec0)).max())
    # Between two nodes.
    reach += wcs.pixel_scale() / ARCSEC * max(shape) / (EDGE_NODES - 1)
    return _Field(partial(equidistant, ra0=ra0, dec0=dec0), min(reach, 180.0))


@record
class _Chance:
    """How many pairs chance gives.

    Attributes
    ----------
    density : float
        Sources per unit of area.
    n_stars : int
        Stars among them.
    """

    density: float
    n_stars: int

    @classmethod
    def between(cls, px: F8, py: F8, sx: F8, sy: F8) -> _Chance:
        """Count sources (p) and stars (s) where there are sources."""
        if len(px) < 2:
            return cls(0.0, 0)
        area = float(np.ptp(px) * np.ptp(py))
        inside = (sx > px.min()) & (sx < px.max()) & (sy > py.min()) & (sy < py.max())
        return cls(len(px) / area if area > 0.0 else 0.0, int(inside.sum()))

    def number(self, n_pairs: F8, radius: F8) -> F8:
        """Return how many of so many pairs within a radius chance would give.

        Of the stars without a true counterpart, a part meets a source by chance.
        """
        covered = math.pi * radius**2 * self.density
        alone = np.maximum(self.n_stars - n_pairs * (1.0 - np.minimum(covered, 1.0)), 0.0)
        return -np.expm1(-covered) * alone

    def share(self, n_pairs: int, radius: float) -> float:
        """Return the part of the pairs within a radius that chance would give."""
        if n_pairs == 0:
            return 1.0
        number = self.number(np.array([float(n_pairs)]), np.array([radius]))
        return min(float(number[0]) / n_pairs, 1.0)

    def settled_radius(self, distance: F8, radius: float, least: float) -> float:
        """Return the least radius that holds the pairs beyond chance; `radius` if none is clear.

        Parameters
        ----------
        distance : (n,) float64
            Of the pairs within `radius`.
        """
        n_steps = max(math.ceil(math.log(radius / least, _STEP)), 0) if 0.0 < least < radius else 0
        radii = np.geomspace(least, radius, n_steps + 1) if n_steps else np.array([radius])
        n_pairs = np.searchsorted(np.sort(distance), radii, side="right").astype(np.float64)
        by_chance = self.number(n_pairs, radii)
        beyond = n_pairs - by_chance
        noise = np.sqrt(by_chance)
        most = int(np.argmax(beyond))
        enough = min(_KEPT * beyond[most], beyond[most] - _SURE * noise[most])
        good = (beyond >= enough) & (beyond >= _CLEAR * noise) & (n_pairs >= MIN_STARS)
        return float(radii[int(np.argmax(good))]) if good.any() else radius
