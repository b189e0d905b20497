"""Simulated frames for astrometry: sources, a header that is off, a reference, the truth."""

import dataclasses
import math

import numpy as np

from skyextract.datamodel.catalog import Catalog
from skyextract.datamodel.refcatalog import RefCatalog
from skyextract.datamodel.wcs import SkyWcs
from skyextract.run import Run
from skyextract.settings.keywords import Astrometry as Config
from skyextract.sky.plate import Plate, gnomonic
from skyextract.stages.astrometry.solve import solve_astrometry

SHAPE = (1500, 2000)
SCALE = 0.5
NOISE = 0.1


@dataclasses.dataclass
class Field:
    """A simulated frame and what is true about it; `exact` are 1-based x and y of the sources."""

    sources: Catalog
    header: dict
    reference: RefCatalog
    truth: Plate
    exact: np.ndarray

    def solve(self, header=None, **settings):
        header = self.header if header is None else header
        wcs = SkyWcs.from_header(header)
        return solve_astrometry(
            self.sources, header, SHAPE, wcs, self.reference, Config(**settings), Run()
        )

    def error(self, wcs) -> float:
        """Largest error of a WCS over the frame, pixels."""
        y, x = np.mgrid[0 : SHAPE[0] - 1 : 9j, 0 : SHAPE[1] - 1 : 9j]
        true = gnomonic(*self.truth.to_sky(x, y), self.truth.ra0, self.truth.dec0)
        own = gnomonic(*wcs.to_sky(x, y), self.truth.ra0, self.truth.dec0)
        return float(np.hypot(own[0] - true[0], own[1] - true[1]).max() * 3600.0 / SCALE)


def make_field(
    ra0=150.0, dec0=20.0, n=200, missing=0.3, false=0.3, turn=0.4, parity=1.0, bend=0.0, seed=0,
    off=(20.0, -15.0),
) -> Field:  # fmt: skip
    """Simulate; the header is `off` arcsec from the truth, 1 deg turned and 1 % too large."""
    rng = np.random.default_rng(seed)
    c, s = math.cos(turn), math.sin(turn)
    step = 1000.0 * SCALE / 3600.0
    linear = step * np.array([[-c * parity, s], [s * parity, c]])
    coefficients = np.zeros((2, 10 if bend else 3))
    coefficients[:, 1:3] = linear
    if bend:
        coefficients[:, 3:] = rng.normal(0.0, bend * step / 1000.0, (2, 7))
    truth = Plate(ra0, dec0, 999.5, 749.5, 1000.0, coefficients)
    x, y = rng.uniform(0.0, SHAPE[1] - 1.0, n), rng.uniform(0.0, SHAPE[0] - 1.0, n)
    mag = 20.0 + 2.0 * np.log10(rng.uniform(1e-3, 1.0, n))
    ra, dec = truth.to_sky(x, y)
    keep = rng.random(n) >= missing
    m = int(false * n)
    fx, fy = rng.uniform(-300.0, 2300.0, m), rng.uniform(-300.0, 1800.0, m)
    flat = dataclasses.replace(truth, coefficients=coefficients[:, :3])
    false_ra, false_dec = flat.to_sky(fx, fy)
    reference = RefCatalog.from_arrays(
        np.concatenate([ra[keep], false_ra]), np.concatenate([dec[keep], false_dec]),
        np.concatenate([mag[keep], 20.0 + 2.0 * np.log10(rng.uniform(1e-3, 1.0, m))]),
    )  # fmt: skip
    flux = 10.0 ** (0.4 * (25.0 - mag))
    sources = Catalog({
        "NUMBER": np.arange(n) + 1,
        "XWIN_IMAGE": x + rng.normal(0.0, NOISE, n) + 1.0,
        "YWIN_IMAGE": y + rng.normal(0.0, NOISE, n) + 1.0,
        "ERRAWIN_IMAGE": np.full(n, NOISE), "ERRBWIN_IMAGE": np.full(n, NOISE),
        "FLUX_AUTO": flux, "FLUXERR_AUTO": flux / 50.0, "FLAGS": np.zeros(n, np.int16),
    })  # fmt: skip
    c, s = 1.01 * math.cos(0.0175), 1.01 * math.sin(0.0175)
    header = dataclasses.replace(
        flat, coefficients=np.array([[c, -s], [s, c]]) @ flat.coefficients
    ).cards("TAN", SHAPE)
    header["CRPIX1"] += off[0] / SCALE
    header["CRPIX2"] += off[1] / SCALE
    return Field(
        sources, header | {"NAXIS1": SHAPE[1], "NAXIS2": SHAPE[0]}, reference, truth,
        np.array([x, y]) + 1.0,
    )  # fmt: skip


def check_right(field: Field, result) -> None:
    assert result.status == "COMPLETE", result.reason
    assert field.error(result.wcs) < 6.0 * NOISE
    assert result.source == result.metrics["source"] == "FITTED"
    assert result.metrics["false_match_probability"] <= 1e-6


def check_failed(result) -> None:
    assert result.status == "FAILED"
    assert result.reason
    assert result.source in {"HEADER", "NONE"}
    assert not result.used.any()
    assert result.matches.n_rows == 0
    assert result.metrics["rms_arcsec"] is None
    assert result.metrics["n_matched"] is None
