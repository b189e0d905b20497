"""PSF photometry beside SExtractor + PSFEx, in the same run.

    python -m benchmarks.truth.psfphot [--data FOLDER] [--threads N] [--only field|pairs|frames]

field: the stars of skymaker/field_a: scatter of magnitudes and positions against the truth list,
trend with S/N, agreement of MAG_PSF, MAG_APERCOR and the reference aperture, SPREAD_MODEL as a
classifier, times.  pairs: a simulated crowded frame with blends of 1.5 FWHM separation.
frames: simulated Moffat stars of several FWHM, fluxes known: bias and pulls against S/N.
SExtractor (`source-extractor` or `sex`) and `psfex` are left out where they are not installed.
"""

from __future__ import annotations

import argparse
import gzip
import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import sep
from astropy.io import fits
from numpy.typing import NDArray

from benchmarks import DATA
from benchmarks.simulate.stars import F8, draw, moffat_frame
from skyextract.datamodel.exposure import Detector, Exposure
from skyextract.datamodel.psf import Psf
from skyextract.run import Run
from skyextract.settings.keywords import Config, Extraction, Measurement
from skyextract.stages.characterize import characterize
from skyextract.stages.measure import measure
from skyextract.stages.measurement.sources import MeasureInputs
from skyextract.stages.pointsources.fit import psf_photometry

SATURATION = 60000.0
APERTURES = (5.0, 10.0)
BINS = ((17.0, 20.0), (20.0, 22.0), (22.0, 23.0), (23.0, 24.0))
PSF_COLUMNS = (
    "X_IMAGE Y_IMAGE XWIN_IMAGE YWIN_IMAGE "
    "XPSF_IMAGE YPSF_IMAGE ERRX2PSF_IMAGE FLUX_PSF FLUXERR_PSF"
)
SPREADS = "SPREAD_MODEL SPREADERR_MODEL"


CROWDED = Extraction(filter=False, detect_minarea=5, deblend_nthresh=64, deblend_mincont=0.0005)
"""Detection for crowded fields: no filter, which blurs, and finer deblending."""


@dataclass(frozen=True)
class Chain:
    """Columns that a program gives, and the seconds it took (by step)."""

    name: str
    columns: dict[str, F8]
    seconds: dict[str, float]
    fwhm: float = float("nan")
    subtracted: NDArray[np.float32] | None = None


def timed(command: list[str], folder: Path) -> float:
    start = time.perf_counter()
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return time.perf_counter() - start


def run_sextractor(image: Path, gain: float, data: Path, crowded: bool = False) -> Chain | None:
    """Run SExtractor, PSFEx (the manual's settings for it) and SExtractor with the model."""
    program = shutil.which("source-extractor") or shutil.which("sex")
    if program is None or shutil.which("psfex") is None:
        return None
    setup = data / "sextractor_configs" / "source-extractor"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        stars = "X_IMAGE Y_IMAGE FLUX_RADIUS FLUX_APER(1) FLUXERR_APER(1) ELONGATION FLAGS SNR_WIN"
        (folder / "stars.param").write_text("\n".join([*stars.split(), "VIGNET(45,45)"]))
        columns = f"{PSF_COLUMNS} {SPREADS} FLUX_AUTO FLAGS"
        (folder / "psf.param").write_text("\n".join(columns.split()))
        common = [
            program, str(image), "-c", str(setup / "default.sex"), "-CATALOG_TYPE", "FITS_LDAC",
            "-FILTER_NAME", str(setup / "default.conv"),
            "-STARNNW_NAME", str(setup / "default.nnw"),
            "-PHOT_APERTURES", "24", "-SATUR_LEVEL", str(SATURATION), "-GAIN", str(gain),
        ]  # fmt: skip
        if crowded:
            common += ["-FILTER", "N", "-DEBLEND_NTHRESH", "64", "-DEBLEND_MINCONT", "0.0005"]
        seconds = {
            "extract": timed(
                [*common, "-PARAMETERS_NAME", "stars.param", "-CATALOG_NAME", "stars.ldac"], folder
            ),
            "PSF": timed(
                ["psfex", "stars.ldac", "-PSF_SIZE", "45,45", "-CHECKIMAGE_TYPE", "NONE",
                 "-CHECKPLOT_DEV", "NULL", "-WRITE_XML", "N"], folder,
            ),
            "measure": timed(
                [*common, "-PARAMETERS_NAME", "psf.param", "-CATALOG_NAME", "psf.ldac",
                 "-PSF_NAME", "stars.psf"], folder,
            ),
        }  # fmt: skip
        table = fits.getdata(folder / "psf.ldac", 2)
        found = {key: np.array(table[key], dtype=np.float64) for key in columns.split()}
    return Chain("SExtractor + PSFEx", found, seconds)


