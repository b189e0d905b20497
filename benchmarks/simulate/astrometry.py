"""Fields for the astrometry benchmark: distorted ones, and wrong catalogues of true frames."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np

from skyextract.datamodel.catalog import Catalog
from skyextract.datamodel.refcatalog import RefCatalog
from skyextract.sky.plate import Plate, exponents


def simulated(rng: np.random.Generator) -> tuple[Catalog, dict[str, Any], RefCatalog, float, Plate]:
    """Make a field: SIP order 3 with 20 px at the corners, a wrong header, a bad catalogue."""
    n_pixels, scale = 2048, rng.uniform(0.2, 1.2)
    ra0, dec0 = rng.uniform(0.0, 360.0), math.degrees(math.asin(rng.uniform(-1.0, 1.0)))
    half, middle = 0.5 * n_pixels, 0.5 * (n_pixels - 1)
    turn = rng.uniform(0.0, 2.0 * np.pi)
    cd = (
        scale
        / 3600.0
        * np.array([[-math.cos(turn), math.sin(turn)], [math.sin(turn), math.cos(turn)]])
    )
    order = [p + q for p, q in exponents(3)]
    bend = np.where(np.array(order) >= 2, rng.normal(0.0, 1.0, (2, len(order))), 0.0)
    # A radial term as a lens has it, and random second and third orders.
    bend[0, 6] += 2.0
    bend[0, 8] += 2.0
    bend[1, 7] += 2.0
    bend[1, 9] += 2.0
    unit = Plate(0.0, 0.0, middle, middle, half, bend)
    corner = (
        np.array([0.0, n_pixels - 1.0, 0.0, n_pixels - 1.0]),
        np.array([0.0, 0.0, n_pixels - 1.0, n_pixels - 1.0]),
    )
    bend *= 20.0 / np.hypot(*unit.to_plane(*corner)).max()
    bend[:, 1:3] = half * np.eye(2)
    truth = Plate(ra0, dec0, middle, middle, half, cd @ bend)
    n = int(rng.integers(200, 1000))
    x, y = rng.uniform(0.0, n_pixels - 1.0, (2, n))
    mag = 20.0 + 2.0 * np.log10(rng.uniform(1e-3, 1.0, n))
    ra, dec = truth.to_sky(x, y)
    # The reference covers a wider field, lacks every other star, and half of it is not there.
    keep = rng.random(n) < 0.5
    wide = 1.4
    n_false = int(keep.sum())
    fx, fy = rng.uniform(middle - wide * half, middle + wide * half, (2, int(n_false * wide**2)))
    linear = dataclasses.replace(
        truth, coefficients=np.where(np.array(order) <= 1, truth.coefficients, 0.0)
    )
    false_ra, false_dec = linear.to_sky(fx, fy)
    false_mag = 20.0 + 2.0 * np.log10(rng.uniform(1e-3, 1.0, len(fx)))
    reference = RefCatalog.from_arrays(
        np.concatenate([ra[keep], false_ra]), np.concatenate([dec[keep], false_dec]),
        np.concatenate([mag[keep] + rng.normal(0.0, 0.3, keep.sum()), false_mag]),
    )  # fmt: skip
    noise = rng.uniform(0.05, 0.3)
    dx, dy = rng.normal(0.0, noise, (2, n))
    flux = 10.0 ** (0.4 * (25.0 - mag))
    sources = Catalog({
        "NUMBER": np.arange(n) + 1, "XWIN_IMAGE": x + dx + 1.0, "YWIN_IMAGE": y + dy + 1.0,
        "FLUX_AUTO": flux, "FLUXERR_AUTO": flux / 50.0,
    })  # fmt: skip
    # The header: 2 arcmin, up to 5 deg and 2 % off, and no distortion.
    way = rng.uniform(0.0, 2.0 * np.pi)
    header_ra = ra0 + math.cos(way) * 2.0 / 60.0 / max(math.cos(math.radians(dec0)), 1e-3)
    header_dec = min(max(dec0 + math.sin(way) * 2.0 / 60.0, -90.0), 90.0)
    angle = math.radians(rng.choice([-5.0, 5.0]))
    stretch = rng.choice([0.98, 1.02])
    c, s = math.cos(angle), math.sin(angle)
    wrong = stretch * np.array([[c, -s], [s, c]]) @ cd
    header = {
        "NAXIS1": n_pixels, "NAXIS2": n_pixels, "CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN",
        "CRVAL1": header_ra, "CRVAL2": header_dec, "CRPIX1": middle + 1, "CRPIX2": middle + 1,
        "CD1_1": wrong[0, 0], "CD1_2": wrong[0, 1], "CD2_1": wrong[1, 0], "CD2_2": wrong[1, 1],
    }  # fmt: skip
    return sources, header, reference, noise, truth


def wrong(
    kind: str, true: RefCatalog, gaia: RefCatalog, label: str, settings: dict[str, Any],
    rng: np.random.Generator,
) -> RefCatalog:  # fmt: skip
    """Make a wrong catalogue of a kind from the true one of a frame."""
    n = true.n_stars
    if kind == "shuffled":
        return RefCatalog.from_arrays(rng.permutation(true.ra), true.dec, true.mag)
    if kind == "random":
        m = int(rng.integers(10, 4 * n))
        ra = rng.uniform(true.ra.min(), true.ra.max(), m)
        return RefCatalog.from_arrays(ra, rng.uniform(true.dec.min(), true.dec.max(), m))
    if kind == "same density":
        ra, dec = (
            rng.uniform(true.ra.min(), true.ra.max(), n),
            rng.uniform(true.dec.min(), true.dec.max(), n),
        )
        return RefCatalog.from_arrays(ra, dec, true.mag)
    if kind == "other field":
        # Gaia stars of another place, moved here, turned and stretched to cover the field.
        sign = rng.choice([-1.0, 1.0], 2)
        u = (gaia.ra - gaia.ra.mean()) / np.ptp(gaia.ra) * sign[0] * rng.uniform(1.0, 2.0)
        v = (gaia.dec - gaia.dec.mean()) / np.ptp(gaia.dec) * sign[1] * rng.uniform(1.0, 2.0)
        return RefCatalog.from_arrays(
            0.5 * (true.ra.min() + true.ra.max()) + u * np.ptp(true.ra),
            0.5 * (true.dec.min() + true.dec.max()) + v * np.ptp(true.dec), gaia.mag,
        )  # fmt: skip
    # The true field, but twice POSITION_MAXERR away from where it is allowed to be.
    limit = settings.get("position_maxerr", 1.0) / 60.0
    way = int(rng.integers(0, 4))
    east, north = ((2, 0), (-2, 0), (0, 2), (0, -2))[way]
    if label == "panoptes":
        # The pointing itself is off by 1.17, 1.57 deg: shift further in the same direction.
        east, north = ((2, 0), (0, 2), (2, 2), (2, 0))[way]
    dec = true.dec + north * limit
    return RefCatalog.from_arrays(
        true.ra + east * limit / np.cos(np.deg2rad(true.dec)), dec, true.mag
    )
