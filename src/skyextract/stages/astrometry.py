"""Astrometric calibration: match a reference catalogue, fit and prove a WCS."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skyextract.catalog import Catalog
from skyextract.kernels.match import mutual_nearest
from skyextract.keywords import Astrometry as AstrometryConfig
from skyextract.plate import Plate, gnomonic, plate_of, stereographic_inverse
from skyextract.refcatalog import RefCatalog
from skyextract.run import Run
from skyextract.stages.astrosources import Sources, read_sources
from skyextract.stages.matching import Field, Rough, attempts, make_fields, search
from skyextract.stages.platefit import PlateFit, fit_plate, models
from skyextract.stages.pointing import Start, frame_year, read_start
from skyextract.stages.verify import MAX_FALSE_PROBABILITY, Offset, Proof, prove
from skyextract.wcs import SkyWcs

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

ARCSEC = 3600.0
SATURATED_OR_CUT = 4 | 8 | 16 | 64 | 128
"""FLAGS of sources whose position is not used for the fit while there are others."""

LEAST_RADIUS = 1.5
"""Matching radius in pixels, at least: CROSSID_RADIUS can be smaller than a wide field's pixel."""


@dataclass(frozen=True)
class Astrometry:
    """The result of `solve_astrometry`.

    Attributes
    ----------
    status : str
        "COMPLETE" or "FAILED".
    reason : str
        Why it failed; empty otherwise.
    source : str
        "FITTED", "HEADER" (failed, and the header has a WCS) or "NONE": the ASTRSRC card.
    wcs : SkyWcs or None
        The fitted WCS, the header's, or none, as `source` says.
    metrics : dict
        Of the JSON summary; None for an unknown number.
    matches : Catalog
        One row per pair, see `_match_table`; empty after a failure.
    used : bool (n,)
        Sources that the fit uses.
    floor : float
        Scatter of the fit per axis that the known errors do not explain, arcsec.
    plate : Plate or None
        The fitted polynomials; None after a failure.
    """

    status: str
    reason: str
    source: str
    wcs: SkyWcs | None
    metrics: dict[str, Any]
    matches: Catalog
    used: Bools
    floor: float
    plate: Plate | None

    def head_cards(self) -> dict[str, Any]:
        """Return the cards of a `.head` file: TAN or TPV, and the rms of the fit (deg).

        Raises
        ------
        ValueError
            The astrometry failed: there is nothing to write.
        """
        if self.plate is None:
            raise ValueError(f"no fitted WCS: {self.reason}")
        kind = "TAN" if self.plate.degree == 1 else "TPV"
        used = self.matches["USED"]
        return self.plate.cards(kind, (0, 0)) | {
            "ASTRRMS1": math.sqrt(float(np.mean(self.matches["DXI"][used] ** 2))) / ARCSEC,
            "ASTRRMS2": math.sqrt(float(np.mean(self.matches["DETA"][used] ** 2))) / ARCSEC,
        }


@dataclass(frozen=True)
class _Solution:
    fit: PlateFit
    proof: Proof
    offset: Offset
    first: Ints
    second: Ints
    in_fit: Ints
    """Pairs given to the fit, indices into `first`."""
    region: RefCatalog
    radius: float