def run_ours(
    pixels: NDArray[np.float32], gain: float, threads: int, crowded: bool = False
) -> Chain:
    """Characterize and measure, compiled kernels at hand (second run counts)."""
    exposure = Exposure(
        pixels, np.zeros(pixels.shape, dtype=np.uint16),
        detector=Detector(gain=gain, saturation=SATURATION),
    )  # fmt: skip
    wanted = frozenset(
        f"{PSF_COLUMNS} {SPREADS} FLUX_APER FLUXERR_APER FLUX_APERCOR FLUX_AUTO FLAGS".split()
    )
    config = replace(
        Config(),
        measurement=Measurement(phot_apertures=APERTURES),
        extraction=CROWDED if crowded else Extraction(),
    )
    for _ in range(2):
        run = Run(threads)
        start = time.perf_counter()
        known = characterize(exposure, config, run)
        middle = time.perf_counter()
        image = replace(known.exposure, psf_stars=known.psf_stars)
        measured = measure(image, config, wanted, MeasureInputs(), run)
        end = time.perf_counter()
    psf = known.exposure.psf
    return Chain(
        "skyextract",
        {name: np.asarray(measured.sources[name], float) for name in measured.sources},
        {"characterize": middle - start, "measure": end - middle},
        psf.fwhm if psf else float("nan"),
        np.nan_to_num(measured.plane.subtracted),
    )


def width(values: F8) -> float:
    return float(1.4826 * np.median(np.abs(values - np.median(values)))) if values.size else np.nan


def nearest(x: F8, y: F8, columns: dict[str, F8]) -> tuple[NDArray[np.int64], F8]:
    """Return the row nearest to each position, and its distance."""
    distance = np.hypot(columns["X_IMAGE"] - x[:, None], columns["Y_IMAGE"] - y[:, None])
    rows = distance.argmin(axis=1)
    return rows, distance[np.arange(len(x)), rows]


def isolated_stars(truth: NDArray[np.void]) -> NDArray[np.int64]:
    """Return the stars without an object within 15 px that is not 3 mag fainter."""
    rows = []
    for k in np.flatnonzero((truth["type"] == "star") & (truth["mag"] < 25)):
        near = np.hypot(truth["x"] - truth["x"][k], truth["y"] - truth["y"][k]) < 15
        near[k] = False
        if not (truth["mag"][near] < truth["mag"][k] + 3).any():
            rows.append(k)
    return np.array(rows)


def roc_area(spread: F8, galaxy: NDArray[np.bool_]) -> float:
    """Return the area under the ROC curve (Mann-Whitney)."""
    rank = np.argsort(np.argsort(spread))
    n = int(galaxy.sum())
    return float((rank[galaxy].sum() - n * (n - 1) / 2) / (n * (len(galaxy) - n)))


def classifier(truth: NDArray[np.void], chain: Chain) -> tuple[float, int, int]:
    """Return ROC area of SPREAD_MODEL at mag 22.5-24, with numbers of stars and galaxies."""
    bright = truth[truth["mag"] < 26]
    distance = np.hypot(
        chain.columns["X_IMAGE"][:, None] - bright["x"],
        chain.columns["Y_IMAGE"][:, None] - bright["y"],
    )
    magnitude = np.where(distance < 2, bright["mag"], np.inf)
    which = magnitude.argmin(axis=1)
    best = magnitude.min(axis=1)
    spread = chain.columns["SPREAD_MODEL"]
    use = (best >= 22.5) & (best < 24) & np.isfinite(spread)
    galaxy = bright["type"][which[use]] == "galaxy"
    return roc_area(spread[use], galaxy), int((~galaxy).sum()), int(galaxy.sum())


