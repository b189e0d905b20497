"""Frames with something wrong, or with a wrong reference catalogue, and the truth about them.

Stars are Moffat profiles on a flat sky, 512 x 512 pixels of 0.5 arcsec; the reference catalogue
has the bands g, r and i of the same stars.  Each kind of `KINDS` spoils one thing.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS
from numpy.typing import NDArray

F8 = NDArray[np.float64]

SIZE = 512
SCALE = 0.5
"""arcsec per pixel"""
ZERO_POINT = 27.0
GAIN, SKY, READ_NOISE = 1.5, 300.0, 5.0


@dataclass(frozen=True)
class Stars:
    """True stars: 0-based pixels, magnitude r, colour g - r."""

    x: F8
    y: F8
    r: F8
    color: F8


@dataclass(frozen=True)
class Sky:
    """What becomes of the light on its way.

    Attributes
    ----------
    transparency : callable
        Of x and y between -1 and 1, the share of the light that arrives.
    kernel : (k, 3) float64
        Images that a star consists of: shift in x and y (pixels) and share.
    widening : callable
        Factor of the FWHM by x and y.
    level : callable
        Background over SKY.
    detector : callable
        Signal (ADU) to what is read.
    """

    transparency: Callable[[F8, F8], F8] = lambda x, y: np.ones_like(x)
    kernel: tuple[tuple[float, float, float], ...] = ((0.0, 0.0, 1.0),)
    widening: Callable[[F8, F8], F8] = lambda x, y: np.ones_like(x)
    level: Callable[[F8, F8], F8] = lambda x, y: np.ones_like(x)
    detector: Callable[[F8], F8] = lambda signal: signal


@dataclass(frozen=True)
class BadFrame:
    """An image, its header, a reference catalogue, and the truth."""

    image: NDArray[np.float32]
    header: fits.Header
    reference: dict[str, F8]
    truth: Stars
    ra: F8
    dec: F8
    options: tuple[str, ...] = ()
    extent: float = 3.2
    notes: dict[str, float] = field(default_factory=dict)

    def write(self, folder: Path) -> list[str]:
        """Write f.fits and ref.csv; return the arguments of the command line."""
        fits.writeto(folder / "f.fits", self.image, self.header, overwrite=True)
        names = list(self.reference)
        rows = np.column_stack([self.reference[name] for name in names])
        text = "\n".join(",".join(f"{v:.9f}" for v in row) for row in rows)
        (folder / "ref.csv").write_text(",".join(names) + "\n" + text + "\n")
        return ["f.fits", "-ASTREFCAT_NAME", "ref.csv", *self.options]


def true_wcs() -> WCS:
    """Return the WCS of all frames."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = [150.0, 2.0]
    wcs.wcs.crpix = [SIZE / 2, SIZE / 2]
    wcs.wcs.cd = np.diag([-SCALE / 3600, SCALE / 3600])
    return wcs


def draw_stars(rng: np.random.Generator, n: int, apart: float = 14.0) -> Stars:
    """Draw stars of r = 14.5 to 20.5, apart from each other."""
    places: list[F8] = []
    for _ in range(20_000):
        place = rng.uniform(12, SIZE - 13, 2)
        if not places or np.hypot(*(np.array(places) - place).T).min() > apart:
            places.append(place)
        if len(places) == n:
            break
    x, y = np.array(places).T
    return Stars(x, y, 20.5 - rng.triangular(0.0, 0.0, 6.0, x.size), rng.uniform(0.2, 1.5, x.size))


