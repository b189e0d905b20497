"""Astrometric calibration: match a reference catalogue, fit a WCS and verify it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from skyextract.datamodel.arrays import F8, Bools
from skyextract.datamodel.catalog import Catalog
from skyextract.datamodel.matches import match_table
from skyextract.datamodel.noise import median
from skyextract.datamodel.refcatalog import (
    COMMON_MOTION,
    TYPICAL_MOTION,
    RefCatalog,
    reference_variance,
)
from skyextract.datamodel.wcs import SkyWcs
from skyextract.errors import StepError
from skyextract.record import record
from skyextract.run import Run
from skyextract.settings.keywords import Astrometry as AstrometryConfig
from skyextract.settings.steps import Status
from skyextract.sky.angles import ARCSEC
from skyextract.sky.dates import FrameDate, frame_date
from skyextract.sky.plate import Plate, gnomonic
from skyextract.stages.astrometry.bend import bent
from skyextract.stages.astrometry.checks import compare_parts, pairs_within
from skyextract.stages.astrometry.corners import outward
from skyextract.stages.astrometry.extent import Extent, extent_of
from skyextract.stages.astrometry.fields import make_fields
from skyextract.stages.astrometry.heldout import follows_stars, untested
from skyextract.stages.astrometry.patterns import attempts, match_patterns
from skyextract.stages.astrometry.pointing import Start, read_start, unread_pointing
from skyextract.stages.astrometry.solution import (
    Solution,
    broken_limit,
    fit_and_test,
    searched,
    with_all_matches,
)
from skyextract.stages.astrometry.sources import Sources, read_sources
from skyextract.stages.astrometry.unsure import Unsure, doubles_of, epoch_of
from skyextract.stages.astrometry.verification import MAX_FALSE_PROBABILITY

MIN_SHARE = 0.1
"""Share of the matched stars that the fit rests on; fewer make it a FALLBACK."""
MAX_RADIUS = 60.0
"""Degrees from the middle of a frame: a tangent plane stretches without limit towards 90."""
MAX_YEARS = 20.0
"""From this many years on, stars without proper motions are told of."""
SHARE_FROM = 50
"""The share counts from this many matched stars."""


@record
class Astrometry:
    """The result of `solve_astrometry`.

    Attributes
    ----------
    status : Status
        COMPLETE; FALLBACK if the fit rests on few of the matched stars; FAILED.
    reason : str
        Why it is not COMPLETE; empty if it is.
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
        Error of the plate per axis, scatter that the known errors do not explain unless it is the
        reference catalogue's, and what parts of the frame differ by, arcsec.
    plate : Plate or None
        The fitted polynomials; None after a failure.
    extent : Extent or None
        What is expected of the plate at each place; None after a failure.
    remark : str
        Worth a warning beside the reason; empty if nothing is.
    """

    status: Status
    reason: str
    source: str
    wcs: SkyWcs | None
    metrics: dict[str, Any]
    matches: Catalog
    used: Bools
    floor: float
    plate: Plate | None
    extent: Extent | None = None
    remark: str = ""

    def error_at(self, x: F8, y: F8) -> F8:
        """Return the error of sky positions per axis, arcsec, at 0-based pixels.

        It is `floor` at least, and more where the plate is not held by stars.
        """
        more = np.zeros(len(x))
        if self.extent is not None:
            usual = self.metrics["checks"]["error_of_fit"]
            more = np.sqrt(np.maximum(self.extent.error(x, y) ** 2 - usual**2, 0.0))
        return np.asarray(np.hypot(self.floor, np.nan_to_num(more)))

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


def solve_astrometry(
    catalog: Catalog, header: Mapping[str, Any], shape: tuple[int, int], wcs: SkyWcs | None,
    reference: RefCatalog, config: AstrometryConfig, run: Run, pixel_scale: float = 0.0,
) -> Astrometry:  # fmt: skip
    """Match the sources with a reference catalogue, fit a WCS and verify it.

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
        FAILED, with the reason, when no solution within the limits could be verified.
    """
    sources = read_sources(catalog)
    is_empty = reference.n_stars == 0
    low, high = config.astrefmag_limits
    mag = reference.mag
    inside = ~((mag < low) | (mag > high)) & np.isfinite(reference.ra) & np.isfinite(reference.dec)
    when = frame_date(header)
    reference = reference.take(inside)
    _tell_motions(reference, when, run)
    drift = 1e-3 * COMMON_MOTION * reference.years_without_motion(when.year)
    has_errors = (
        bool(np.mean(np.isfinite(reference.ra_error)) >= 0.5) if reference.n_stars else True
    )
    reference = reference.at_epoch(when.year)
    start = read_start(header, shape, wcs, config, pixel_scale)
    metrics = _no_metrics(wcs)
    if start is None:
        quoted = unread_pointing(header)
        reason = "no WCS and no pointing in the header"
        if quoted:
            reason += f": {quoted} cannot be read"
    elif len(sources.x) < 3:
        reason = f"{len(sources.x)} sources with a position: too few"
    elif reference.n_stars == 0:
        within = "the reference catalogue has no star"
        reason = within if is_empty else f"{within} with a position within ASTREFMAG_LIMITS"
    elif min(start.scales) / ARCSEC * math.hypot(*shape) > 2.0 * MAX_RADIUS:
        # A patch of it would match, and the plate be wrong elsewhere.
        reason = (
            f"{min(start.scales):.4g} arcsec/pixel make the frame more than "
            f"{2.0 * MAX_RADIUS:g} degrees from corner to corner, which one tangent plane does not "
            "hold: a WCS of the header stays as it is"
        )
    else:
        solution, reason, metrics["n_reference"] = _solve(start, sources, reference, config)
        doubles = None if solution is None else doubles_of(solution, sources)
        if doubles is not None:
            solution, reason, _ = _solve(start, sources, doubles.reference, config)
        if solution is not None:
            run.info(_in_words(solution))
            epoch = epoch_of(solution, when.year)
            unsure = Unsure(drift, solution.fit, doubles, epoch, has_errors)
            try:
                result = _assembled(solution, start, sources, catalog, config, unsure)
            except StepError as error:
                reason = str(error)
            else:
                for told in filter(None, (result.reason or unsure.remark, result.remark)):
                    run.warn(f"astrometry: {told}")
                return result
        if solution is None:
            reason += _remedy(start, sources, reference, header, wcs, config)
    run.warn(f"astrometry failed: {reason}")
    return failed_astrometry(wcs, catalog.n_rows, reason, metrics)


def _remedy(
    start: Start, sources: Sources, reference: RefCatalog, header: Mapping[str, Any],
    wcs: SkyWcs | None, config: AstrometryConfig,
) -> str:  # fmt: skip
    """Say what would have matched."""
    from skyextract.stages.astrometry.hints import remedy

    def solve(start: Start, sources: Sources, reference: RefCatalog) -> Solution | None:
        return _solve(start, sources, reference, config)[0]

    return remedy(start, sources, reference, solve, header, wcs, config)


def failed_astrometry(
    wcs: SkyWcs | None, n_sources: int, reason: str, metrics: dict[str, Any] | None = None
) -> Astrometry:
    """Return a failure, which leaves the header's WCS as it is."""
    return Astrometry(
        Status.FAILED, reason, "NONE" if wcs is None else "HEADER", wcs,
        metrics or _no_metrics(wcs), Catalog(), np.zeros(n_sources, bool), 0.0, None,
    )  # fmt: skip


