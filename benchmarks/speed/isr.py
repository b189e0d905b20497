"""Instrument signature removal beside ccdproc: same pixels, time and memory.

    python -m benchmarks.speed.isr [SIZE ...]

Both correct the same raw frame (overscan, bias, dark, flat) from the same arrays, each in a
process of its own that has run once before on a small frame, ours as in a later image of a batch
(freed memory is kept, settings are resolved); then we combine 20 frames of 4096 x 4096.  Prints
the largest difference, times and memory as ratios, and our time beside that which copying as many
bytes takes.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.paired import judge

OVERSCAN = 64
SIZES, N_COMBINED, COMBINED = (2048, 4096), 20, 4096
TARGET, COPY_TARGET = 5.0, 2.0
BYTES_OF_RAW, BYTES_OF_PIXEL = 2 + 4, 4 + 3 * 4 + 4 + 4 + 2
"""Moved at least, per pixel: the raw numbers are read and made float32; these are read again with
three masters, and image, variance and mask written."""
GAIN, READ_NOISE = 1.6, 5.0
TIME, DARK_TIME = 120.0, 300.0


def make(size: int, seed: int = 1) -> dict[str, np.ndarray]:
    """Return a raw frame (uint16) with overscan on the right, and masters (float32)."""
    rng = np.random.default_rng(seed)
    raw = rng.normal(2000.0, 30.0, (size, size + OVERSCAN)).astype(np.float32)
    raw[:, size:] = rng.normal(1000.0, READ_NOISE / GAIN, (size, OVERSCAN))
    return {
        "raw": np.rint(raw).astype(np.uint16),
        "bias": rng.normal(20.0, 1.0, (size, size)).astype(np.float32),
        "dark": rng.gamma(2.0, 2.0, (size, size)).astype(np.float32),
        "flat": rng.normal(1.0, 0.02, (size, size)).astype(np.float32),
    }


def ours(frames: dict[str, np.ndarray], settings: Any, threads: int) -> np.ndarray:
    from skyextract.datamodel.calibrations import Calibrations, Master
    from skyextract.datamodel.header import Header
    from skyextract.datamodel.rawframe import Amplifier, RawFrame, Section
    from skyextract.run import Run
    from skyextract.stages.isr.signature import remove_signature

    size = frames["bias"].shape[0]
    place = Section(0, size, 0, size)
    overscan = Section(size, size + OVERSCAN, 0, size)
    amplifier = Amplifier("1", 0, place, overscan, place, GAIN, READ_NOISE)
    raw = RawFrame(
        (frames["raw"].astype(np.float32),), (amplifier,), (size, size), Header(),
        exposure_time=TIME, path="raw.fits",
    )  # fmt: skip
    masters = {
        kind: Master(kind, frames[kind], None, DARK_TIME, Header(), kind)
        for kind in ("bias", "dark", "flat")
    }
    return remove_signature(
        raw, Calibrations(**masters), settings.config, Run(threads)
    ).exposure.image


def theirs(frames: dict[str, np.ndarray]) -> np.ndarray:
    """Correct as a ccdproc script does, with variance and in electrons as ours."""
    import warnings

    warnings.simplefilter("ignore")
    import ccdproc
    from astropy import units as u
    from astropy.nddata import CCDData

    size = frames["bias"].shape[0]
    frame = CCDData(frames["raw"].astype(np.float64), unit=u.adu)
    scan = frame[:, size:]
    frame = ccdproc.subtract_overscan(frame, overscan=scan, overscan_axis=1, median=True)
    frame = ccdproc.trim_image(frame[:, :size])
    masters = {
        kind: CCDData(frames[kind].astype(np.float64), unit=u.adu) for kind in ("bias", "dark")
    }
    frame = ccdproc.subtract_bias(frame, masters["bias"])
    frame = ccdproc.create_deviation(
        frame, gain=GAIN * u.electron / u.adu, readnoise=READ_NOISE * u.electron
    )
    frame = ccdproc.subtract_dark(
        frame, masters["dark"], dark_exposure=DARK_TIME * u.s, data_exposure=TIME * u.s, scale=True
    )
    flat = CCDData(frames["flat"].astype(np.float64), unit=u.dimensionless_unscaled)
    frame = ccdproc.flat_correct(frame, flat, norm_value=1.0)
    frame = ccdproc.gain_correct(frame, GAIN * u.electron / u.adu)
    return np.asarray(frame.data)


def peak_megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024.0


def worker(which: str, size: int, threads: int, output: str) -> None:
    """Correct once to warm up, then measure the fastest of five runs, and the memory."""
    from skyextract.run import keep_freed_memory
    from skyextract.settings.resolve import command_line_settings, resolve

    keep_freed_memory()
    settings = resolve(None, command_line_settings([]))
    correct = (lambda f: ours(f, settings, threads)) if which == "ours" else theirs
    correct(make(256))
    frames = make(size)
    before = peak_megabytes()
    times = []
    for _ in range(5):
        start = time.perf_counter()
        image = correct(frames)
        times.append(time.perf_counter() - start)
    found = {"seconds": min(times), "megabytes": peak_megabytes() - before, "copy": copying(size)}
    np.save(output, image.astype(np.float32))
    print(json.dumps(found))


def copying(size: int) -> float:
    """Return the seconds, the least of five runs, that copying takes which moves as many bytes."""
    n_bytes = size * (size + OVERSCAN) * BYTES_OF_RAW + size * size * BYTES_OF_PIXEL
    source = np.ones(n_bytes // 2, np.uint8)
    target = np.ones_like(source)
    times = []
    for _ in range(5):
        start = time.perf_counter()
        np.copyto(target, source)
        times.append(time.perf_counter() - start)
    return min(times)


def combine_worker(size: int, n_frames: int, threads: int) -> None:
    """Combine raw biases read from files; prints seconds and peak memory of the process."""
    from astropy.io import fits

    from skyextract.inputs.calibrations import load_calibrations
    from skyextract.io.names import parse_image_spec
    from skyextract.io.raw.frames import read_raw_frames
    from skyextract.run import Run
    from skyextract.settings.resolve import command_line_settings, resolve

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rng = np.random.default_rng(2)
        noise = rng.normal(1000.0, 5.0, (size, size)).astype(np.float32)
        for k in range(n_frames):
            pixels = np.rint(np.roll(noise, 977 * k)).astype(np.uint16)
            fits.PrimaryHDU(pixels).writeto(folder / f"bias{k:02d}.fits")
        del noise, pixels
        before = peak_megabytes()
        pairs = [("ISR_BIAS", str(folder / "bias*.fits")), ("ISR_MASTER_NAME", "")]
        settings = resolve(None, command_line_settings(pairs))
        run = Run(threads)
        spec = parse_image_spec(str(folder / "bias00.fits"))
        (raw,) = read_raw_frames(spec, settings.config, run)
        start = time.perf_counter()
        calibrations = load_calibrations(raw, settings, folder, run)
        seconds = time.perf_counter() - start
        assert calibrations.bias is not None
        level = float(np.median(calibrations.bias.image))
    found = {"seconds": seconds, "before": before, "megabytes": peak_megabytes(), "level": level}
    print(json.dumps(found))


def measured(*arguments: object) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.speed.isr", *map(str, arguments)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def main(sizes: list[int]) -> None:
    for size in sizes:
        correct(size)
    found = measured("--combine", COMBINED, N_COMBINED, 2)
    print(f"combination of {N_COMBINED} raw frames of {COMBINED} x {COMBINED}, sigma-clipped, "
          "with variance")  # fmt: skip
    print(f"  {found['seconds']:.1f} s, peak memory of the process {found['megabytes']:.0f} MB "
          f"({found['before']:.0f} before)")  # fmt: skip


def correct(size: int) -> None:
    """Compare the correction of one frame."""
    with tempfile.TemporaryDirectory() as folder:
        a, b = Path(folder) / "a.npy", Path(folder) / "b.npy"
        one = measured("--worker", "ours", size, 1, a)
        two = measured("--worker", "ours", size, 2, a)
        other = measured("--worker", "theirs", size, 1, b)
        ours_image, other_image = np.load(a), np.load(b)
    difference = np.abs(ours_image - other_image) / np.spacing(np.abs(other_image))
    print(f"{size} x {size}, overscan + bias + dark + flat + variance + gain")
    print(f"  largest difference from ccdproc  {difference.max():.0f} float32 steps")
    print(f"  ccdproc      {1e3 * other['seconds']:7.1f} ms {other['megabytes']:6.0f} MB")
    print(f"  1 thread     {1e3 * one['seconds']:7.1f} ms {one['megabytes']:6.0f} MB")
    print(f"  2 threads    {1e3 * two['seconds']:7.1f} ms {two['megabytes']:6.0f} MB")
    print(f"  faster by    {other['seconds'] / one['seconds']:.1f} (1 thread), "
          f"{other['seconds'] / two['seconds']:.1f} (2)")  # fmt: skip
    judge("faster than ccdproc", other["seconds"] / two["seconds"], TARGET, least=True)
    print(f"  copying as many bytes {1e3 * one['copy']:.1f} ms")
    judge("beside copying, 1 thread", one["seconds"] / one["copy"], COPY_TARGET)
    print(f"  memory       {one['megabytes'] / other['megabytes']:.2f} of ccdproc's")


if __name__ == "__main__":
    words = sys.argv[1:]
    if words and words[0] == "--worker":
        worker(words[1], int(words[2]), int(words[3]), words[4])
    elif words and words[0] == "--combine":
        combine_worker(int(words[1]), int(words[2]), int(words[3]))
    else:
        main([int(word) for word in words] or list(SIZES))