def report_field(data: Path, threads: int) -> None:
    folder = data / "skymaker"
    truth = np.genfromtxt(
        folder / "field_a_truth.csv", delimiter=",", names=True, dtype=None, encoding=None
    )
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "field_a.fits"
        path.write_bytes(gzip.decompress((folder / "field_a.fits.gz").read_bytes()))
        pixels = np.ascontiguousarray(fits.getdata(path), dtype=np.float32)
        ours = run_ours(pixels, 4.0, threads)
        theirs = run_sextractor(path, 4.0, data)
    zero_point = 26 + 2.5 * np.log10(300)
    stars = isolated_stars(truth)
    x, y, magnitude = (truth[key][stars] for key in ("x", "y", "mag"))
    unsaturated = pixels[np.rint(y - 1).astype(int), np.rint(x - 1).astype(int)] < 0.9 * SATURATION
    print(f"field_a, isolated stars; FWHM {ours.fwhm:.3f} pixels")
    print("magnitude      n  scatter  median-mag  x,y scatter (PSF)  x,y scatter (WIN)")
    for chain in filter(None, (ours, theirs)):
        seconds = ", ".join(f"{key} {value:.2f}" for key, value in chain.seconds.items())
        print(f"  {chain.name} ({len(chain.columns['X_IMAGE'])} sources; seconds: {seconds})")
        rows, distance = nearest(x, y, chain.columns)
        use = (distance < 2) & unsaturated & (chain.columns["FLUX_PSF"][rows] > 0)
        get = {key: values[rows[use]] for key, values in chain.columns.items()}
        error = zero_point - 2.5 * np.log10(get["FLUX_PSF"]) - magnitude[use]
        for low, high in BINS:
            q = (magnitude[use] >= low) & (magnitude[use] < high)
            offsets = [
                width(get[f"{axis}{kind}_IMAGE"][q] - true[use][q])
                for kind in ("PSF", "WIN")
                for axis, true in (("X", x), ("Y", y))
            ]
            print(
                f"  {low:4.0f}-{high:2.0f} {q.sum():8d} {width(error[q]):8.4f} "
                f"{np.median(error[q]):+8.4f}      {offsets[0]:.4f} {offsets[1]:.4f}"
                f"      {offsets[2]:.4f} {offsets[3]:.4f}"
            )
        snr = get["FLUX_PSF"] / get["FLUXERR_PSF"]
        middle = np.median(error[snr > 100])
        trend = [
            f"{low}-{high}: {np.median(error[(snr > low) & (snr <= high)]) - middle:+.4f}"
            for low, high in ((20, 50), (50, 100), (100, 300), (300, 3000))
        ]
        print("  trend with S/N", *trend)
        area, n_stars, n_galaxies = classifier(truth, chain)
        print(f"  ROC area of SPREAD_MODEL {area:.4f} ({n_stars} stars, {n_galaxies} galaxies)")
    report_agreement(ours, x, y, magnitude, unsaturated)


def report_agreement(
    ours: Chain, x: F8, y: F8, magnitude: F8, unsaturated: NDArray[np.bool_]
) -> None:
    """Compare MAG_PSF, MAG_APERCOR and the reference aperture on bright stars."""
    rows, distance = nearest(x, y, ours.columns)
    rows = rows[(distance < 2) & unsaturated & (magnitude < 20)]
    get = {key: values[rows] for key, values in ours.columns.items()}
    reference = sep.sum_circle(
        ours.subtracted, get["XPSF_IMAGE"] - 1, get["YPSF_IMAGE"] - 1, 3 * ours.fwhm, subpix=0
    )[0]
    print(f"bright stars ({len(rows)}), mean difference of magnitudes:")
    print(f"  PSF - 6-FWHM aperture {-2.5 * np.log10(get['FLUX_PSF'] / reference).mean():+.4f}")
    for k, diameter in enumerate(APERTURES):
        ratio = get["FLUX_APERCOR"][:, k] / get["FLUX_PSF"]
        print(f"  APERCOR({diameter:g} px) - PSF {-2.5 * np.log10(ratio).mean():+.4f}")


