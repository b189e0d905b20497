"""Frames with cosmic rays: simulated ones with their truth, and real ones that others marked."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import galsim
import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from skyextract.datamodel.flags import Mask
from skyextract.datamodel.psf import Psf, PsfSource
from skyextract.run import Run
from skyextract.settings.keywords import Cosmics
from skyextract.stages.repair import Repaired, repair

SKY = 200.0
READ_NOISE = 5.0
SATURATION = 60000.0


@dataclass(frozen=True)
class Simulation:
    """A frame in electrons and the truth about it."""

    image: NDArray[np.float32]
    charge: NDArray[np.float64]
    noise: NDArray[np.float64]
    stars: NDArray[np.float64]
    peaks: NDArray[np.float64]
    psf: Psf


def draw_tracks(shape: tuple[int, int], n: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw straight muon tracks and curled electron tracks, spread by charge diffusion.

    Lengths are exponential (mean 8 pixels, a fifth below one pixel), charge per pixel of path
    is log-uniform from 60 to 6000 e- with fluctuations along the path, and diffusion grows
    from 0 to 0.35 pixels from one end (the gates) to the other (the back side).
    """
    ny, nx = shape
    charge = np.zeros(shape)
    for _ in range(n):
        length = rng.exponential(8.0) if rng.random() > 0.2 else rng.uniform(0.05, 1.0)
        n_steps = max(int(length / 0.05), 1)
        curl = rng.normal(0.0, 0.12) if rng.random() < 0.2 else 0.0
        angle = rng.uniform(0, 2 * np.pi) + np.cumsum(rng.normal(0, abs(curl), n_steps))
        x = rng.uniform(0, nx) + np.cumsum(np.cos(angle)) * 0.05
        y = rng.uniform(0, ny) + np.cumsum(np.sin(angle)) * 0.05
        per_pixel = 60.0 * 100.0 ** rng.random()
        deposit = per_pixel * max(length, 0.3) / n_steps * rng.gamma(4.0, 0.25, n_steps)
        spread = 0.35 * np.linspace(0, 1, n_steps)[:, None]
        cloud = rng.normal(size=(n_steps, 16, 2)) * spread[..., None]
        xs = np.rint(x[:, None] + cloud[..., 0]).astype(int)
        ys = np.rint(y[:, None] + cloud[..., 1]).astype(int)
        inside = (xs >= 0) & (xs < nx) & (ys >= 0) & (ys < ny)
        share = np.broadcast_to(deposit[:, None] / 16, xs.shape)
        np.add.at(charge, (ys[inside], xs[inside]), share[inside])
    return charge


def effective_fwhm(profile: galsim.GSObject) -> float:
    """Return the FWHM of a profile integrated over unit pixels."""
    return float(galsim.Convolve(profile, galsim.Pixel(1.0)).calculateFWHM())


def profile_of(fwhm: float, beta: float) -> galsim.GSObject:
    """Return a Moffat (or, beta 0, a Gaussian) whose pixel-integrated FWHM is `fwhm`."""
    low, high = 0.3, fwhm
    for _ in range(20):
        middle = 0.5 * (low + high)
        shape = galsim.Moffat(beta, fwhm=middle) if beta else galsim.Gaussian(fwhm=middle)
        low, high = (middle, high) if effective_fwhm(shape) < fwhm else (low, middle)
    return shape


def simulate(
    fwhm: float,
    *,
    beta: float = 0.0,
    size: int = 1500,
    n_stars: int = 600,
    n_tracks: int = 300,
    seed: int = 1,
    exact: bool = True,
) -> Simulation:
    """Simulate stars, sky, noise and cosmic rays (gain 1); `exact` gives the true PSF."""
    rng = np.random.default_rng(seed)
    profile = profile_of(fwhm, beta)
    scene = galsim.ImageD(size, size)
    stars = rng.uniform(12, size - 12, (n_stars, 2))
    peaks = 100.0 * (0.9 * SATURATION / 100.0) ** rng.random(n_stars)
    peak_share = galsim.Convolve(profile, galsim.Pixel(1.0)).xValue(0, 0)
    for (x, y), peak in zip(stars, peaks, strict=True):
        centre = galsim.PositionD(x + 1, y + 1)
        stamp = (profile * (peak / peak_share)).drawImage(
            nx=8 * int(fwhm + 4) + 1, ny=8 * int(fwhm + 4) + 1, center=centre, scale=1.0
        )
        both = stamp.bounds & scene.bounds
        scene[both] += stamp[both]
    light = scene.array + SKY
    charge = draw_tracks((size, size), n_tracks, rng)
    pixels = rng.poisson(np.maximum(light, 0)) + charge + rng.normal(0, READ_NOISE, light.shape)
    psf = Psf.gaussian(fwhm, PsfSource.MEASURED)
    if exact:
        sampling = min(1.0, fwhm / 4)
        model = galsim.Convolve(profile, galsim.Pixel(1.0)).drawImage(
            nx=41, ny=41, scale=sampling, method="no_pixel"
        )
        basis = model.array / (model.array.sum() * sampling**2)
        psf = Psf(
            basis[None].astype(np.float32), sampling, 0, 0.0, 1.0, 0.0, 1.0, fwhm, 0.0,
            PsfSource.MEASURED,
        )  # fmt: skip
    noise = np.sqrt(light + READ_NOISE**2)
    return Simulation(pixels.astype(np.float32), charge, noise, stars, peaks, psf)