def draw_image(
    stars: Stars, sky: Sky, rng: np.random.Generator, fwhm: float = 3.2, band: F8 | None = None
) -> NDArray[np.float32]:
    """Draw the frame; `band` are the magnitudes of its own filter (r without)."""
    image = np.zeros((SIZE, SIZE))
    mag = stars.r if band is None else band
    u, v = 2 * stars.x / SIZE - 1, 2 * stars.y / SIZE - 1
    flux = 10 ** (-0.4 * (mag - ZERO_POINT)) * sky.transparency(u, v)
    width = fwhm * sky.widening(u, v)
    reach = 40
    for k in range(stars.x.size):
        i, j = round(stars.y[k]), round(stars.x[k])
        low_i, high_i = max(i - reach, 0), min(i + reach + 1, SIZE)
        low_j, high_j = max(j - reach, 0), min(j + reach + 1, SIZE)
        yy, xx = np.mgrid[low_i:high_i, low_j:high_j]
        alpha = width[k] / (2 * math.sqrt(2 ** (1 / 3.0) - 1))
        for dx, dy, share in sky.kernel:
            r2 = (xx - stars.x[k] - dx) ** 2 + (yy - stars.y[k] - dy) ** 2
            wider = 1 + r2 / alpha**2
            profile = 2.0 / (math.pi * alpha**2) / (wider * wider * wider)
            image[low_i:high_i, low_j:high_j] += flux[k] * share * profile
    yy, xx = np.mgrid[0:SIZE, 0:SIZE] * 2.0 / SIZE - 1
    image += SKY * sky.level(xx, yy)
    noisy = rng.poisson(np.maximum(image, 0.0) * GAIN) / GAIN
    noisy = noisy + rng.normal(0.0, READ_NOISE / GAIN, image.shape)
    return sky.detector(noisy).astype(np.float32)


def good_frame(
    seed: int, n: int = 150, sky: Sky | None = None, fwhm: float = 3.2,
    band: Callable[[Stars], F8] | None = None, apart: float = 14.0,
) -> BadFrame:  # fmt: skip
    """Return a frame whose reference catalogue is right; what is spoilt comes of `sky`."""
    rng = np.random.default_rng(seed)
    stars = draw_stars(rng, n, apart)
    sky = sky or Sky()
    image = draw_image(stars, sky, rng, fwhm, band(stars) if band else None)
    wcs = true_wcs()
    header = wcs.to_header()
    header["GAIN"], header["FILTER"], header["EXPTIME"] = GAIN, "r", 30.0
    ra, dec = wcs.all_pix2world(stars.x, stars.y, 0)
    error = np.full(stars.x.size, 0.005)
    scatter = rng.normal(0, error, (3, stars.x.size))
    spread = rng.normal(0, 0.02 / 3600, (2, stars.x.size))  # arcsec of the reference positions
    reference = {
        "ra": ra + spread[0] / math.cos(math.radians(2.0)), "dec": dec + spread[1],
        "g": stars.r + stars.color + scatter[0], "r": stars.r + scatter[1],
        "i": stars.r - 0.4 * stars.color + scatter[2],
        "e_g": error, "e_r": error, "e_i": error,
    }  # fmt: skip
    shifts = np.array(sky.kernel)[:, :2]
    extent = fwhm + float(np.ptp(shifts, axis=0).max())
    return BadFrame(image, header, reference, stars, ra, dec, extent=extent)


# --- what goes wrong with the light ---------------------------------------------------------


def clouds(seed: int) -> BadFrame:
    """Transparency of 0.15 to 0.65 over the field."""
    x0, y0 = np.random.default_rng(seed + 99).uniform(-0.7, 0.7, 2)
    hole = Sky(lambda x, y: 0.15 + 0.5 * np.exp(-((x - x0) ** 2 + (y - y0) ** 2) / 0.4))
    return good_frame(seed, sky=hole)


def thin_clouds(seed: int) -> BadFrame:
    """Bands of 6 per cent."""
    phase, angle = np.random.default_rng(seed + 99).uniform(0, 2 * math.pi, 2)
    bands = Sky(
        lambda x, y: 0.9 + 0.06 * np.sin(4.0 * (x * math.cos(angle) + y * math.sin(angle)) + phase)
    )
    return good_frame(seed, sky=bands)


def _along(x: F8, y: F8, rng: np.random.Generator) -> F8:
    angle = rng.uniform(0, 2 * math.pi)
    return np.asarray(x * math.cos(angle) + y * math.sin(angle) - rng.uniform(-0.4, 0.4))


def _spot(x: F8, y: F8, rng: np.random.Generator) -> F8:
    x0, y0, width2 = rng.uniform((-0.7, -0.7, 0.1), (0.7, 0.7, 0.6))
    return np.asarray(np.exp(-((x - x0) ** 2 + (y - y0) ** 2) / width2))


