"""The stars of a zero point: those of the pairs that are fit for the task."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from skyextract.datamodel.arrays import I8, AnyArray
from skyextract.datamodel.flags import Flags, FlagsSky, Mask
from skyextract.datamodel.noise import median
from skyextract.datamodel.psf import PsfSource
from skyextract.errors import StepError
from skyextract.kernels.values import MAD_TO_SIGMA
from skyextract.record import record
from skyextract.stages.photometry.company import in_cluster
from skyextract.stages.photometry.depth import column, split_key
from skyextract.stages.photometry.hidden import MAG_PER_RATIO, hidden_magnitudes
from skyextract.stages.photometry.zeropoint import MIN_STARS, shortest_half

if TYPE_CHECKING:
    from skyextract.datamodel.arrays import F8, Bools
    from skyextract.datamodel.catalog import Catalog
    from skyextract.datamodel.exposure import Exposure
    from skyextract.datamodel.refcatalog import RefCatalog
    from skyextract.settings.keywords import Photometry as PhotometryConfig
    from skyextract.sky.bands import Band
    from skyextract.stages.photometry.pairs import Pairs


CUT_OFF = (
    Flags.TRUNCATED | Flags.ISOPHOTE_INCOMPLETE | Flags.DEBLEND_OVERFLOW | Flags.EXTRACT_OVERFLOW
)
"""SExtractor's FLAGS: cut off or incomplete.  APERTURE_INCOMPLETE, of any aperture at all, says
nothing about the fit of the PSF."""
MAX_MASKED = 0.1
"""Share of a star's light on masked pixels, which its PSF fit does without, up to which it may
serve where too few stars have none."""
MASKED_REACH = 2.0
"""Half side of the box in which that light is counted, FWHM."""
_MASKED = np.uint16(Mask.BAD | Mask.SAT | Mask.INTRP | Mask.CR | Mask.NO_DATA)
EXTENDED, SURELY = 0.0047, 4.0
"""SPREAD_MODEL above that of PSF stars, and its errors, from which a source is no star: fits of the
PSF to galaxies, of which deep reference catalogues have many, find a part of their light."""
MANY_EXTENDED, LIKELY, UNTOLD = 0.05, 2.0, 0.0047
"""Where a larger share is extended, so many errors are enough, and a source of a larger error is no
star: it is not known to be one."""
MAX_REF_ERROR = 0.2
ENOUGH = 30
"""Stars from which blends and faint ones are left out, and the S/N asked for may rise."""
SNR_STEPS = (50.0, 20.0, 10.0)
MIN_SNR = 5.0
A_FEW = 10
"""Stars above the least of these steps from which fainter ones, found by chance, are left out."""
CHECKED_SNR = 10.0
"""Parts of the frame are compared with all stars above this: there are more than in the fit."""


@record
class Stars:
    """Stars of the fit; `row` in the catalogue, `star` in the reference."""

    row: I8
    star: I8
    x: F8
    y: F8
    mag: F8
    instrumental: F8
    errors: F8
    color: F8

    def take(self, rows: AnyArray) -> Stars:
        """Return the given stars (a boolean mask or indices)."""
        return Stars(*(values[rows] for values in vars(self).values()))


def choose_flux(catalog: Catalog, exposure: Exposure, key: str) -> str:
    """Return the flux column to calibrate, FLUX_PSF or FLUX_APER(2) say.

    AUTO: PSF where there is a measured or given PSF, else APERCOR, else AUTO.

    Raises
    ------
    StepError
        The column, or its error, is not in the catalogue.
    """
    if key.upper() != "AUTO":
        wanted = "FLUX_" + key.upper().removeprefix("FLUX_")
        name, _ = split_key(wanted)
        missing = [n for n in (name, name.replace("FLUX", "FLUXERR", 1)) if n not in catalog]
        if missing:
            raise StepError(f"no column {' '.join(missing)} (PHOT_FLUX_KEY {key})")
        if catalog[name].ndim == 2:
            wanted = wanted if "(" in wanted else f"{wanted}(1)"
            if not 0 <= split_key(wanted)[1] < catalog[name].shape[1]:
                raise StepError(f"{name} has {catalog[name].shape[1]} elements, not {wanted}")
        return wanted
    source = exposure.psf.source if exposure.psf is not None else PsfSource.NONE
    real = source in {PsfSource.MEASURED, PsfSource.FILE}
    for name in ("FLUX_PSF", "FLUX_APERCOR", "FLUX_AUTO"):
        if (real or name == "FLUX_AUTO") and {name, name.replace("FLUX", "FLUXERR")} <= set(
            catalog
        ):
            return f"{name}(1)" if catalog[name].ndim == 2 else name
    raise StepError("no flux column to calibrate: FLUX_PSF, FLUX_APERCOR or FLUX_AUTO")


@record
class _Candidates:
    """What is known of the matched stars, (n,) each; magnitudes and colour of the reference."""

    mag: F8
    mag_error: F8
    color: F8
    flux: F8
    snr: F8
    flags: AnyArray
    flags_sky: AnyArray

    def expected_snr(self, keep: Bools) -> F8:
        """Return S/N as the reference magnitude has it, with the zero point of the brighter half.

        Of stars at the limit only those are found that noise or a neighbour makes brighter: if the
        measured flux chose them, they would make the zero point too bright.
        """
        bright = keep & (self.snr >= median(self.snr[keep]))
        with np.errstate(invalid="ignore", divide="ignore"):
            y = self.mag + 2.5 * np.log10(self.flux)
            zero_point, _ = shortest_half(y[bright])
            return np.asarray(self.snr * 10.0 ** (0.4 * (zero_point - y)))


def select_stars(
    pairs: Pairs, catalog: Catalog, reference: RefCatalog, band: Band, flux_key: str,
    color_keys: tuple[str, str] | None, config: PhotometryConfig, report: dict[str, Any],
    exposure: Exposure,
) -> tuple[Stars, Stars]:  # fmt: skip
    """Keep the stars that can tell a zero point, and more, with which it can be checked.

    Raises
    ------
    StepError
        With the reason if there are too few.
    """
    matched = _candidates(pairs, catalog, reference, band, flux_key, color_keys, config)
    low, high = config.photref_mag_limits
    within = np.isfinite(matched.mag) & np.isfinite(matched.color)
    within &= (matched.mag >= low) & (matched.mag <= high) & ~(matched.mag_error > MAX_REF_ERROR)
    keep = _usable(matched, band, flux_key, config)
    keep &= _whole(exposure, pairs, matched.flags_sky, flux_key, keep, report)
    if int(keep.sum()) < MIN_STARS:
        raise StepError(
            f"{int(keep.sum())} stars are free of bad pixels: too few for a zero point "
            f"({MIN_STARS} needed; {len(keep)} matched)"
        )
    if exposure.psf is not None and exposure.psf.source is PsfSource.MEASURED:
        keep &= _points(catalog, pairs.row, matched.flags_sky, flux_key, keep, report)
    # Stricter where there are stars enough.
    snr = matched.expected_snr(keep)
    number = {step: int(np.sum(keep & (snr >= step))) for step in SNR_STEPS}
    least = next((step for step in SNR_STEPS if number[step] >= ENOUGH), None)
    if least is None and number[SNR_STEPS[-1]] >= A_FEW:
        least = SNR_STEPS[-1]
    checked = keep & (snr >= CHECKED_SNR)
    if least is not None:
        keep &= snr >= least
        report["least_snr"] = least
    report["n_bright"] = int(np.sum(within & (snr >= (least or MIN_SNR))))
    for beside in (Flags.NEIGHBOURS | Flags.BLENDED, Flags.BLENDED):
        alone = (matched.flags & beside) == 0
        if (keep & alone).sum() >= ENOUGH:
            keep &= alone
            checked &= alone
            break
    if exposure.psf is not None:
        crowded = in_cluster(catalog, pairs.row, exposure.shape, exposure.psf.fwhm)
        if (keep & ~crowded).sum() >= A_FEW:
            keep &= ~crowded
            checked &= ~crowded
        report["n_in_cluster"] = int((keep & crowded).sum())
    with np.errstate(invalid="ignore", divide="ignore"):
        of_reference = np.where(matched.mag_error > 0.0, matched.mag_error, 0.0)
        errors = np.hypot(MAG_PER_RATIO / matched.snr, of_reference)
        instrumental = -2.5 * np.log10(matched.flux)
        if split_key(flux_key)[0] == "FLUX_PSF":
            # fitted positions find the peaks of the noise
            instrumental += MAG_PER_RATIO / matched.snr**2
            mean, scatter = hidden_magnitudes(catalog, exposure, flux_key, pairs.row, errors)
            instrumental += mean
            errors = np.hypot(errors, scatter)
    report["n_selected"] = int(keep.sum())
    stars = Stars(
        pairs.row, pairs.star, pairs.x, pairs.y, matched.mag, instrumental, errors, matched.color
    )
    return stars.take(keep), stars.take(keep | checked)


def _candidates(
    pairs: Pairs, catalog: Catalog, reference: RefCatalog, band: Band, flux_key: str,
    color_keys: tuple[str, str] | None, config: PhotometryConfig,
) -> _Candidates:  # fmt: skip
    """Return what is known of the matched stars; StepError where PHOTREF_MAGERR_KEY is not."""
    wanted = config.photref_magerr_key
    if wanted and wanted not in reference.magnitudes:
        raise StepError(f"no column {wanted} (PHOTREF_MAGERR_KEY) in {reference.name}")
    unknown = np.full(reference.n_stars, math.nan)
    mag_error = reference.magnitudes.get(wanted, reference.magnitude_errors.get(band.key, unknown))
    color = np.zeros(reference.n_stars)
    if color_keys:
        color = reference.magnitudes[color_keys[0]] - reference.magnitudes[color_keys[1]]
    flux = column(catalog, flux_key)[pairs.row]
    flux_error = column(catalog, flux_key.replace("FLUX", "FLUXERR", 1))[pairs.row]
    with np.errstate(invalid="ignore", divide="ignore"):
        snr = np.where(flux_error > 0.0, flux / flux_error, math.nan)
    flags, flags_sky = (
        np.asarray(catalog[name])[pairs.row] if name in catalog else np.zeros_like(pairs.row)
        for name in ("FLAGS", "FLAGS_SKY")
    )
    mag = reference.magnitudes[band.key]
    return _Candidates(
        mag[pairs.star], mag_error[pairs.star], color[pairs.star], flux, snr, flags, flags_sky
    )


def _usable(matched: _Candidates, band: Band, flux_key: str, config: PhotometryConfig) -> Bools:
    """Tell which stars have what a zero point needs; StepError with what too few have."""
    low, high = config.photref_mag_limits
    flags, flags_sky, snr, mag = matched.flags, matched.flags_sky, matched.snr, matched.mag
    of_psf = split_key(flux_key)[0] == "FLUX_PSF"
    cut = CUT_OFF if of_psf else CUT_OFF | Flags.APERTURE_INCOMPLETE
    keep = np.ones(len(mag), dtype=np.bool_)
    for what, good in (
        (f"have a magnitude {band.key}", np.isfinite(mag)),
        ("have a colour", np.isfinite(matched.color)),
        ("are within PHOTREF_MAG_LIMITS", (mag >= low) & (mag <= high)),
        (f"have a reference error below {MAX_REF_ERROR}", ~(matched.mag_error > MAX_REF_ERROR)),
        (f"have a positive {flux_key}", np.isfinite(snr) & (matched.flux > 0.0)),
        ("are not saturated", (flags & Flags.SATURATED) == 0),
        ("are not cut off (by an edge, or data that lack)", (flags & cut) == 0),
        ("are free of cosmic rays", (flags_sky & int(FlagsSky.COSMIC_RAY)) == 0),
        (f"have S/N above {MIN_SNR:g}", snr >= MIN_SNR),
    ):
        before = int(keep.sum())
        keep &= good
        if int(keep.sum()) < MIN_STARS:
            raise StepError(
                f"{int(keep.sum())} of {before} stars {what}: too few for a zero point "
                f"({MIN_STARS} needed; {len(mag)} matched)"
            )
    return keep


def _whole(
    exposure: Exposure, stars: Pairs, flags_sky: AnyArray, flux_key: str, keep: Bools,
    report: dict[str, Any],
) -> Bools:  # fmt: skip
    """Tell which stars have no bad pixel, or where these are too few, little light on such.

    The fit of the PSF leaves masked pixels out; other fluxes have the interpolated ones.
    """
    whole: Bools = (flags_sky & int(FlagsSky.BAD_PIXEL)) == 0
    if (keep & whole).sum() >= ENOUGH or split_key(flux_key)[0] != "FLUX_PSF":
        return whole
    rows = np.flatnonzero(keep & ~whole)
    rows = rows[_masked_light(exposure, stars.x[rows], stars.y[rows]) < MAX_MASKED]
    whole[rows] = True
    report["n_with_masked_pixels"] = len(rows)
    return whole


def _points(
    catalog: Catalog, rows: I8, flags_sky: AnyArray, flux_key: str, keep: Bools,
    report: dict[str, Any],
) -> Bools:  # fmt: skip
    """Tell which of the matched sources are no galaxies, where the flux is one of point sources.

    By a PSF that is measured: to a wrong one all stars are extended.  All, with `n_extended` in
    the report, where only a few are points.

    Raises
    ------
    StepError
        Fewer are points than a zero point needs.
    """
    if split_key(flux_key)[0] not in {"FLUX_PSF", "FLUX_APERCOR"}:
        return np.ones(rows.size, np.bool_)
    points: Bools = (flags_sky & int(FlagsSky.NO_POINT)) == 0
    if {"SPREAD_MODEL", "SPREADERR_MODEL"} <= set(catalog):
        points &= are_stars(catalog, rows, keep)
    n_points, n_all = int((keep & points).sum()), int(keep.sum())
    report["n_extended"] = n_all - n_points
    if n_points < MIN_STARS:
        raise StepError(
            f"{n_points} of {n_all} matched sources are stars by SPREAD_MODEL and FLAGS_SKY "
            f"({MIN_STARS} needed): galaxies in the reference catalogue, or a wrong PSF?"
        )
    return points if n_points >= A_FEW else np.ones(rows.size, np.bool_)


def are_stars(catalog: Catalog, rows: I8, keep: Bools) -> Bools:
    """Tell which of the matched sources are stars by what SPREAD_MODEL is for PSF stars."""
    spread, error = (catalog[name] for name in ("SPREAD_MODEL", "SPREADERR_MODEL"))
    of_stars = ((catalog["FLAGS_SKY"] & int(FlagsSky.PSF_STAR)) != 0) & np.isfinite(spread + error)
    middle = systematic = 0.0
    if of_stars.any():
        middle = median(spread[of_stars])
        scatter = MAD_TO_SIGMA * median(np.abs(spread[of_stars] - middle))
        systematic = math.sqrt(max(scatter**2 - median(error[of_stars]) ** 2, 0.0))
    spread, error, systematic = spread[rows], error[rows], max(EXTENDED, SURELY * systematic)
    points = ~(spread - middle > np.hypot(SURELY * error, systematic))
    if (keep & ~points).sum() > MANY_EXTENDED * keep.sum():
        surely = points & ~(error > UNTOLD)
        surely &= ~(spread - middle > np.hypot(LIKELY * error, systematic))
        if (keep & surely).sum() >= A_FEW:
            return np.asarray(surely)
    return np.asarray(points)


def _masked_light(exposure: Exposure, x: F8, y: F8) -> F8:
    """Return the share of the light of point sources on masked pixels or beyond the image."""
    psf = exposure.psf
    if psf is None or not len(x):
        return np.ones(len(x))
    radius = math.ceil(MASKED_REACH * psf.fwhm)
    column, row = np.rint(x).astype(np.int64), np.rint(y).astype(np.int64)
    stamps = psf.stamps(x, y, x - column, y - row, 2 * radius + 1)
    masked = np.pad((exposure.mask & _MASKED) != 0, radius, constant_values=True)
    share = np.empty(len(x))
    for k, stamp in enumerate(stamps):
        inside = masked[row[k] : row[k] + 2 * radius + 1, column[k] : column[k] + 2 * radius + 1]
        share[k] = stamp[inside].sum(dtype=np.float64)
    return share