def report_pairs(data: Path, threads: int, seed: int = 1) -> None:
    """Blends of 1.5 FWHM separation and flux ratio 1:3 in a crowded frame."""
    rng = np.random.default_rng(seed)
    fwhm, size, n_pairs, n_single, noise, gain = 3.5, 1024, 300, 2200, 20.0, 4.0
    psf = Psf.gaussian(fwhm)
    unit = noise * np.sqrt(4 * np.pi) * fwhm / 2.355
    x, y = rng.uniform(20, size - 20, (2, n_pairs))
    angle = rng.uniform(0, 2 * np.pi, n_pairs)
    x = np.concatenate([x, x + 1.5 * fwhm * np.cos(angle), rng.uniform(5, size - 5, n_single)])
    y = np.concatenate([y, y + 1.5 * fwhm * np.sin(angle), rng.uniform(5, size - 5, n_single)])
    faint = unit * 80 * 4 ** rng.random(n_pairs)
    single = unit * 10 ** rng.uniform(1.0, 2.7, n_single)
    flux = np.concatenate([3 * faint, faint, single])
    light = np.zeros((size, size))
    draw(light, psf, x, y, flux)
    sigma = np.sqrt(noise**2 + light / gain)
    pixels = (light + 1000 + rng.normal(size=light.shape) * sigma).astype(np.float32)
    covered = (light > 1.5 * noise).mean()
    # pairs that no third source disturbs
    distance = np.hypot(x[: 2 * n_pairs, None] - x, y[: 2 * n_pairs, None] - y)
    clean = np.sort(distance, axis=1)[:, 2] > 3 * fwhm
    clean = np.tile(clean[:n_pairs] & clean[n_pairs:], 2)
    print(f"\ncrowded frame: {covered:.0%} of the pixels above 1.5 sigma, {n_pairs} pairs")
    print("mean flux error of the brighter and fainter of a pair (S/N >= 50), pull width:")

    variance = np.full(pixels.shape, noise**2, dtype=np.float32)
    mask = np.zeros(pixels.shape, dtype=np.uint16)
    start = rng.normal(0, 0.3, (2, len(x)))
    given = psf_photometry(
        pixels - np.float32(1000), variance, gain, mask, psf, x + start[0], y + start[1],
        Run(threads),
    )  # fmt: skip
    for label, chosen in (("all", slice(None)), ("undisturbed", clean)):
        for part, name in (
            (slice(0, n_pairs), "brighter"),
            (slice(n_pairs, 2 * n_pairs), "fainter"),
        ):
            keep = np.arange(len(x))[part]
            if not isinstance(chosen, slice):
                keep = keep[chosen[part]]
            ratio = given.flux[keep] / flux[keep] - 1
            pull = (given.flux[keep] - flux[keep]) / given.flux_error[keep]
            print(
                f"  true PSF and positions +- 0.3 px, {label}, {name} ({len(keep)}): "
                f"mean {np.nanmean(ratio):+.4f} median {np.nanmedian(ratio):+.4f} "
                f"pull {width(pull[np.isfinite(pull)]):.2f}"
            )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pairs.fits"
        fits.PrimaryHDU(pixels).writeto(path)
        for crowded in (False, True):
            settings = (
                "FILTER N, DEBLEND_NTHRESH 64, DEBLEND_MINCONT 0.0005" if crowded else "default"
            )
            print(f"  detected, settings {settings}:")
            chains = (
                run_ours(pixels, gain, threads, crowded),
                run_sextractor(path, gain, data, crowded),
            )
            for chain in filter(None, chains):
                report_separated(chain, x, y, flux, n_pairs, clean, fwhm)