def solve_astrometry(
    catalog: Catalog, header: Mapping[str, Any], shape: tuple[int, int], wcs: SkyWcs | None,
    reference: RefCatalog, config: AstrometryConfig, run: Run, pixel_scale: float = 0.0,
) -> Astrometry:  # fmt: skip
    """Match the sources with a reference catalogue, fit a WCS and prove it.

    Parameters
    ----------
    catalog : Catalog
        XWIN_IMAGE, YWIN_IMAGE or X_IMAGE, Y_IMAGE; if present also their errors, a flux with
        its error, and FLAGS.
    header : mapping
        For the pointing and the date, when there is no WCS.
    shape : tuple of int
        Frame [y, x].
    wcs : SkyWcs or None
        The header's WCS.
    reference : RefCatalog
    config : skyextract.keywords.Astrometry
    run : Run
    pixel_scale : float
        PIXEL_SCALE, arcsec; 0: from the header.

    Returns
    -------
    Astrometry
        FAILED, with the reason, when no solution within the limits could be proved.
    """
    sources = read_sources(catalog)
    low, high = config.astrefmag_limits
    mag = reference.mag
    inside = ~((mag < low) | (mag > high)) & np.isfinite(reference.ra) & np.isfinite(reference.dec)
    year = frame_year(header)
    reference = reference.take(inside).at_epoch(year)
    _tell_motions(reference, year, run)
    start = read_start(header, shape, wcs, config, pixel_scale)
    metrics = _no_metrics(wcs)
    if start is None:
        reason = "no WCS and no pointing in the header"
    elif len(sources.x) < 3:
        reason = f"{len(sources.x)} sources with a position: too few"
    elif reference.n_stars == 0:
        reason = "no reference star within ASTREFMAG_LIMITS"
    else:
        solution, reason, metrics["n_reference"] = _solve(start, sources, reference, config)
        if solution is not None:
            run.info(_told(solution))
            return _complete(solution, start, sources, catalog, config)
    run.warn(f"astrometry failed: {reason}")
    return failed_astrometry(wcs, catalog.n_rows, reason, metrics)


def failed_astrometry(
    wcs: SkyWcs | None, n_sources: int, reason: str, metrics: dict[str, Any] | None = None
) -> Astrometry:
    """Return a failure, which leaves the header's WCS as it is."""
    return Astrometry(
        "FAILED", reason, "NONE" if wcs is None else "HEADER", wcs, metrics or _no_metrics(wcs),
        Catalog(), np.zeros(n_sources, bool), 0.0, None,
    )  # fmt: skip


def _tell_motions(reference: RefCatalog, year: float, run: Run) -> None:
    """Warn if there are proper motions that could not be applied."""
    if not np.any(np.isfinite(reference.pmra)):
        return
    if not math.isfinite(year):
        run.warn("no date in the header: proper motions are not applied")
    elif not np.any(np.isfinite(reference.epoch)):
        run.warn(f"{reference.name}: no epoch: proper motions are not applied")


def _no_metrics(wcs: SkyWcs | None) -> dict[str, Any]:
    keys = (
        "n_reference", "n_matched", "n_used", "rms_arcsec", "rms_holdout_arcsec", "pixel_scale",
        "rotation_deg", "parity", "shift_arcsec", "false_match_probability",
    )  # fmt: skip
    return {"source": "NONE" if wcs is None else "HEADER"} | dict.fromkeys(keys)


def _solve(
    start: Start, sources: Sources, reference: RefCatalog, config: AstrometryConfig
) -> tuple[_Solution | None, str, int | None]:
    """Try rough solutions until one is proved.

    Returns the solution, the reason of a failure and the number of reference stars in reach.
    """
    best: _Solution | None = None
    outside = ""
    fields = make_fields(start, sources.x, sources.y, reference, ordered=sources.ordered)
    in_reach = max(field.reference.n_stars for field in fields)
    for scale, field, depth in attempts(start, fields):
        for rough in search(start, field, scale, depth):
            solution = _finish(start, sources, field, rough, config)
            if solution is None:
                continue
            if solution.proof.probability <= MAX_FALSE_PROBABILITY:
                wrong = _beyond(solution, start)
                if not wrong:
                    return solution, "", in_reach
                outside = outside or wrong
            if best is None or solution.proof.probability < best.proof.probability:
                best = solution
    if in_reach == 0:
        return None, "no reference star where the frame can be", in_reach
    if outside:
        return None, f"a solution was found outside the limits: {outside}", in_reach
    if best is None:
        return None, f"no match with {in_reach} reference stars in reach", in_reach
    proof = best.proof
    return (
        None,
        f"the best match ({proof.n_matched} pairs, {proof.expected:.1f} by chance) is false with "
        f"probability {proof.probability:.1e}",
        in_reach,
    )


