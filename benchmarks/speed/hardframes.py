"""Frames that are no sky beside an ordinary one: no trap for a default run.

    python -m benchmarks.speed.hardframes [--size 1024] [--repeat 1] [--limit 60]

Frames without stars (gamma noise, noise of a few levels in 8 bits), stripes of 5000 ADU, one with
half of its pixels above the threshold, one with a huge object; smooth noise, whose peaks look like
wide stars; an ordinary frame under a pattern of columns, under twelve trails, with fringes, upon a
nebula of fine structure, or with steps of 40 ADU in blocks of 8 pixels, as JPEG has; one upon a
gradient that falls back again and again, under a hundred trails, or with a globular cluster before
the nebula; spectra;
stars out of focus (27 pixels, or 30 with vanes), trailed, along arcs about a pole, or spread to
lines by a grating; stars that become wider, or comatic, by the fourth power of the distance from
the middle; rates of single photons; speckles of coherent light; a star every 12 pixels; round
plateaus of one value.  A run that takes longer than LIMIT seconds is ended.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
from astropy.io import fits

from benchmarks.paired import (
    PIXELS_PER_SOURCE,
    environment_of_runs,
    judge,
    our_program,
    simulated,
    workplace,
)
from benchmarks.simulate.frame import frame, moffat

TARGET = 5.0
Pieces = list[tuple[float, float, float]]


def gamma_noise(size: int, rng: np.random.Generator) -> np.ndarray:
    """Return noise with a long tail."""
    return rng.gamma(2.0, 20.0, (size, size)).astype(np.float32)


def eight_bits(size: int, rng: np.random.Generator) -> np.ndarray:
    """Return noise of few levels."""
    return np.clip(rng.normal(20, 2, (size, size)).round(), 0, 255).astype(np.uint8)


def stripes(size: int, rng: np.random.Generator) -> np.ndarray:
    """Return stripes of 5000 ADU on sky, 64 rows of each."""
    image = rng.normal(500, 16, (size, size))
    image[(np.arange(size) // 64) % 2 == 1] += 5000
    return image.round().astype(np.uint16)


def half_above(size: int, rng: np.random.Generator) -> np.ndarray:
    """Return sky of which half of the pixels, in small patches, are bright."""
    coarse = rng.random((size // 8, size // 8)) < 0.5
    image = rng.normal(500, 16, (size, size)) + 400 * np.kron(coarse, np.ones((8, 8)))
    return image.round().astype(np.uint16)


def huge_object(size: int, rng: np.random.Generator) -> np.ndarray:
    """Return one galaxy over most of the frame."""
    y, x = np.mgrid[:size, :size] - size / 2
    image = 500 + 40000 * np.exp(-np.hypot(y, x) / (size / 16))
    return rng.normal(image, 16).clip(0, 65000).round().astype(np.uint16)


def smooth_noise(size: int, rng: np.random.Generator) -> np.ndarray:
    """Return noise that neighbours share, 9 pixels wide."""
    noise = np.fft.rfft2(rng.normal(size=(size, size)))
    wave = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size))
    smooth = np.fft.irfft2(noise * np.exp(-((8.0 * wave) ** 2)), s=(size, size))
    return (500 + 40 * smooth / smooth.std()).round().astype(np.uint16)


def columns(size: int, rng: np.random.Generator) -> np.ndarray:
    """Return an ordinary frame whose columns have levels of their own."""
    image = frame(size, size * size // PIXELS_PER_SOURCE) + rng.normal(0, 40, size)
    return image.clip(0, 65535).round().astype(np.uint16)


def hundred_trails(size: int, rng: np.random.Generator) -> np.ndarray:
    """Return an ordinary frame that a hundred satellites crossed."""
    return trails(size, rng, 100)


def trails(size: int, rng: np.random.Generator, number: int = 12) -> np.ndarray:
    """Return an ordinary frame that so many satellites crossed."""
    y, x = np.mgrid[:size, :size]
    image = frame(size, size * size // PIXELS_PER_SOURCE).astype(np.float64)
    for _ in range(number):
        x0, y0 = rng.uniform(0, size, 2)
        angle = rng.uniform(0, np.pi)
        across = (y - y0) * np.cos(angle) - (x - x0) * np.sin(angle)
        image += rng.uniform(50, 1500) * np.exp(-(across**2) / 5.0)
    return image.clip(0, 65535).round().astype(np.uint16)


def spectra(size: int, rng: np.random.Generator) -> np.ndarray:
    """Return 40 orders of spectra along the rows."""
    x, y = np.arange(size), np.arange(size)[:, None]
    image = rng.normal(500, 16, (size, size))
    for _ in range(40):
        light = rng.uniform(50, 2000) * np.exp(-((y - rng.uniform(0, size)) ** 2) / 8.0)
        image += light * (1.0 + 0.3 * np.sin(x / rng.uniform(5, 50)))
    return image.clip(0, 65535).round().astype(np.uint16)


def fringes(size: int, _rng: np.random.Generator) -> np.ndarray:
    """Return an ordinary frame with waves of two lengths."""
    y, x = np.mgrid[:size, :size]
    waves = 60 * np.sin(2 * np.pi * (x * 0.9 + y * 0.4 + 30 * np.sin(y / 200)) / 37)
    waves += 40 * np.sin(2 * np.pi * (x * 0.2 - y * 0.7 + 20 * np.cos(x / 150)) / 53)
    image = frame(size, size * size // PIXELS_PER_SOURCE) + waves
    return image.clip(0, 65535).round().astype(np.uint16)


def fine_nebula(size: int, rng: np.random.Generator) -> np.ndarray:
    """Return an ordinary frame upon clouds whose power falls as the wave number to the 2.2."""
    wave = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size))
    wave[0, 0] = 1.0
    clouds = np.fft.irfft2(np.fft.rfft2(rng.normal(size=(size, size))) * wave**-1.1)
    light = 200 * np.exp(1.2 * (clouds - clouds.mean()) / clouds.std())
    image = frame(size, size * size // PIXELS_PER_SOURCE) + rng.poisson(light)
    return image.clip(0, 65535).astype(np.uint16)


def globular_cluster(size: int, rng: np.random.Generator) -> np.ndarray:
    """Return `fine_nebula` behind a globular cluster of a star per 250 pixels of the frame."""
    n = size * size // 250
    radius = size / 12 * np.sqrt(rng.random(n) ** -0.7 - 1)
    angle = rng.uniform(0, 2 * np.pi, n)
    place = size / 2 + np.stack([radius * np.sin(angle), radius * np.cos(angle)])
    row, column = place[:, (np.abs(place - size / 2) < size / 2 - 1).all(axis=0)].astype(int)
    light = np.zeros((size, size))
    np.add.at(light, (row, column), 400 * rng.pareto(1.2, row.size))
    offset = np.fft.fftfreq(size, 1.0 / size)
    waves = np.fft.rfft2(light) * np.fft.rfft2(moffat(offset**2 + offset[:, None] ** 2))
    image = fine_nebula(size, rng) + rng.poisson(np.fft.irfft2(waves).clip(0))
    return image.clip(0, 65535).astype(np.uint16)


def sawtooth(size: int, _rng: np.random.Generator) -> np.ndarray:
    """Return an ordinary frame on gradients of 97 steps of 8 ADU, one beside the other."""
    y, x = np.mgrid[:size, :size]
    image = frame(size, size * size // PIXELS_PER_SOURCE) + (0.7 * x + 0.4 * y) % 97 * 8
    return image.clip(0, 65535).round().astype(np.uint16)


def blocks(size: int, _rng: np.random.Generator) -> np.ndarray:
    """Return an ordinary frame of blocks of 8 x 8 pixels with steps of 40 ADU about their means."""
    image = frame(size, size * size // PIXELS_PER_SOURCE).astype(np.float64)
    parts = image.reshape(size // 8, 8, size // 8, 8)
    mean = parts.mean(axis=(1, 3), keepdims=True)
    steps = mean + 40 * np.round((parts - mean) / 40)
    return steps.reshape(size, size).clip(0, 65535).round().astype(np.uint16)


def _convolved(size: int, rng: np.random.Generator, shape: np.ndarray) -> np.ndarray:
    """Return stars of a shape (about the first pixel) on sky, as many as an ordinary frame has."""
    light = np.zeros((size, size))
    n = size * size // PIXELS_PER_SOURCE
    light[rng.integers(0, size, n), rng.integers(0, size, n)] = rng.pareto(1.0, n) * 5000
    waves = np.fft.rfft2(light) * np.fft.rfft2(shape / shape.sum())
    image = rng.poisson((500 + np.fft.irfft2(waves)).clip(1, 60000))
    return image.clip(0, 65535).astype(np.uint16)


def defocused(size: int, rng: np.random.Generator) -> np.ndarray:
    """Return stars that are rings of 6 to 14 pixels."""
    offset = np.minimum(np.arange(size), size - np.arange(size))
    radius = np.hypot(offset[:, None], offset)
    return _convolved(size, rng, ((radius > 6) & (radius < 14)).astype(np.float64))


def trailed(size: int, rng: np.random.Generator) -> np.ndarray:
    """Return stars that are trails of 30 pixels."""
    offset = np.fft.fftfreq(size, 1.0 / size)
    shape = np.zeros((size, size))
    for t in np.linspace(-15, 15, 61):
        shape += (1 + ((offset - t) ** 2 + (offset[:, None] - 0.3 * t) ** 2) / 4) ** -3
    return _convolved(size, rng, shape)


def vanes(size: int, rng: np.random.Generator) -> np.ndarray:
    """Return stars that are rings of 6 to 15 pixels under a cross of four vanes."""
    offset = np.fft.fftfreq(size, 1.0 / size)
    radius = np.hypot(offset[:, None], offset)
    ring = (radius > 6) & (radius < 15) & (abs(offset) > 1) & (abs(offset[:, None]) > 1)
    return _convolved(size, rng, ring.astype(np.float64))


def slitless(size: int, rng: np.random.Generator) -> np.ndarray:
    """Return stars that a grating spreads along the rows, 130 pixels long, brighter at one end."""
    offset = np.fft.fftfreq(size, 1.0 / size)
    shape = np.zeros((size, size))
    for t in range(130):
        shape += (1 + t / 55) * moffat((offset - t) ** 2 + offset[:, None] ** 2)
    return _convolved(size, rng, shape)


def _drawn(
    size: int, rng: np.random.Generator, pieces: Callable[[float, float], Pieces]
) -> np.ndarray:
    """Return as many stars as an ordinary frame has, each of pieces.

    Parameters
    ----------
    pieces : callable
        Gives x, y and FWHM (pixels) of those of a star near x, y (from -1 to 1).
    """
    half, n = 32, size * size // PIXELS_PER_SOURCE
    image = np.full((size + 2 * half, size + 2 * half), 500.0)
    axis = np.arange(2 * half + 1) - half
    for flux in 2000 * (1 + rng.pareto(1.0, n)):
        x, y = rng.uniform(0, size, 2)
        parts = pieces(2 * x / size - 1, 2 * y / size - 1)
        for dx, dy, fwhm in parts:
            i, j = round(x + dx), round(y + dy)
            if not (0 <= i < size and 0 <= j < size):
                continue
            r2 = (axis + i - x - dx) ** 2 + (axis[:, None] + j - y - dy) ** 2
            light = flux / len(parts) * moffat(r2, fwhm)
            image[j : j + 2 * half + 1, i : i + 2 * half + 1] += light
    image = image[half:-half, half:-half].clip(0, 60000)
    return rng.poisson(image).clip(0, 65535).astype(np.uint16)


def wide_corners(size: int, rng: np.random.Generator) -> np.ndarray:
    """Return stars whose width doubles towards the corners, by the fourth power of the distance."""
    return _drawn(size, rng, lambda u, v: [(0.0, 0.0, 2.6 * (1 + ((u * u + v * v) / 2) ** 2))])


def comatic_corners(size: int, rng: np.random.Generator) -> np.ndarray:
    """Return stars with tails that grow by the fourth power of the distance, to 6 pixels."""

    def pieces(u: float, v: float) -> Pieces:
        q = 3.0 * (u * u + v * v) ** 1.5 / 2
        return [(t * q * u, t * q * v, 2.6 + 0.5 * t * q) for t in np.linspace(0, 1, 7)]

    return _drawn(size, rng, pieces)


def arcs(size: int, rng: np.random.Generator) -> np.ndarray:
    """Return stars that are arcs of 40 to 70 pixels about a pole outside of the frame."""

    def pieces(u: float, v: float) -> Pieces:
        dx, dy = 0.5 * size * (u + 0.4), 0.5 * size * (v - 1.9)
        turns = np.linspace(-0.025, 0.025, int(0.06 * np.hypot(dx, dy)) + 8)
        return [
            (dx * (np.cos(t) - 1) - dy * np.sin(t), dx * np.sin(t) + dy * (np.cos(t) - 1), 3.3)
            for t in turns
        ]

    return _drawn(size, rng, pieces)


def photon_rates(size: int, rng: np.random.Generator) -> np.ndarray:
    """Return counts of .1 per pixel and of sources over exposures that fall to the edge."""
    offset = np.fft.fftfreq(size, 1.0 / size)
    light = np.zeros((size, size))
    n = size * size // PIXELS_PER_SOURCE
    light[rng.integers(0, size, n), rng.integers(0, size, n)] = 10 * (1 + rng.pareto(1.0, n))
    shape = moffat(offset**2 + offset[:, None] ** 2)
    light = np.fft.irfft2(np.fft.rfft2(light) * np.fft.rfft2(shape)).clip(0)
    y, x = np.mgrid[:size, :size] / size - 0.5
    exposure = 2e4 * np.exp(-3 * (x * x + y * y))
    return (rng.poisson((light + 0.1) * exposure / 2e4) / exposure).astype(np.float32)


def speckles(size: int, rng: np.random.Generator) -> np.ndarray:
    """Return coherent light through a round pupil: the square of waves of random phase."""
    wave = np.fft.fftfreq(size)
    waves = np.exp(2j * np.pi * rng.random((size, size))) * (np.hypot(wave[:, None], wave) < 1 / 9)
    light = np.abs(np.fft.fft2(waves)) ** 2
    return rng.poisson(300 + 2000 * light / light.mean()).clip(0, 65535).astype(np.uint16)


def _of_light(light: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return light that is spread by an ordinary PSF, on sky."""
    offset = np.fft.fftfreq(len(light), 1.0 / len(light))
    shape = np.fft.rfft2(moffat(offset**2 + offset[:, None] ** 2))
    spread = np.fft.irfft2(np.fft.rfft2(light) * shape).clip(0)
    return rng.poisson(500 + spread).clip(0, 65535).astype(np.uint16)