CLOUD_SHAPES: dict[str, Callable[[F8, F8, np.random.Generator], F8]] = {
    "slope": _along,
    "edge": lambda x, y, rng: np.tanh(_along(x, y, rng) / rng.uniform(0.05, 0.3)),
    "hole": lambda x, y, rng: -_spot(x, y, rng),
    "patch": _spot,
    "waves": lambda x, y, rng: np.sin(rng.uniform(3.0, 8.0) * _along(x, y, rng)),
}
"""Extinction by place, before it is scaled."""


def cloudy(shape: str, depth: float, n: int, seed: int) -> BadFrame:
    """Return a frame of n stars with clouds of a shape, `depth` mag where they are thickest."""

    def extinction(x: F8, y: F8) -> F8:
        return CLOUD_SHAPES[shape](x, y, np.random.default_rng(seed + 99))

    y, x = np.mgrid[-1:1:65j, -1:1:65j]
    field = extinction(x, y)
    low, high = field.min(), field.max()
    clouds = Sky(lambda x, y: 10 ** (-0.4 * depth * (extinction(x, y) - low) / (high - low)))
    return good_frame(seed, n=n, sky=clouds)


def uneven_clouds(seed: int) -> BadFrame:
    """Clouds of one of five shapes, 0.02 to 1.5 mag thick, over 25 to 150 stars."""
    rng = np.random.default_rng(seed + 199)
    shape = list(CLOUD_SHAPES)[seed % len(CLOUD_SHAPES)]
    depth = math.exp(rng.uniform(math.log(0.02), math.log(1.5)))
    return cloudy(shape, depth, int(rng.choice([25, 40, 80, 150])), seed)


def veiled_corner(seed: int) -> BadFrame:
    """A quarter of the frame has 0.25 mag less."""
    return good_frame(
        seed, sky=Sky(lambda x, y: np.where((x > 0) & (y > 0), 10 ** (-0.4 * 0.25), 1.0))
    )


def vignetted(seed: int) -> BadFrame:
    """No flat field: 25 per cent less light at the corners."""
    return good_frame(seed, sky=Sky(lambda x, y: 1.0 - 0.125 * (x**2 + y**2)))


def two_amplifiers(seed: int) -> BadFrame:
    """One half has 8 per cent more."""
    return good_frame(seed, sky=Sky(lambda x, y: np.where(x > 0, 1.08, 1.0)))


def not_linear(seed: int) -> BadFrame:
    """Bright pixels lose up to 15 per cent."""
    return good_frame(
        seed, sky=Sky(detector=lambda s: s * (1.0 - 0.15 * np.clip(s / 30_000.0, 0.0, 1.0)))
    )


def clipped(seed: int) -> BadFrame:
    """Saturates far below what its card says, softly."""
    return good_frame(seed, sky=Sky(detector=lambda s: s / (1.0 + (s / 6000.0) ** 4) ** 0.25))


def trailed(seed: int) -> BadFrame:
    """Stars are trails of 15 pixels."""
    angle = np.random.default_rng(seed + 99).uniform(0, math.pi)
    steps = np.linspace(-7.5, 7.5, 15)
    kernel = tuple((s * math.cos(angle), s * math.sin(angle), 1 / 15) for s in steps)
    return good_frame(seed, n=80, sky=Sky(kernel=kernel))


def short_trails(seed: int) -> BadFrame:
    """Stars are trails of 8 pixels, brighter at one end."""
    angle = np.random.default_rng(seed + 99).uniform(0, math.pi)
    steps = np.linspace(-4, 4, 9)
    share = np.linspace(1, 3, 9) / 18
    kernel = tuple(
        (s * math.cos(angle), s * math.sin(angle), p) for s, p in zip(steps, share, strict=True)
    )
    return good_frame(seed, n=100, sky=Sky(kernel=kernel))


def jumped(seed: int) -> BadFrame:
    """The telescope jumped: a second image of a third of the light, 9 pixels away."""
    angle = np.random.default_rng(seed + 99).uniform(0, math.pi)
    second = (9 * math.cos(angle), 9 * math.sin(angle), 0.33)
    return good_frame(seed, n=100, sky=Sky(kernel=((0.0, 0.0, 0.67), second)))