def _prior(start: Start, rough: Rough, *, linear: bool) -> Plate:
    """Return the expected plate about the rough centre, mirrored if the match is."""
    x0, y0 = start.centre
    unit = 0.5 * max(start.shape)
    prior = None
    if start.wcs is not None:
        for degree in (1,) if linear else (1, 2, 3, 5, 7):
            prior, error = plate_of(start.wcs.to_j2000, start.shape, degree)
            if not error > 1e-4:
                break
        if not (error <= 0.05 or (linear and math.isfinite(error))):
            prior = None
    if prior is None:
        step = rough.unit * unit
        coefficients = np.array([[0.0, -step, 0.0], [0.0, 0.0, step]])
        prior = Plate(rough.ra0, rough.dec0, x0, y0, unit, coefficients)
    if rough.flip:
        prior = replace(prior, coefficients=prior.coefficients * np.array([[-1.0], [1.0]]))
    return replace(prior, ra0=rough.ra0, dec0=rough.dec0)


def _finish(
    start: Start, sources: Sources, field: Field, rough: Rough, config: AstrometryConfig
) -> _Solution | None:
    """Match everything near a rough solution, fit and weigh it; None if the fit fails."""
    prior = _prior(start, rough, linear=config.projection_type == "TAN")
    ra0, dec0 = rough.ra0, rough.dec0
    xi, eta = rough.xi, rough.eta
    scale = rough.unit * ARCSEC
    half = 0.6 * math.hypot(*start.shape) * math.exp(start.log_range) * scale / ARCSEC
    region = field.reference.take(field.around(start, ra0, dec0, half))
    widest = max(config.crossid_radius, LEAST_RADIUS * scale)
    # First the pairs that the rough solution is sure of, then all within reach of the first
    # fit, then those within its scatter.
    radius = min(rough.radius * scale, 3.0 * widest)
    kind = config.projection_type
    for step in range(4):
        rx, ry = gnomonic(region.ra, region.dec, ra0, dec0)
        near = np.flatnonzero(np.isfinite(rx) & np.isfinite(ry))
        first, second, _ = mutual_nearest(
            ARCSEC * xi, ARCSEC * eta, ARCSEC * rx[near], ARCSEC * ry[near], radius
        )
        second = near[second]
        in_fit = _usable(sources, first, config)
        if len(in_fit) < 3:
            return None
        own, other = first[in_fit], second[in_fit]
        variance = sources.variance[own] * scale**2 + _reference_variance(region, other)
        found = fit_plate(
            sources.x[own], sources.y[own], region.ra[other], region.dec[other], variance, prior,
            models(prior, config.distort_degrees, len(own), linear=kind == "TAN"),
            config.astrclip_nsigma,
        )  # fmt: skip
        if found is None:
            return None
        fit = found
        before, ra0, dec0 = radius, fit.plate.ra0, fit.plate.dec0
        xi, eta = fit.plate.to_plane(sources.x, sources.y)
        scale = fit.plate.pixel_scale
        widest = max(config.crossid_radius, LEAST_RADIUS * scale)
        radius = widest
        if step > 0:
            radius = min(widest, max(6.0 * fit.rms(), 0.5 * scale))
            if abs(radius - before) < 0.05 * before:
                break
    offset = _offset(fit.plate, start)
    proof = prove(
        fit.plate, start.shape, sources.x, sources.y, region.ra, region.dec, widest, offset,
        fit.model.parameters,
    )  # fmt: skip
    return _Solution(fit, proof, offset, first, second, in_fit, region, widest)


