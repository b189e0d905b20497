"""The stars of a zero point: those of the pairs that are fit for the task."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from skyextract.datamodel.arrays import I8, AnyArray
from skyextract.datamodel.flags import Flags, FlagsSky, Mask
from skyextract.datamodel.psf import PsfSource
from skyextract.errors import StepError
from skyextract.record import record
from skyextract.stages.photometry.depth import column, split_key
from skyextract.stages.photometry.hidden import MAG_PER_RATIO, hidden_magnitudes
from skyextract.stages.photometry.zeropoint import MIN_STARS

if TYPE_CHECKING:
    from skyextract.datamodel.arrays import F8, Bools
    from skyextract.datamodel.catalog import Catalog
    from skyextract.datamodel.exposure import Exposure
    from skyextract.datamodel.refcatalog import RefCatalog
    from skyextract.settings.keywords import Photometry as PhotometryConfig
    from skyextract.sky.bands import Band
    from skyextract.stages.photometry.pairs import Pairs


DAMAGED = (
    Flags.TRUNCATED
    | Flags.APERTURE_INCOMPLETE
    | Flags.ISOPHOTE_INCOMPLETE
    | Flags.DEBLEND_OVERFLOW
    | Flags.EXTRACT_OVERFLOW
)
"""SExtractor's FLAGS: saturated; neighbours; cut off or incomplete."""
MAX_MASKED = 0.1
"""Share of a star's light on masked pixels, which its PSF fit does without, up to which it may
serve where too few stars have none."""
MASKED_REACH = 2.0
"""Half side of the box in which that light is counted, FWHM."""
_MASKED = np.uint16(Mask.BAD | Mask.SAT | Mask.INTRP | Mask.CR | Mask.NO_DATA)
MAX_REF_ERROR = 0.2
ENOUGH = 30
"""Stars from which blends and faint ones are left out, and the S/N asked for may rise."""
SNR_STEPS = (50.0, 20.0, 10.0, 5.0)
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
    mag = reference.magnitudes[band.key][pairs.star]
    wanted = config.photref_magerr_key
    if wanted and wanted not in reference.magnitudes:
        raise StepError(f"no column {wanted} (PHOTREF_MAGERR_KEY) in {reference.name}")
    unknown = np.full(reference.n_stars, math.nan)
    mag_error = reference.magnitudes.get(wanted, reference.magnitude_errors.get(band.key, unknown))[
        pairs.star
    ]
    flux = column(catalog, flux_key)[pairs.row]
    flux_error = column(catalog, flux_key.replace("FLUX", "FLUXERR", 1))[pairs.row]
    color = np.zeros(len(mag))
    if color_keys:
        color = (reference.magnitudes[color_keys[0]] - reference.magnitudes[color_keys[1]])[
            pairs.star
        ]
    low, high = config.photref_mag_limits
    flags = (
        np.asarray(catalog["FLAGS"])[pairs.row] if "FLAGS" in catalog else np.zeros_like(pairs.row)
    )
    flags_sky = (
        np.asarray(catalog["FLAGS_SKY"])[pairs.row]
        if "FLAGS_SKY" in catalog
        else np.zeros_like(pairs.row)
    )
    with np.errstate(invalid="ignore", divide="ignore"):
        snr = flux / flux_error
    keep = np.ones(len(mag), dtype=np.bool_)
    for what, good in (
        (f"have a magnitude {band.key}", np.isfinite(mag)),
        ("have a colour", np.isfinite(color)),
        ("are within PHOTREF_MAG_LIMITS", (mag >= low) & (mag <= high)),
        (f"have a reference error below {MAX_REF_ERROR}", ~(mag_error > MAX_REF_ERROR)),
        (f"have a positive {flux_key}", np.isfinite(snr) & (flux > 0.0) & (flux_error > 0.0)),
        ("are not saturated", (flags & Flags.SATURATED) == 0),
        ("are complete", (flags & DAMAGED) == 0),
        ("are free of cosmic rays", (flags_sky & int(FlagsSky.COSMIC_RAY)) == 0),
        ("have S/N above 5", snr >= SNR_STEPS[-1]),
    ):
        before = int(keep.sum())
        keep &= good
        if int(keep.sum()) < MIN_STARS:
            raise StepError(
                f"{int(keep.sum())} of {before} stars {what}: too few for a zero point "
                f"({MIN_STARS} needed; {len(mag)} matched)"
            )
    keep &= _whole(exposure, pairs, flags_sky, flux_key, keep, report)
    if int(keep.sum()) < MIN_STARS:
        raise StepError(
            f"{int(keep.sum())} stars are free of bad pixels: too few for a zero point "
            f"({MIN_STARS} needed; {len(mag)} matched)"
        )
    # Stricter where there are stars enough.
    least, checked = SNR_STEPS[-1], keep & (snr >= CHECKED_SNR)
    for threshold in SNR_STEPS:
        bright = keep & (snr >= threshold)
        if bright.sum() >= ENOUGH:
            keep, least = bright, threshold
            report["least_snr"] = threshold
            break
    within = np.isfinite(mag) & np.isfinite(color) & (mag >= low) & (mag <= high)
    report["n_bright"] = int(np.sum(within & ~(mag_error > MAX_REF_ERROR) & (snr >= least)))
    alone = (flags & (Flags.NEIGHBOURS | Flags.BLENDED)) == 0
    if (keep & alone).sum() >= ENOUGH:
        keep &= alone
        checked &= alone
    with np.errstate(invalid="ignore", divide="ignore"):
        errors = np.hypot(MAG_PER_RATIO / snr, np.where(mag_error > 0.0, mag_error, 0.0))
        instrumental = -2.5 * np.log10(flux)
        if split_key(flux_key)[0] == "FLUX_PSF":
            instrumental += MAG_PER_RATIO / snr**2  # fitted positions find the peaks of the noise
            mean, scatter = hidden_magnitudes(catalog, exposure, flux_key, pairs.row, errors)
            instrumental += mean
            errors = np.hypot(errors, scatter)
    report["n_selected"] = int(keep.sum())
    stars = Stars(pairs.row, pairs.star, pairs.x, pairs.y, mag, instrumental, errors, color)
    return stars.take(keep), stars.take(keep | checked)


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
