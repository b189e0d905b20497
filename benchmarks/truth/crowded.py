"""Crowded fields beside SExtractor + PSFEx + SExtractor and crowdsource, against the truth.

    python -m benchmarks.truth.crowded [--density 5 20 40] [--size 768] [--seed 1] [--crowdsource]

Stars of a Moffat PSF (beta 3, FWHM 3.5 pixels), `density` of them per 100 FWHM^2, with magnitudes
as in a cluster.  For each program: wall and CPU time, rows, the share of true stars found with
|dm| < 0.75 within half a FWHM per magnitude, purity, and in the same magnitudes bias, scatter and
pull width of the fluxes.  crowdsource (Schlafly et al. 2018; PyPI: crowdsourcephoto) takes minutes
and is run when asked for and installed, with the true PSF.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import galsim
import numpy as np
from astropy.io import fits

from benchmarks.truth.scenes import Measurement, peer
from tests.simulate.shapes import ShapeFrame

FWHM, BETA, SKY, READ_NOISE, GAIN, ZERO_POINT = 3.5, 3.0, 200.0, 5.0, 2.0, 27.0
COLUMNS = "X_IMAGE Y_IMAGE XPSF_IMAGE YPSF_IMAGE FLUX_PSF FLUXERR_PSF FLAGS FLAGS_SKY FRACFLUX_PSF"


def simulate(density: float, size: int, seed: int) -> ShapeFrame:
    """Return a frame with `density` stars per 100 FWHM^2; counts rise by 0.25 dex per mag."""
    rng = np.random.default_rng(seed)
    n = int(density * size**2 / 100 / FWHM**2)
    magnitude = 22.5 + np.log10(rng.uniform(10 ** (0.25 * (15.5 - 22.5)), 1.0, n)) / 0.25
    flux = 10 ** (-0.4 * (magnitude - ZERO_POINT))
    x, y = rng.uniform(-5, size + 5, (2, n))
    image = galsim.ImageF(size, size)
    psf = galsim.Moffat(beta=BETA, fwhm=FWHM)
    for a, b, light in zip(x, y, flux, strict=True):
        reach = 14 if light < 3e3 else 30 if light < 1e5 else 60
        bounds = galsim.BoundsI(int(a) - reach, int(a) + reach, int(b) - reach, int(b) + reach)
        bounds &= image.bounds
        if bounds.isDefined():
            psf.withFlux(light).drawImage(
                image[bounds], scale=1, center=galsim.PositionD(a + 1, b + 1), add_to_image=True
            )
    light = image.array.astype(np.float64) + SKY
    data = (rng.poisson(light * GAIN) + rng.normal(0, READ_NOISE, light.shape)) / GAIN
    noise = np.sqrt(SKY / GAIN + (READ_NOISE / GAIN) ** 2) * np.sqrt(4 * np.pi) * FWHM / 2.355
    return ShapeFrame(data.astype(np.float32), x, y, flux, flux / noise, FWHM, GAIN)


def ours(_: ShapeFrame, folder: Path) -> Measurement:
    """Run skyextract as it comes."""
    (folder / "p.param").write_text("\n".join(COLUMNS.split()) + "\n")
    command = [sys.executable, "-m", "skyextract", "f.fits", "-PARAMETERS_NAME", "p.param"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    return Measurement(fits.getdata(folder / "f.cat", "LDAC_OBJECTS"), done.stderr.splitlines()[-1])


def crowdsource(frame: ShapeFrame, _: Path) -> Measurement | None:
    """Run crowdsource with the true PSF, if it is installed."""
    try:
        from crowdsource import crowdsource_base, psf
    except ImportError:
        return None
    side = 59
    stamp = galsim.Moffat(beta=BETA, fwhm=FWHM).drawImage(nx=side, ny=side, scale=1).array
    weight = np.full(frame.image.shape, 1 / np.sqrt(SKY / GAIN + (READ_NOISE / GAIN) ** 2))
    stars = crowdsource_base.fit_im(
        frame.image.astype(np.float64), psf.SimplePSF(stamp), ntilex=1, ntiley=1, weight=weight
    )[0]
    # its x is along rows
    table = np.zeros(len(stars["x"]), [(name, "f8") for name in COLUMNS.split()])
    for ours_, theirs in (("X_IMAGE", "y"), ("Y_IMAGE", "x")):
        table[ours_] = table[ours_.replace("_", "PSF_")] = np.asarray(stars[theirs]) + 1
    table["FLUX_PSF"], table["FLUXERR_PSF"] = stars["flux"], stars["dflux"]
    return Measurement(table, "with the true PSF")


def show(name: str, frame: ShapeFrame, found: Measurement, wall: float, cpu: float) -> None:
    """Print one program's line and its table."""
    table = found.table
    x, y = (np.asarray(table[k], float) - 1 for k in ("XPSF_IMAGE", "YPSF_IMAGE"))
    flux, error = np.asarray(table["FLUX_PSF"], float), np.asarray(table["FLUXERR_PSF"], float)
    good = np.isfinite(x + y + flux) & (flux > 0)
    x, y, flux, error = x[good], y[good], flux[good], error[good]
    star = np.full(x.size, -1)
    for k in range(x.size):
        near = np.flatnonzero(np.hypot(frame.x - x[k], frame.y - y[k]) < FWHM / 2)
        offset = np.abs(2.5 * np.log10(flux[k] / frame.flux[near]))
        if near.size and offset.min() < 0.75:
            star[k] = near[np.argmin(offset)]
    bright = star[(star >= 0) & (frame.flux[star] > 1e4)]
    rows = np.flatnonzero((star >= 0) & (frame.flux[star] > 1e4))
    unit = float(np.median(flux[rows] / frame.flux[bright])) if rows.size else 1.0
    flux, error = flux / unit, error / unit  # what a zero point takes up
    size = frame.image.shape[0]
    inside = (np.minimum(frame.x, frame.y) > 0) & (np.maximum(frame.x, frame.y) < size - 1)
    magnitude = ZERO_POINT - 2.5 * np.log10(frame.flux)
    hit = np.isin(np.arange(magnitude.size), star)
    print(
        f"  {name}: {wall:.1f} s wall, {cpu:.1f} s CPU, {x.size} rows, "
        f"purity {np.mean(star >= 0):.3f} ({found.note})"
    )
    for low in np.arange(16.5, 21.5):
        bin_ = inside & (magnitude >= low) & (magnitude < low + 1)
        rows = (star >= 0) & bin_[star]
        if bin_.any() and rows.sum() > 3:
            ratio = flux[rows] / frame.flux[star[rows]]
            pull = (flux[rows] - frame.flux[star[rows]]) / error[rows]
            spread = [np.diff(np.nanpercentile(v, (16, 84)))[0] / 2 for v in (ratio, pull)]
            print(
                f"    mag {low + 0.5:.0f}: {100 * hit[bin_].mean():5.1f} % of {bin_.sum():5d}, "
                f"bias {np.median(ratio) - 1:+.4f}, scatter {spread[0]:.4f}, pull {spread[1]:.2f}"
            )


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--density", type=float, nargs="+", default=[5.0, 20.0, 40.0])
    parser.add_argument("--size", type=int, default=768)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--crowdsource", action="store_true")
    options = parser.parse_args()
    programs: dict[str, Callable[[ShapeFrame, Path], Measurement | None]] = {
        "skyextract": ours,
        "SExtractor + PSFEx": peer,
    }
    if options.crowdsource:
        programs["crowdsource"] = crowdsource
    for density in options.density:
        frame = simulate(density, options.size, options.seed)
        print(f"{density:g} stars per 100 FWHM^2, {frame.x.size} in {options.size}^2")
        for name, program in programs.items():
            with tempfile.TemporaryDirectory() as place:
                folder = Path(place)
                header = fits.Header({"GAIN": GAIN, "SATURATE": 1e7})
                fits.PrimaryHDU(frame.image, header).writeto(folder / "f.fits")
                before = [resource.getrusage(who) for who in (-1, 0)]
                start = time.perf_counter()
                found = program(frame, folder)
                wall = time.perf_counter() - start
                after = [resource.getrusage(who) for who in (-1, 0)]
                cpu = sum(a.ru_utime - b.ru_utime for a, b in zip(after, before, strict=True))
                if found is None:
                    print(f"  {name}: not installed")
                elif not found.table.size:
                    print(f"  {name}: {found.note}")
                else:
                    show(name, frame, found, wall, cpu)


if __name__ == "__main__":
    main()
