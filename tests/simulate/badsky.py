"""Frames whose WCS, or whose reference positions, are wrong."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from tests.simulate.badframes import F8, SIZE, BadFrame, good_frame, true_wcs


def _with_cards(frame: BadFrame, **cards: float) -> BadFrame:
    header = frame.header.copy()
    header.update(cards)
    return replace(frame, header=header)


def _with_matrix(frame: BadFrame, change: F8) -> BadFrame:
    """Return the frame with a header whose CD matrix is the true one after `change`."""
    wcs = true_wcs()
    wcs.wcs.cd = change @ wcs.wcs.cd
    return _with_cards(frame, **wcs.to_header())


def wrong_scale(seed: int) -> BadFrame:
    """The header's scale is 12 per cent off."""
    return _with_matrix(good_frame(seed), 1.12 * np.eye(2))


def wrong_field(seed: int) -> BadFrame:
    """The reference catalogue is that of another field, put where the header says."""
    frame, other = good_frame(seed), good_frame(seed + 1000)
    return replace(frame, reference=other.reference)


def turned(seed: int) -> BadFrame:
    """The camera is turned by 30 degrees against the header."""
    c, s = math.cos(math.radians(30)), math.sin(math.radians(30))
    return _with_matrix(good_frame(seed), np.array([[c, -s], [s, c]]))


def mirrored(seed: int) -> BadFrame:
    """The frame is mirrored against the header."""
    return _with_matrix(good_frame(seed), np.diag([-1.0, 1.0]))


def shifted(seed: int) -> BadFrame:
    """The header is 3 arcminutes off: half the frame has no reference star."""
    frame = _with_cards(good_frame(seed), CRVAL2=2.05)
    keep = frame.truth.y > 0.4 * SIZE
    return replace(frame, reference={k: v[keep] for k, v in frame.reference.items()})


def distorted(seed: int) -> BadFrame:
    """A lens: 8 pixels at the corners."""
    frame = good_frame(seed)
    u, v = 2 * frame.truth.x / SIZE - 1, 2 * frame.truth.y / SIZE - 1
    bend = 4.0 * (u**2 + v**2) / math.sqrt(2.0)
    ra, dec = true_wcs().all_pix2world(frame.truth.x + bend * u, frame.truth.y + bend * v, 0)
    rng = np.random.default_rng(seed + 98)
    spread = rng.normal(0, 0.02 / 3600, (2, ra.size))
    reference = frame.reference | {"ra": ra + spread[0], "dec": dec + spread[1]}
    return replace(frame, reference=reference, ra=ra, dec=dec)


def distorted_handful(seed: int) -> BadFrame:
    """The same lens, and nine stars."""
    frame = good_frame(seed, n=9)
    u, v = 2 * frame.truth.x / SIZE - 1, 2 * frame.truth.y / SIZE - 1
    bend = 4.0 * (u**2 + v**2) / math.sqrt(2.0)
    ra, dec = true_wcs().all_pix2world(frame.truth.x + bend * u, frame.truth.y + bend * v, 0)
    return replace(frame, reference=frame.reference | {"ra": ra, "dec": dec}, ra=ra, dec=dec)


def broken_mosaic(seed: int) -> BadFrame:
    """The right half is displaced by 3 pixels, as of two chips pasted together."""
    frame = good_frame(seed)
    x = frame.truth.x + np.where(frame.truth.x > SIZE / 2, 3.0, 0.0)
    ra, dec = true_wcs().all_pix2world(x, frame.truth.y, 0)
    return replace(frame, reference=frame.reference | {"ra": ra, "dec": dec}, ra=ra, dec=dec)


def moved_stars(seed: int) -> BadFrame:
    """Positions of the catalogue scatter by 0.8 arcsec (motions of decades, not told)."""
    frame = good_frame(seed)
    rng = np.random.default_rng(seed + 98)
    spread = rng.normal(0, 0.8 / 3600, (2, frame.ra.size))
    reference = frame.reference | {"ra": frame.ra + spread[0], "dec": frame.dec + spread[1]}
    return replace(frame, reference=reference)


def fast_stars(seed: int) -> BadFrame:
    """A quarter of the stars moved by 0.3 to 1.8 arcsec; the catalogue has no motions."""
    frame = good_frame(seed)
    rng = np.random.default_rng(seed + 98)
    size = rng.uniform(0.3, 1.8, frame.ra.size) * (rng.random(frame.ra.size) < 0.25) / 3600
    angle = rng.uniform(0.0, 2 * math.pi, frame.ra.size)
    east, north = size * np.cos(angle), size * np.sin(angle)
    reference = frame.reference | {
        "ra": frame.reference["ra"] + east, "dec": frame.reference["dec"] + north
    }  # fmt: skip
    return replace(frame, reference=reference)