def _tell_motions(reference: RefCatalog, when: FrameDate, run: Run) -> None:
    """Warn if there are proper motions that could not be applied, or by another card."""
    years = reference.years_without_motion(when.year)
    if years > MAX_YEARS:
        run.warn(
            f"{reference.name} has no proper motions, and its positions are {years:.0f} years from "
            f"the frame's: stars may be off by {1e-3 * TYPICAL_MOTION * years:.2f} arcsec"
        )
    if not np.any(np.isfinite(reference.pmra)):
        return
    refused = " and ".join(when.refused) + " is no date of an observation" if when.refused else ""
    if not math.isfinite(when.mjd):
        run.warn(f"{refused or 'no date in the header'}: proper motions are not applied")
    elif not np.any(np.isfinite(reference.epoch)):
        run.warn(f"{reference.name}: no epoch: proper motions are not applied")
    elif refused:
        run.warn(f"{refused}: proper motions are applied to {when.card}")


def _no_metrics(wcs: SkyWcs | None) -> dict[str, Any]:
    keys = (
        "n_reference", "n_matched", "n_used", "rms_arcsec", "rms_holdout_arcsec", "pixel_scale",
        "rotation_deg", "parity", "shift_arcsec", "false_match_probability",
    )  # fmt: skip
    return {"source": "NONE" if wcs is None else "HEADER"} | dict.fromkeys(keys)


def _solve(
    start: Start, sources: Sources, reference: RefCatalog, config: AstrometryConfig
) -> tuple[Solution | None, str, int | None]:
    """Try rough solutions until one is verified.

    Returns the solution, the reason of a failure and the number of reference stars in reach.
    """
    best: Solution | None = None
    outside = ""
    fields = make_fields(start, sources.x, sources.y, reference, ordered=sources.ordered)
    in_reach = max(field.reference.n_stars for field in fields)
    for scale, field, depth in attempts(start, fields):
        for rough in match_patterns(start, field, scale, depth):
            solution = fit_and_test(start, sources, field, rough, config)
            if solution is None:
                continue
            if solution.verification.probability <= MAX_FALSE_PROBABILITY:
                solution = with_all_matches(solution, sources, start, config)
                solution = outward(solution, sources, start, config)
                solution = bent(solution, sources, start, config)
                wrong = broken_limit(solution, start)
                if not wrong:
                    return solution, "", in_reach
                outside = outside or wrong
            if best is None or solution.verification.probability < best.verification.probability:
                best = solution
    if in_reach == 0:
        return None, "no reference star where the frame can be", in_reach
    if outside:
        return None, f"a solution was found outside the limits: {outside}", in_reach
    if best is None:
        reason = f"no match with {in_reach} reference stars in reach ({searched(start)})"
        return None, reason, in_reach
    match = best.verification
    return (
        None,
        f"the best match ({match.n_matched} pairs, {match.expected:.1f} by chance) is false with "
        f"probability {match.probability:.1e} ({searched(start)})",
        in_reach,
    )