def repair_simulation(frame: Simulation, run: Run, psf: Psf | None = None) -> Repaired:
    """Repair a simulated frame with the known sky level."""
    flat = np.full(frame.image.shape, SKY, dtype=np.float32)
    variance = np.full(frame.image.shape, SKY + READ_NOISE**2, dtype=np.float32)
    mask = np.zeros(frame.image.shape, dtype=np.uint16)
    return repair(frame.image, mask, flat, variance, 1.0, psf or frame.psf, Cosmics(), run)


def scores(frame: Simulation, found: NDArray[np.bool_]) -> tuple[float, float, float, int]:
    """Return completeness above 10 sigma, false rates, and star cores touched.

    The false rates are of pixels without any cosmic-ray charge, and of those with less than
    one sigma of it.  A core is touched if a pixel within 1.5 pixels of the star is flagged
    that has less than three sigma of charge.
    """
    bright = frame.charge > 10 * frame.noise
    clean = frame.charge == 0
    faint = frame.charge < frame.noise
    touched = 0
    yy, xx = np.mgrid[: found.shape[0], : found.shape[1]]
    wrong = found & (frame.charge < 3 * frame.noise)
    for x, y in frame.stars:
        box = np.s_[int(y) - 2 : int(y) + 4, int(x) - 2 : int(x) + 4]
        near = (xx[box] - x) ** 2 + (yy[box] - y) ** 2 <= 1.5**2
        touched += bool((wrong[box] & near).any())
    return (
        float(found[bright].mean()),
        float(found[clean].mean()),
        float(found[faint].mean()),
        touched,
    )


@dataclass(frozen=True)
class RealFrame:
    """A real frame, what is known about it, and the cosmic rays somebody else marked."""

    name: str
    image: NDArray[np.float32]
    background: NDArray[np.float32]
    variance: NDArray[np.float32]
    gain: float
    read_noise: float
    saturation: float
    fwhm: float
    truths: dict[str, NDArray[np.bool_]]


def native(data: NDArray[np.generic]) -> NDArray[np.float32]:
    return np.ascontiguousarray(data, dtype=np.float32)


def gmos_frame(folder: Path) -> RealFrame:
    """Read the GMOS-S cutout with two known tracks of 93 and 74 pixels, rows and columns given.

    The slit edges run along columns; the pixels of a track are the brightest of its box
    above the median of their column.
    """

    with fits.open(folder / "gmos_s_two_known_crs.fits") as hdus:
        image, variance = (native(hdus[name].data) for name in ("SCI", "VAR"))
    truths = {}
    for box, area in ((np.s_[41:72, 142:161], 93), (np.s_[117:147, 35:43], 74)):
        track = np.zeros(image.shape, dtype=bool)
        inside = image[box] - np.median(image[box], axis=0)
        track[box] = inside >= np.sort(inside.ravel())[-area]
        truths[f"track of {area} px"] = track
    background = np.broadcast_to(np.median(image, axis=0), image.shape)
    # The stages want the variance without the photons of sources (gain 1, so flux itself).
    variance = variance - np.maximum(image - background, 0.0)
    return RealFrame(
        "GMOS-S", image, native(background), native(variance), 1.0, 4.0, 60000.0, 3.0, truths
    )


def decam_frame(folder: Path) -> RealFrame:
    """Read the DECam cutout; truth is its DQ plane (5: cosmic ray)."""
    import sep

    stem = "c4d_170316_062107_{}_z_ls9.N2.fits"
    with fits.open(folder / stem.format("ooi")) as hdus:
        image, header = native(hdus[1].data), hdus[1].header
    quality = fits.getdata(folder / stem.format("ood"))
    background = sep.Background(image, bw=64, bh=64)
    # Not the weight map: it is 0 where the cosmic rays were found.
    variance = np.full(image.shape, background.globalrms**2)
    return RealFrame(
        "DECam z", image, native(background.back()), native(variance), header["GAINA"],
        header["RDNOISEA"], header["SATURATE"], header["FWHM"], {"DQ plane": quality == 5},
    )  # fmt: skip


def repair_real(frame: RealFrame, run: Run) -> Repaired:
    """Repair a real frame with a Gaussian of its FWHM."""
    mask = np.where(frame.variance < 1e29, 0, int(Mask.BAD)).astype(np.uint16)
    psf = Psf.gaussian(frame.fwhm, PsfSource.MEASURED)
    return repair(
        frame.image, mask, frame.background, frame.variance, frame.gain, psf, Cosmics(), run
    )