def lattice(size: int, rng: np.random.Generator) -> np.ndarray:
    """Return equal stars, one every 12 pixels."""
    light = np.zeros((size, size))
    light[6::12, 6::12] = 20000
    return _of_light(light, rng)


def plateaus(size: int, rng: np.random.Generator) -> np.ndarray:
    """Return discs of 5 pixels' radius and 3000 ADU, also where they meet, one per 400 pixels."""
    offset = np.fft.fftfreq(size, 1.0 / size)
    disc = np.fft.rfft2(np.hypot(offset, offset[:, None]) < 5)
    light = np.zeros((size, size))
    light[tuple(rng.integers(0, size, (2, size * size // 400)))] = 1
    covered = np.fft.irfft2(np.fft.rfft2(light) * disc) > 0.5
    return (rng.normal(500, 10, (size, size)) + 3000 * covered).round().astype(np.uint16)


FRAMES: dict[str, Callable[[int, np.random.Generator], np.ndarray]] = {
    "gamma noise": gamma_noise,
    "8-bit noise": eight_bits,
    "stripes of 5000 ADU": stripes,
    "half of the pixels bright": half_above,
    "huge object": huge_object,
    "smooth noise": smooth_noise,
    "pattern of columns": columns,
    "twelve trails": trails,
    "a hundred trails": hundred_trails,
    "spectra": spectra,
    "fringes": fringes,
    "fine nebula": fine_nebula,
    "globular cluster on a nebula": globular_cluster,
    "sawtooth": sawtooth,
    "steps in blocks": blocks,
    "stars out of focus": defocused,
    "trailed stars": trailed,
    "stars out of focus, vanes": vanes,
    "slitless spectra": slitless,
    "arcs about a pole": arcs,
    "wide corners": wide_corners,
    "comatic corners": comatic_corners,
    "rates of photons": photon_rates,
    "speckles": speckles,
    "star every 12 pixels": lattice,
    "round plateaus": plateaus,
}


def write(name: str, path: Path, size: int) -> None:
    """Write one of the frames."""
    fits.PrimaryHDU(FRAMES[name](size, np.random.default_rng(5))).writeto(path)


def seconds(image: Path, limit: float) -> float:
    """Return the CPU time of a default run on one thread, at least the limit if it is ended."""
    command = [our_program(), str(image), "-VERBOSE_TYPE", "QUIET", "-NTHREADS", "1"]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    ended = 0.0
    try:
        subprocess.run(
            command, capture_output=True, timeout=limit, check=False, env=environment_of_runs()
        )
    except subprocess.TimeoutExpired:
        ended = limit
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return max(ended, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


def main() -> None:
    """Print CPU times beside that of an ordinary frame."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=1024)
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("--limit", type=float, default=60.0)
    options = parser.parse_args()
    with workplace() as folder:
        images = {"ordinary": simulated(folder / "ordinary.fits", options.size)}
        for number, name in enumerate(FRAMES):
            images[name] = folder / f"hard{number}.fits"
            # In a process of its own: the memory of this one would be that of its children.
            maker = multiprocessing.Process(target=write, args=(name, images[name], options.size))
            maker.start()
            maker.join()
        seconds(images["ordinary"], options.limit)
        times = {
            name: min(seconds(image, options.limit) for _ in range(options.repeat))
            for name, image in images.items()
        }
    print(f"{'ordinary frame':<46}{times['ordinary']:9.3g} s")
    for name in FRAMES:
        judge(f"{name}, {times[name]:.1f} s, ratio", times[name] / times["ordinary"], TARGET)


if __name__ == "__main__":
    main()