def _usable(sources: Sources, first: Ints, config: AstrometryConfig) -> Ints:
    """Return the pairs whose sources are good enough for the fit.

    Saturated or cut sources serve where the others are fewer than ten and than half.
    """
    bright = sources.snr[first] >= config.sn_thresholds[0]
    clean = (sources.flags[first] & SATURATED_OR_CUT) == 0
    good = np.flatnonzero(bright & clean)
    if len(good) >= max(10, len(first) // 2):
        return good
    some = np.flatnonzero(bright)
    return some if len(some) >= 3 else np.arange(len(first))


def _reference_variance(region: RefCatalog, rows: Ints) -> Floats:
    """Variance of one axis of the reference positions, arcsec2; 0 where unknown."""
    ra, dec = region.ra_error[rows], region.dec_error[rows]
    return np.nan_to_num(0.5 * (ra * ra + dec * dec))


def _offset(plate: Plate, start: Start) -> Offset:
    """How far a plate is from what was expected of the frame."""
    x, y = gnomonic(np.array([plate.ra0]), np.array([plate.dec0]), start.ra, start.dec)
    shift = ARCSEC * float(max(abs(x[0]), abs(y[0])))
    scale = plate.pixel_scale
    if len(start.scales) == 1:
        log_scale = abs(math.log(scale / start.scales[0]))
    else:
        log_scale = 0.5 * math.log(start.hard_scales[1] / start.hard_scales[0])
    return Offset(shift, _turn(plate, start), log_scale, len(start.flips))


def _turn(plate: Plate, start: Start) -> float:
    """Angle in radians between the plate and the expected one; pi if none is expected."""
    if start.angle >= math.pi and start.wcs is None:
        return math.pi
    # Both in one tangent plane: near a pole, north means nothing.
    x0, y0 = start.centre
    step = 0.25 * min(start.shape)
    x, y = np.array([x0, x0 + step, x0]), np.array([y0, y0, y0 + step])
    if start.wcs is None:
        unit = start.scales[0] / ARCSEC
        wx, wy = (v * unit for v in start.expected(x, y))
        sky = stereographic_inverse(wx, wy, start.ra, start.dec)
    else:
        sky = start.wcs.to_j2000(x, y)
    xi, eta = gnomonic(*sky, plate.ra0, plate.dec0)
    expected = np.array([[xi[1] - xi[0], xi[2] - xi[0]], [eta[1] - eta[0], eta[2] - eta[0]]])
    fitted = plate.matrix
    if np.linalg.det(fitted) * np.linalg.det(expected) < 0.0:
        expected = expected * np.array([[-1.0], [1.0]])
    turn = fitted @ np.linalg.inv(expected)
    return abs(math.atan2(turn[1, 0] - turn[0, 1], turn[0, 0] + turn[1, 1]))


def _beyond(solution: _Solution, start: Start) -> str:
    """Say which limit a solution breaks; empty if none."""
    offset, scale = solution.offset, solution.fit.plate.pixel_scale
    if not offset.position <= start.position * ARCSEC:
        return (
            f"shifted by {offset.position / 60.0:.2f} arcmin, "
            f"POSITION_MAXERR is {start.position * 60.0:g}"
        )
    if offset.angle > start.angle:
        return (
            f"rotated by {math.degrees(offset.angle):.2f} deg, "
            f"POSANGLE_MAXERR is {math.degrees(start.angle):g}"
        )
    if not start.hard_scales[0] <= scale <= start.hard_scales[1]:
        return (
            f"{scale:.4g} arcsec/pixel, not between "
            f"{start.hard_scales[0]:.4g} and {start.hard_scales[1]:.4g}"
        )
    return ""


def _told(solution: _Solution) -> str:
    fit, proof = solution.fit, solution.proof
    return (
        f"astrometry: {proof.n_matched} of {proof.n_reference} reference stars matched "
        f"({proof.expected:.1f} by chance), rms {fit.rms():.4f} arcsec per axis "
        f"({fit.rms(held=True):.4f} held out), {fit.model.kind} of degree {fit.plate.degree}"
    )


def _projection(config: AstrometryConfig, start: Start, plate: Plate) -> str:
    """Return the projection of the fitted WCS."""
    if config.projection_type != "SAME":
        return config.projection_type
    kind = "" if start.wcs is None else str(start.wcs.to_header().get("CTYPE1", ""))
    if kind.endswith("TPV"):
        return "TPV"
    return "TAN-SIP" if plate.degree > 1 else "TAN"


def _complete(
    solution: _Solution, start: Start, sources: Sources, catalog: Catalog,
    config: AstrometryConfig,
) -> Astrometry:  # fmt: skip
    """Assemble the result of a proved solution."""
    fit, plate = solution.fit, solution.fit.plate
    cards = plate.cards(_projection(config, start, plate), start.shape)
    wcs = SkyWcs.from_header({"NAXIS1": start.shape[1], "NAXIS2": start.shape[0]} | cards)
    assert wcs is not None
    used = np.zeros(catalog.n_rows, bool)
    own = solution.first[solution.in_fit]
    used[sources.row[own[fit.used]]] = True
    matches = _match_table(solution, sources, catalog, used)
    # A star may be just outside the frame and its image, by their errors, inside.
    x, y = wcs.to_pixel(matches["ALPHA_REFERENCE"], matches["DELTA_REFERENCE"])
    ny, nx = start.shape
    inside = (x > -0.5) & (x < nx - 0.5) & (y > -0.5) & (y < ny - 0.5)
    metrics = {
        "source": "FITTED",
        "n_reference": solution.proof.n_reference + int(np.sum(~inside)),
        "n_matched": matches.n_rows,
        "n_used": int(used.sum()),
        "rms_arcsec": fit.rms(),
        "rms_holdout_arcsec": fit.rms(held=True),
        "pixel_scale": plate.pixel_scale,
        "rotation_deg": wcs.rotation,
        "parity": wcs.parity,
        "shift_arcsec": _shift(plate, start),
        "false_match_probability": solution.proof.probability,
    }
    return Astrometry("COMPLETE", "", "FITTED", wcs, metrics, matches, used, fit.floor, plate)


def _shift(plate: Plate, start: Start) -> float:
    """Distance of the frame's centre from where it was expected, arcsec."""
    x, y = gnomonic(np.array([plate.ra0]), np.array([plate.dec0]), start.ra, start.dec)
    return ARCSEC * math.hypot(float(x[0]), float(y[0]))


def _match_table(solution: _Solution, sources: Sources, catalog: Catalog, used: Bools) -> Catalog:
    """Return the one-to-one pairs within the matching radius of the final WCS.

    Columns: NUMBER and pixel position of the source; row, position and magnitude of the
    reference star; detection minus reference in the tangent plane; whether the fit used it.
    """
    plate, region = solution.fit.plate, solution.region
    xi, eta = (ARCSEC * v for v in plate.to_plane(sources.x, sources.y))
    rx, ry = (ARCSEC * v for v in gnomonic(region.ra, region.dec, plate.ra0, plate.dec0))
    near = np.flatnonzero(np.isfinite(rx) & np.isfinite(ry))
    first, second, distance = mutual_nearest(xi, eta, rx[near], ry[near], solution.radius)
    second = near[second]
    rows = sources.row[first]
    order = np.argsort(rows, kind="stable")
    first, second, distance, rows = first[order], second[order], distance[order], rows[order]
    number = np.asarray(catalog["NUMBER"]) if "NUMBER" in catalog else np.arange(catalog.n_rows) + 1
    return Catalog({
        "NUMBER": number[rows].astype(np.int32),
        "REFERENCE_ROW": region.row[second],
        "X_IMAGE": sources.x[first] + 1.0,
        "Y_IMAGE": sources.y[first] + 1.0,
        "ALPHA_REFERENCE": region.ra[second],
        "DELTA_REFERENCE": region.dec[second],
        "MAG_REFERENCE": region.mag[second],
        "DXI": xi[first] - rx[second],
        "DETA": eta[first] - ry[second],
        "DISTANCE": distance,
        "USED": used[rows],
    })  # fmt: skip
