"""Simulated calibrations of a zero point, with outliers and with errors that were not told."""

from __future__ import annotations

import functools
import math
from dataclasses import replace

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from skyextract.datamodel.catalog import Catalog
from skyextract.datamodel.exposure import Detector, Exposure
from skyextract.datamodel.refcatalog import RefCatalog
from skyextract.datamodel.wcs import SkyWcs
from skyextract.run import Run
from skyextract.settings.keywords import Photometry as Config
from skyextract.stages.photometry.calibrate import calibrate_photometry
from skyextract.stages.photometry.zeropoint import fit_zero_point

F8 = NDArray[np.float64]
TRUTH = 27.3
KINDS = ("both sides", "0.3-1 mag", "one side", "near", "uniform")


def simulate(
    n: int, fraction: float, kind: str, rng: np.random.Generator, intrinsic: float = 0.015,
    spread: str = "0.005-0.05",
) -> tuple[F8, F8]:  # fmt: skip
    """Return y = reference magnitude + 2.5 log10(flux) and its errors for n stars."""
    low, _, high = spread.partition("-")
    errors = float(low) * (float(high or low) / float(low)) ** rng.random(n)
    y = TRUTH + rng.normal(0, np.hypot(errors, intrinsic))
    wrong = rng.permutation(n)[: round(fraction * n)]
    size = len(wrong)
    y[wrong] += {
        "both sides": rng.normal(0, 1.0, size),
        "0.3-1 mag": rng.uniform(0.3, 1.0, size) * rng.choice([-1.0, 1.0], size),
        "one side": rng.uniform(0.1, 3.0, size),
        "near": rng.normal(0, 0.3, size),
        "uniform": rng.uniform(-3.0, 3.0, size),
    }[kind]
    return y, errors


@functools.cache
def empty_frame() -> Exposure:
    """Return an r frame of 1000 x 1000 pixels of 0.5 arcsec."""
    header = fits.Header(
        {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 150.0, "CRVAL2": 2.0,
         "CRPIX1": 500.0, "CRPIX2": 500.0, "CD1_1": -0.5 / 3600, "CD1_2": 0.0, "CD2_1": 0.0,
         "CD2_2": 0.5 / 3600, "NAXIS": 2, "NAXIS1": 1000, "NAXIS2": 1000, "FILTER": "r"}
    )  # fmt: skip
    return Exposure(
        image=np.zeros((1000, 1000), np.float32), mask=np.zeros((1000, 1000), np.uint16),
        detector=Detector(exposure_time=100.0), wcs=SkyWcs.from_header(header), header=header,
    )  # fmt: skip


def calibrate(y: F8, errors: F8, rng: np.random.Generator) -> tuple[float, float]:
    """Return zero point and error of the photometry stage; NaN where it FAILED.

    Half of each star's variance is that of its flux, half that of its reference magnitude.
    """
    n = len(y)
    frame = empty_frame()
    x, z = rng.uniform(20, 980, (2, n))
    # Fainter stars have larger errors.
    mag = 17.0 + 2.5 * np.log10(errors / 0.02) + rng.normal(0, 0.3, n)
    flux = 10.0 ** (0.4 * (y - mag))
    single = errors / math.sqrt(2.0)
    sources = Catalog(
        {"X_IMAGE": x + 1, "Y_IMAGE": z + 1, "FLUX_AUTO": flux,
         "FLUXERR_AUTO": flux * single * math.log(10.0) / 2.5, "FLAGS": np.zeros(n, np.int16),
         "FLAGS_SKY": np.zeros(n, np.int16)}
    )  # fmt: skip
    assert frame.wcs is not None
    stars = RefCatalog.from_arrays(*frame.wcs.to_j2000(x, z), mag, mag_key="r", name="stars")
    stars = replace(stars, magnitude_errors={"r": single})
    metrics = calibrate_photometry(sources, frame, stars, Config(), Run()).metrics
    return metrics["zero_point"] or math.nan, metrics["zero_point_error"] or math.nan


def pulls(
    n: int, fraction: float, kind: str, number: int, seed: int, intrinsic: float = 0.015,
    spread: str = "0.005-0.05", stage: bool = False,
) -> F8:  # fmt: skip
    """Return (zero point - truth) / error of simulated calibrations; NaN of one that FAILED."""
    rng = np.random.default_rng([seed, n, round(100 * fraction), KINDS.index(kind)])
    result = np.empty(number)
    for i in range(number):
        y, errors = simulate(n, fraction, kind, rng, intrinsic, spread)
        if stage:
            zero_point, error = calibrate(y, errors, rng)
        else:
            fit = fit_zero_point(y, errors)
            zero_point, error = fit.zero_point, fit.error
        result[i] = (zero_point - TRUTH) / error
    return result