def report_separated(
    chain: Chain, x: F8, y: F8, flux: F8, n_pairs: int, clean: NDArray[np.bool_], fwhm: float
) -> None:
    """Print the fraction of the pairs found as two sources, and their flux errors."""
    rows, gap = nearest(x[: 2 * n_pairs] + 1, y[: 2 * n_pairs] + 1, chain.columns)
    separated = (gap[:n_pairs] < 0.5 * fwhm) & (gap[n_pairs:] < 0.5 * fwhm)
    separated &= rows[:n_pairs] != rows[n_pairs:]
    both = np.tile(separated, 2) & clean
    # single stars say what the normalisation to the reference aperture makes of the flux
    singles = slice(2 * n_pairs, None)
    alone, near = nearest(x[singles] + 1, y[singles] + 1, chain.columns)
    lonely = np.sort(np.hypot(x[singles, None] - x, y[singles, None] - y))[:, 1]
    bright = np.argsort(-np.where((near < 1) & (lonely > 5 * fwhm), flux[singles], 0.0))[:40]
    scale = np.median(chain.columns["FLUX_PSF"][alone[bright]] / flux[singles][bright])
    ratio = chain.columns["FLUX_PSF"][rows] / flux[: 2 * n_pairs] / scale - 1
    text = f"    {chain.name}: {separated.mean():.0%} of the pairs separated"
    for part, name in ((slice(0, n_pairs), "brighter"), (slice(n_pairs, None), "fainter")):
        values = ratio[part][both[part]]
        if values.size:
            text += f"; {name}: mean {np.nanmean(values):+.4f} median {np.nanmedian(values):+.4f}"
    print(f"{text} ({both[:n_pairs].sum()} undisturbed)")


def report_frames(threads: int) -> None:
    """Compare FLUX_PSF with the true flux within the reference aperture, at several FWHM."""
    noise, gain = 20.0, 2.0
    print("\nsimulated Moffat stars, whole chain (S/N range: median magnitude error, pull widths)")
    for fwhm, vary, size in (
        (1.6, 0.0, 1500),
        (2.5, 0.0, 1500),
        (4.0, 0.2, 1500),
        (8.0, 0.0, 2400),
    ):
        light, x, y, _ = moffat_frame(fwhm, vary, size, noise)
        rng = np.random.default_rng(1)
        noisy = light + 1000 + rng.normal(size=light.shape) * np.sqrt(noise**2 + light / gain)
        ours = run_ours(noisy.astype(np.float32), gain, threads)
        rows, gap = nearest(x + 1, y + 1, ours.columns)
        rows, x, y = rows[gap < 1.5], x[gap < 1.5], y[gap < 1.5]
        truth = sep.sum_circle(light, x, y, 3 * ours.fwhm, subpix=0)[0]
        get = {key: values[rows] for key, values in ours.columns.items()}
        snr = truth / get["FLUXERR_PSF"]
        error = -2.5 * np.log10(get["FLUX_PSF"] / truth)
        pull = (get["FLUX_PSF"] - truth) / get["FLUXERR_PSF"]
        x_pull = (get["XPSF_IMAGE"] - 1 - x) / np.sqrt(get["ERRX2PSF_IMAGE"])
        print(f"  FWHM {fwhm}, varying by {vary:.0%}; measured {ours.fwhm:.3f}; {len(x)} stars")
        for low, high in ((10, 20), (20, 50), (50, 100), (100, 300), (300, 3000)):
            q = (snr > low) & (snr <= high)
            if q.sum() > 5:
                print(
                    f"    {low:4d}-{high:<4d} {q.sum():4d}: {np.median(error[q]):+.4f}  "
                    f"flux {width(pull[q]):.2f}  x {width(x_pull[q]):.2f}"
                )
        good = (snr > 20) & (np.abs(pull) < 6)
        print(f"    S/N > 20: standard deviation of the flux pulls {np.std(pull[good]):.3f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", choices=("field", "pairs", "frames"))
    arguments = parser.parse_args()
    if arguments.only in (None, "field"):
        report_field(arguments.data, arguments.threads)
    if arguments.only in (None, "pairs"):
        report_pairs(arguments.data, arguments.threads)
    if arguments.only in (None, "frames"):
        report_frames(arguments.threads)


if __name__ == "__main__":
    main()
