"""The calibration frames of a run: masters found or made of raw frames, once per process."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from skyextract import __version__
from skyextract.datamodel.arrays import F4
from skyextract.datamodel.calibrations import Calibrations, Master
from skyextract.datamodel.exposure import Detector, FailedExtension
from skyextract.datamodel.flags import Mask
from skyextract.datamodel.header import Header
from skyextract.datamodel.rawframe import RawFrame, whole
from skyextract.errors import ConfigError, ImageError
from skyextract.inputs.fitness import (
    check_done,
    check_flat,
    check_match,
    check_saturation,
    check_times,
    fitting_frames,
)
from skyextract.io.checksums import file_facts, sha256
from skyextract.io.names import expand_names, parse_image_spec
from skyextract.io.raw.calibration import (
    flat_level,
    folder_lock,
    is_master,
    read_crosstalk,
    read_facts,
    read_linearity,
    read_master,
    translated_header,
    write_masters,
)
from skyextract.io.raw.defects import check_defects, read_defects
from skyextract.io.raw.frames import read_raw_frames
from skyextract.io.raw.stack import FrameStack
from skyextract.jobs import KINDS
from skyextract.run import Run
from skyextract.settings.grammar import format_value
from skyextract.settings.resolve import Settings
from skyextract.sky.bands import frame_filter
from skyextract.stages.isr.combine import combine
from skyextract.stages.isr.header import corrected_header
from skyextract.stages.isr.pixels import check_sizes, correct_pixels

NEEDS: dict[str, tuple[str, ...]] = {
    "bias": (),
    "dark": ("bias",),
    "flat": ("bias", "dark"),
    "fringe": ("bias", "dark", "flat"),
}
"""What raw frames of a kind are corrected with before they are combined."""

_made: dict[tuple[Any, ...], tuple[list[Master], tuple[str, ...]]] = {}
"""The masters of this process and the files read for them, by what they were made of."""


def load_calibrations(raw: RawFrame, settings: Settings, folder: Path, run: Run) -> Calibrations:
    """Return what a raw frame is corrected with.

    Parameters
    ----------
    raw : RawFrame
        The frame; calibration frames must fit it.
    folder : Path
        Of the products: masters that are made are kept there (ISR_MASTER_NAME).

    Raises
    ------
    ConfigError
        A file that is named does not exist or cannot be understood.
    ImageError
        A calibration frame does not fit (ISR_MISMATCH ERROR), or cannot be used.
    """
    isr = settings.config.isr
    # What can be wrong with the small files is found before masters are made.
    calibrations = _with_response(Calibrations(), settings, run)
    if isr.isr_defects:
        names = expand_names(isr.isr_defects, "ISR_DEFECTS", run)
        calibrations = replace(calibrations, defects=read_defects(names, raw, run))
    check_sizes(raw, calibrations)
    for kind in KINDS:
        if settings.value(f"ISR_{kind.upper()}"):
            check_done(kind, raw, settings, run)
    masters = _masters(KINDS, raw, settings, folder, run, check=True)
    calibrations = replace(
        masters, defects=calibrations.defects, linearity=calibrations.linearity,
        crosstalk=calibrations.crosstalk,
    )  # fmt: skip
    check_sizes(raw, calibrations)
    _check_purpose(raw, calibrations)
    return calibrations


def check_lists(settings: Settings, run: Run) -> None:
    """Check the small files of the steps of isr, before any work.

    Raises
    ------
    ConfigError
        One of them is missing or not understood.
    """
    _with_response(Calibrations(), settings, run)
    check_defects(expand_names(settings.config.isr.isr_defects, "ISR_DEFECTS", run), run)


def _with_response(calibrations: Calibrations, settings: Settings, run: Run) -> Calibrations:
    """Return them with ISR_LINEARITY and ISR_CROSSTALK."""
    isr = settings.config.isr
    if isr.isr_linearity:
        calibrations = replace(calibrations, linearity=read_linearity(isr.isr_linearity, run))
    if isr.isr_crosstalk:
        name = expand_names(isr.isr_crosstalk, "ISR_CROSSTALK", run)[0]
        calibrations = replace(calibrations, crosstalk=read_crosstalk(name, run))
    return calibrations


def _check_purpose(raw: RawFrame, calibrations: Calibrations) -> None:
    first = raw.amplifiers[0]
    plain = len(raw.amplifiers) == 1 and first.data == whole(raw.planes[0].shape)
    if calibrations.is_empty and plain and not first.bias and not first.gain > 0.0:
        raise ImageError(
            f"{raw.name}: isr has nothing to correct with: no calibration frame (ISR_BIAS ...), "
            "no overscan, no gain"
        )


def _masters(
    kinds: Sequence[str], raw: RawFrame, settings: Settings, folder: Path, run: Run,
    *, check: bool,
) -> Calibrations:  # fmt: skip
    """Return the masters of some kinds for a frame; `check`: only if they fit it."""
    found = {kind: _master(kind, raw, settings, folder, run, check=check) for kind in kinds}
    return Calibrations(
        bias=found.get("bias"),
        dark=found.get("dark"),
        flat=found.get("flat"),
        fringe=found.get("fringe"),
    )


def _master(
    kind: str, raw: RawFrame, settings: Settings, folder: Path, run: Run, *, check: bool
) -> Master | None:
    """Return the master of a kind for a frame, or None if the step is not wanted."""
    keyword = f"ISR_{kind.upper()}"
    names = settings.value(keyword)
    state = settings.value(f"{keyword}_STATE")
    if not names:
        if state != "AUTO":
            raise settings.error(f"{keyword}_STATE", f"no frame is given: set {keyword}")
        return None
    files = expand_names(names, keyword, run)
    camera = settings.config.isr.camera
    headers = {name: translated_header(name, camera, run) for name in files}
    files = fitting_frames(kind, files, headers, raw, settings, run)
    masters = [name for name in files if state == "MASTER" or is_master(headers[name], kind)]
    if state == "RAW":
        masters = []
    if masters and len(masters) < len(files):
        raise ConfigError(
            f"{keyword}: {masters[0]} is a master, {next(n for n in files if n not in masters)} "
            f"is not; set {keyword}_STATE"
        )
    if len(masters) > 1:
        raise ConfigError(f"{keyword}: several masters fit: {', '.join(masters[:3])}")
    if check:
        check_match(kind, {name: headers[name] for name in files}, raw, settings, run)
    if masters:
        return _read(masters[0], kind, raw.number, settings, run)
    made = _raw_masters(kind, files, raw, settings, folder, run)
    if raw.number >= len(made):
        raise ImageError(f"{files[0]}: no detector {raw.number + 1}")
    return made[raw.number]


def _read(name: str, kind: str, number: int, settings: Settings, run: Run) -> Master:
    facts = file_facts(name)
    keys = settings.config.detector.expotime_key
    key = ("master", *facts.values(), kind, number, keys)
    return _once(key, lambda: [read_master(name, kind, number, keys, run)], run)[0]


def _once(key: tuple[Any, ...], make: Callable[[], list[Master]], run: Run) -> list[Master]:
    """Return the masters that were made before in this process, or make them.

    The files that they were read from are noted in either case.
    """
    if key not in _made:
        with run.noting_opened() as files:
            masters = make()
        _made[key] = masters, tuple(files)
    masters, known = _made[key]
    run.note_opened(*known)
    return masters


def _raw_masters(
    kind: str, files: Sequence[str], raw: RawFrame, settings: Settings, folder: Path, run: Run
) -> list[Master]:
    """Return the masters made of raw frames, one per detector: of before, or made now."""
    # Where a kept master stands for them, they are still what they were when it was made.
    run.note_opened(*(parse_image_spec(name).path for name in files))
    facts = _facts(kind, files, settings, run)
    key = ("raw", facts["fingerprint"], str(folder.resolve()))
    return _once(key, lambda: _kept_masters(kind, files, facts, raw, settings, folder, run), run)


def _kept_masters(
    kind: str,
    files: Sequence[str],
    facts: dict[str, Any],
    raw: RawFrame,
    settings: Settings,
    folder: Path,
    run: Run,
) -> list[Master]:
    """Return the masters that ISR_MASTER_NAME keeps on disk; made now if they are not there."""
    # Before the lock, which is not reentrant.
    _masters(NEEDS[kind], raw, settings, folder, run, check=False)
    path = _kept_name(kind, raw, settings, folder) if len(files) > 1 else None
    if path is None:
        return _combine(kind, files, facts, settings, folder, run)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"ISR_MASTER_NAME: {path.parent}: {error.strerror}") from None
    with folder_lock(path.parent):
        kept = read_facts(path)
        if (path.exists() and not kept) or any(k.get("kind") != kind for k in kept):
            raise ConfigError(
                f"ISR_MASTER_NAME: {path} is no master of {kind} frames; it is not overwritten"
            )
        if not kept or any(k.get("fingerprint") != facts["fingerprint"] for k in kept):
            masters = _combine(kind, files, facts, settings, folder, run)
            cards = {
                "SKYVERS": (__version__, "version of skyextract"),
                "SKYMASTR": (kind.upper(), "kind of master"),
            }
            write_masters(path, masters, cards, files)
            kept = [master.facts for master in masters]
    keys = settings.config.detector.expotime_key
    with run.noting_opened() as kept_files:
        masters = [read_master(str(path), kind, n, keys, run) for n in range(len(kept))]
        kept_files.clear()  # our own file: the inputs are the frames that it is made of
    return masters


def _kept_name(kind: str, raw: RawFrame, settings: Settings, folder: Path) -> Path | None:
    pattern = settings.config.isr.isr_master_name
    if not pattern:
        return None
    name = frame_filter(raw.header) if kind in ("flat", "fringe") else ""
    name = re.sub(r"[^A-Za-z0-9+_-]+", "-", name).strip("-")
    return folder / pattern.replace("{kind}", f"{kind}_{name}" if name else kind)


def _facts(kind: str, files: Sequence[str], settings: Settings, run: Run) -> dict[str, Any]:
    """Return what a master is made of; the same fingerprint means the same master."""
    names = [n for n in settings.origins if n.startswith("ISR_") and _matters(n, kind)]
    names += ["GAIN", "GAIN_KEY", "RDNOISE", "RDNOISE_KEY", "SATUR_LEVEL", "SATUR_KEY"]
    needed = {need: settings.value(f"ISR_{need.upper()}") for need in NEEDS[kind]}
    facts: dict[str, Any] = {
        "kind": kind,
        "version": __version__,
        "settings": {name: format_value(settings.value(name)) for name in sorted(names)},
        "inputs": [file_facts(name) for name in files],
        "corrected_with": {
            need: [file_facts(name) for name in expand_names(given, need, run)]
            for need, given in needed.items()
        },
    }
    text = json.dumps(facts, sort_keys=True)
    return facts | {"fingerprint": hashlib.sha256(text.encode()).hexdigest()}


def _matters(name: str, kind: str) -> bool:
    """Tell whether an ISR keyword has an influence on the master of a kind."""
    word = name.removeprefix("ISR_").removesuffix("_STATE").lower()
    if word in KINDS:
        return name.endswith("_STATE") and word in (*NEEDS[kind], kind)
    if word in ("linearity", "crosstalk"):
        return kind != "bias"
    return word not in ("unit", "master_name", "defects", "interpolate", "mismatch")


def _combine(
    kind: str,
    files: Sequence[str],
    facts: dict[str, Any],
    settings: Settings,
    folder: Path,
    run: Run,
) -> list[Master]:
    """Correct raw frames as far as their kind needs it, and combine them, per detector."""
    run.info(f"combining {len(files)} raw frames: {kind}")
    facts = facts | {
        "n_frames": len(files),
        "inputs": [f | {"sha256": sha256(n)} for f, n in zip(facts["inputs"], files, strict=True)],
    }
    isr = settings.config.isr
    stacks: list[FrameStack] = []
    first: list[RawFrame] = []
    alone: list[F4 | None] = []
    with ExitStack() as opened:
        for name in files:
            for frame in read_raw_frames(parse_image_spec(name), settings.config, run, told=False):
                if isinstance(frame, FailedExtension):
                    raise ImageError(str(frame))
                image, variance = _prepare(
                    kind, frame, settings, folder, run, single=len(files) == 1, check=not first
                )
                if frame.number == len(stacks):
                    stacks.append(opened.enter_context(FrameStack(frame.shape)))
                    first.append(replace(frame, planes=()))
                    alone.append(variance)
                check_times(kind, frame, first[frame.number])
                try:
                    stacks[frame.number].add(image)
                except ImageError as error:
                    raise ImageError(f"{frame.name}: {error}") from None
        masters = []
        for stack, frame, single in zip(stacks, first, alone, strict=True):
            if stack.n_frames != len(files):
                raise ImageError(f"{files[0]}: not all frames have the same extensions")
            level, variance = combine(stack, isr, run)
            variance = single if single is not None else variance
            known = variance is not None and bool(np.isfinite(variance).any())
            if kind == "fringe":
                level -= np.float32(1.0)
            if kind == "flat":
                check_flat(level, variance if known else None, len(files), run)
            masters.append(
                Master(
                    kind, level,
                    np.where(np.isfinite(variance), variance, np.float32(0.0)) if known else None,
                    frame.exposure_time, _master_header(kind, frame, len(files)),
                    f"master {kind}", len(files), facts,
                )
            )  # fmt: skip
    return masters


def _prepare(
    kind: str, frame: RawFrame, settings: Settings, folder: Path, run: Run,
    *, single: bool, check: bool,
) -> tuple[F4, F4 | None]:  # fmt: skip
    """Return a raw calibration frame ready to be combined, and its variance if it is alone."""
    isr = settings.config.isr
    support = _masters(NEEDS[kind], frame, settings, folder, run, check=check)
    if kind != "bias":
        if support.bias is None and not (
            isr.isr_overscan != "NONE" and all(a.bias for a in frame.amplifiers)
        ):
            raise ImageError(
                f"{frame.name}: a raw {kind} needs ISR_BIAS, or an overscan (or, if its bias is "
                f"gone, ISR_{kind.upper()}_STATE MASTER)"
            )
        support = _with_response(support, settings, run)
    check_sizes(frame, support)
    # Bias and dark stay as they were read out; flats are freed of the gains.
    unit = "ELECTRON" if kind in ("flat", "fringe") else "RAW"
    corrected = correct_pixels(frame, support, isr, unit, run, variance=single)
    image, variance = corrected.image, corrected.variance
    if kind == "flat":
        saturated = np.count_nonzero(corrected.mask & np.uint16(Mask.SAT)) / image.size
        check_saturation(frame, saturated, settings, run)
    lost = corrected.mask & np.uint16(
        Mask.NO_DATA | (Mask.SAT if kind in ("flat", "fringe") else 0)
    )
    if lost.all():
        raise ImageError(f"{frame.name}: all pixels are saturated or without a value")
    if lost.any():
        image[lost != 0] = np.nan
    if kind in ("flat", "fringe"):
        level = flat_level(image, frame.header, frame.name)
        image /= level
        if variance.size:
            variance = variance / level**2
    return image, variance if single and variance.size else None


def _master_header(kind: str, frame: RawFrame, n_frames: int) -> Header:
    gains = [a.gain for a in frame.amplifiers]
    header = corrected_header(
        frame, Detector(gain=sum(gains) / len(gains)), "ADU", frame.amplifiers
    )
    header["NCOMBINE"] = (n_frames, "frames combined")
    if kind in ("flat", "fringe"):
        header["BUNIT"] = ("", "relative to the median")
    return header