def tilted_focus(seed: int) -> BadFrame:
    """The FWHM doubles from left to right."""
    return good_frame(seed, n=120, sky=Sky(widening=lambda x, y: 1.5 + 0.5 * x))


def two_seeings(seed: int, wider: float = 1.2, n: int = 150) -> BadFrame:
    """Two chips of one mosaic, of other focus: the stars of the right half are a fifth wider."""
    return good_frame(seed, n=n, sky=Sky(widening=lambda x, y: np.where(x < 0.0, 1.0, wider)))


def strange_light(seed: int) -> BadFrame:
    """Scattered light, four times the sky in a spot of 60 pixels."""
    x0, y0 = np.random.default_rng(seed + 99).uniform(-0.6, 0.6, 2)
    spot = Sky(level=lambda x, y: 1.0 + 4.0 * np.exp(-((x - x0) ** 2 + (y - y0) ** 2) / 0.05))
    return good_frame(seed, sky=spot)


def ring(seed: int) -> BadFrame:
    """The flat field had scattered light: a ring of 8 per cent."""
    return good_frame(
        seed, sky=Sky(lambda x, y: 1.0 + 0.08 * np.exp(-(((np.hypot(x, y) - 0.6) / 0.2) ** 2)))
    )


def shutter(seed: int) -> BadFrame:
    """A slow shutter: 5 per cent less at the edges than in the middle, along y."""
    return good_frame(seed, sky=Sky(lambda x, y: 1.0 - 0.05 * np.abs(y)))


def field_curvature(seed: int) -> BadFrame:
    """The FWHM is a third larger at the corners."""
    return good_frame(seed, sky=Sky(widening=lambda x, y: 1.0 + 0.167 * (x**2 + y**2)))


def crowded(seed: int) -> BadFrame:
    """Three stars per 100 FWHM^2, blended."""
    return good_frame(seed, n=750, apart=2.5)


# --- what is wrong with the reference catalogue ---------------------------------------------


def wrong_band(seed: int) -> BadFrame:
    """Only g is known, and PHOTREF_MAG_KEY says that this will do."""
    frame = good_frame(seed)
    reference = {k: v for k, v in frame.reference.items() if k in ("ra", "dec", "g", "e_g")}
    return replace(frame, reference=reference, options=("-PHOTREF_MAG_KEY", "g"))


def color_term(seed: int) -> BadFrame:
    """The frame's filter is 0.25 (g - r) away from the catalogue's r."""
    return good_frame(seed, band=lambda stars: stars.r + 0.25 * stars.color)


def two_systems(seed: int) -> BadFrame:
    """Four of ten reference stars are 0.35 mag off, all alike."""
    frame = good_frame(seed)
    off = np.random.default_rng(seed + 98).random(frame.ra.size) < 0.4
    reference = frame.reference | {b: frame.reference[b] + 0.35 * off for b in "gri"}
    return replace(frame, reference=reference)


def wrong_magnitudes(seed: int) -> BadFrame:
    """One of five reference stars is off by up to 1 mag, each by its own."""
    frame = good_frame(seed)
    rng = np.random.default_rng(seed + 98)
    off = rng.uniform(-1.0, 1.0, frame.ra.size) * (rng.random(frame.ra.size) < 0.2)
    return replace(frame, reference=frame.reference | {b: frame.reference[b] + off for b in "gri"})


def variables(seed: int) -> BadFrame:
    """The magnitudes of the catalogue scatter by 0.15 mag, not told."""
    frame = good_frame(seed)
    rng = np.random.default_rng(seed + 98)
    reference = frame.reference | {
        b: frame.reference[b] + rng.normal(0, 0.15, frame.ra.size) for b in "gri"
    }
    return replace(frame, reference=reference)


def faint_end(seed: int) -> BadFrame:
    """Faint stars of the catalogue are up to 0.2 mag too bright (plates, colour equations)."""
    frame = good_frame(seed)
    bend = -0.2 * np.clip((frame.truth.r - 17.5) / 3.0, 0.0, None) ** 2
    return replace(frame, reference=frame.reference | {b: frame.reference[b] + bend for b in "gri"})


def handful(seed: int) -> BadFrame:
    """Seven stars, one of them variable."""
    frame = good_frame(seed, n=7)
    frame.reference["r"][0] += 0.6
    return frame