def _in_words(solution: Solution) -> str:
    fit, match = solution.fit, solution.verification
    return (
        f"astrometry: {match.n_matched} of {match.n_reference} reference stars matched "
        f"({match.expected:.1f} by chance), rms {fit.rms():.4f} arcsec per axis "
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


def _assembled(
    solution: Solution, start: Start, sources: Sources, catalog: Catalog,
    config: AstrometryConfig, unsure: Unsure,
) -> Astrometry:  # fmt: skip
    """Assemble the result of a verified solution; StepError if parts of the frame contradict it."""
    fit, plate = solution.fit, solution.fit.plate
    cards = plate.cards(_projection(config, start, plate), start.shape)
    wcs = SkyWcs.from_header({"NAXIS1": start.shape[1], "NAXIS2": start.shape[0]} | cards)
    assert wcs is not None
    used = np.zeros(catalog.n_rows, bool)
    own = solution.first[solution.in_fit]
    used[sources.row[own[fit.used]]] = True
    checks = compare_parts(solution, sources, start.shape, config)
    wrong = checks.contradiction or checks.split(plate.pixel_scale)
    if wrong:
        raise StepError(wrong)
    matches = _match_table(solution, sources, catalog, used)
    extent = solution.extent or solution.looked_at or extent_of(solution, sources, start.shape)
    # A star may be just outside the frame and its image, by their errors, inside.
    x, y = wcs.to_pixel(matches["ALPHA_REFERENCE"], matches["DELTA_REFERENCE"])
    ny, nx = start.shape
    inside = (x > -0.5) & (x < nx - 0.5) & (y > -0.5) & (y < ny - 0.5)
    metrics = {
        "source": "FITTED",
        "n_reference": solution.verification.n_reference + int(np.sum(~inside)),
        "n_matched": matches.n_rows,
        "n_used": int(used.sum()),
        "rms_arcsec": fit.rms(),
        "rms_holdout_arcsec": fit.rms(held=True),
        "pixel_scale": plate.pixel_scale,
        "rotation_deg": wcs.rotation,
        "parity": wcs.parity,
        "shift_arcsec": _shift(plate, start),
        "false_match_probability": solution.verification.probability,
        "checks": unsure.numbers | checks.numbers | {"largest_error_of_fit": extent.worst()[0]},
    }
    n_used, n_matched = int(used.sum()), matches.n_rows
    weak = ""
    if n_matched >= SHARE_FROM and n_used < MIN_SHARE * n_matched:
        weak = f"the fit rests on {n_used} of {n_matched} matched stars"
    # The errors of a plate with restrained terms hold that, place by place.
    follows = follows_stars(fit) if solution.extent is None else ""
    weak = weak or untested(fit, start.wcs) or follows or checks.weakness(plate.pixel_scale)
    quoted = reference_variance(solution.region, solution.second[solution.in_fit])
    weak = weak or extent.weakness(fit, math.sqrt(median(quoted))) or unsure.weakness
    # Stars with two entries may have been left out.
    weak = weak or (checks.outside.told if unsure.doubles is None else "")
    status = Status.FALLBACK if weak else Status.COMPLETE
    floor = math.hypot(unsure.fit_error, checks.error, *unsure.errors)
    remark = checks.brightness.told(plate.pixel_scale, floor)
    return Astrometry(
        status, weak, "FITTED", wcs, metrics, matches, used, floor, plate, extent, remark
    )


def _shift(plate: Plate, start: Start) -> float:
    """Distance of the frame's centre from where it was expected, arcsec."""
    x, y = gnomonic(np.array([plate.ra0]), np.array([plate.dec0]), start.ra, start.dec)
    return ARCSEC * math.hypot(float(x[0]), float(y[0]))


def _match_table(solution: Solution, sources: Sources, catalog: Catalog, used: Bools) -> Catalog:
    """Return the one-to-one pairs within the matching radius of the final WCS.

    Columns of its own: detection minus reference in the tangent plane (arcsec), their distance,
    and whether the fit used it.
    """
    region = solution.region
    first, second, dx, dy = pairs_within(solution, sources, solution.radius)
    rows = sources.row[first]
    order = np.argsort(rows, kind="stable")
    first, second, rows, dx, dy = first[order], second[order], rows[order], dx[order], dy[order]
    return match_table(
        catalog, rows, sources.x[first], sources.y[first], region, second, region.mag[second],
        DXI=dx, DETA=dy, DISTANCE=np.hypot(dx, dy), USED=used[rows],
    )  # fmt: skip
