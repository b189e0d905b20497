"""The calibration frames of a run: masters found or made of raw frames, once per process."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from skyextract import __version__
from skyextract.datamodel.arrays import F4
from skyextract.datamodel.calibrations import Calibrations, Master
from skyextract.datamodel.exposure import Detector
from skyextract.datamodel.flags import Mask
from skyextract.datamodel.rawframe import RawFrame
from skyextract.errors import ConfigError, ImageError
from skyextract.inputs.fitness import check_match, fitting_frames
from skyextract.io.checksums import file_facts, sha256
from skyextract.io.names import parse_image_spec
from skyextract.io.raw.calibration import (
    expand_names,
    flat_level,
    folder_lock,
    is_master,
    read_crosstalk,
    read_facts,
    read_frame_header,
    read_linearity,
    read_master,
    write_masters,
)
from skyextract.io.raw.defects import read_defects
from skyextract.io.raw.frames import read_raw_frames
from skyextract.io.raw.stack import FrameStack
from skyextract.run import Run
from skyextract.settings.grammar import format_value
from skyextract.settings.resolve import Settings
from skyextract.sky.bands import frame_filter
from skyextract.stages.isr.combine import combine
from skyextract.stages.isr.header import corrected_header
from skyextract.stages.isr.signature import check_sizes, correct_pixels

if TYPE_CHECKING:
    from astropy.io.fits import Header


KINDS: tuple[str, ...] = ("bias", "dark", "flat", "fringe")
NEEDS: dict[str, tuple[str, ...]] = {
    "bias": (),
    "dark": ("bias",),
    "flat": ("bias", "dark"),
    "fringe": ("bias", "dark", "flat"),
}
"""What raw frames of a kind are corrected with before they are combined."""

_made: dict[tuple[Any, ...], list[Master]] = {}
"""The masters of this process, by what they were made of."""


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
    linearity = read_linearity(isr.isr_linearity) if isr.isr_linearity else None
    crosstalk = None
    if isr.isr_crosstalk:
        crosstalk = read_crosstalk(expand_names(isr.isr_crosstalk, "ISR_CROSSTALK")[0])
    defects = None
    if isr.isr_defects:
        defects = read_defects(expand_names(isr.isr_defects, "ISR_DEFECTS"), raw, run)
    calibrations = replace(
        _masters(KINDS, raw, settings, folder, run),
        linearity=linearity,
        crosstalk=crosstalk,
        defects=defects,
    )
    check_sizes(raw, calibrations)
    return calibrations


def _masters(
    kinds: Sequence[str], raw: RawFrame, settings: Settings, folder: Path, run: Run
) -> Calibrations:
    found = {kind: _master(kind, raw, settings, folder, run) for kind in kinds}
    return Calibrations(
        bias=found.get("bias"),
        dark=found.get("dark"),
        flat=found.get("flat"),
        fringe=found.get("fringe"),
    )


def calibration_files(settings: Settings) -> list[str]:
    """Return all calibration files that the settings name, as far as they exist."""
    names = []
    for keyword in ("BIAS", "DARK", "FLAT", "FRINGE", "DEFECTS", "CROSSTALK", "LINEARITY"):
        try:
            names += expand_names(settings.value(f"ISR_{keyword}"), f"ISR_{keyword}")
        except ConfigError:
            continue
    return [parse_image_spec(name).path for name in names]


def _master(kind: str, raw: RawFrame, settings: Settings, folder: Path, run: Run) -> Master | None:
    """Return the master of a kind for a frame, or None if the step is not wanted."""
    keyword = f"ISR_{kind.upper()}"
    names = settings.value(keyword)
    state = settings.value(f"{keyword}_STATE")
    if not names:
        if state != "AUTO":
            raise settings.error(f"{keyword}_STATE", f"no frame is given: set {keyword}")
        return None
    files = expand_names(names, keyword)
    headers = {name: read_frame_header(name) for name in files}
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
    for name in files:
        check_match(kind, name, headers[name], raw, settings, run)
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
    if key not in _made:
        _made[key] = [read_master(name, kind, number, keys, run)]
    return _made[key][0]


def _raw_masters(
    kind: str, files: Sequence[str], raw: RawFrame, settings: Settings, folder: Path, run: Run
) -> list[Master]:
    """Return the masters made of raw frames, one per detector: of before, or made now."""
    facts = _facts(kind, files, settings)
    key = ("raw", facts["fingerprint"], str(folder))
    if key in _made:
        return _made[key]
    _masters(NEEDS[kind], raw, settings, folder, run)  # before the lock, which is not reentrant
    path = _kept_name(kind, raw, settings, folder) if len(files) > 1 else None
    if path is None:
        _made[key] = _combine(kind, files, facts, settings, folder, run)
        return _made[key]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"ISR_MASTER_NAME: {path.parent}: {error.strerror}") from None
    with folder_lock(path.parent):
        kept = read_facts(path)
        if not kept or any(k.get("fingerprint") != facts["fingerprint"] for k in kept):
            masters = _combine(kind, files, facts, settings, folder, run)
            cards = {
                "SKYVERS": (__version__, "version of skyextract"),
                "SKYMASTR": (kind.upper(), "kind of master"),
            }
            write_masters(path, masters, cards, files)
            kept = [master.facts for master in masters]
    keys = settings.config.detector.expotime_key
    _made[key] = [read_master(str(path), kind, n, keys, run) for n in range(len(kept))]
    return _made[key]


def _kept_name(kind: str, raw: RawFrame, settings: Settings, folder: Path) -> Path | None:
    pattern = settings.config.isr.isr_master_name
    if not pattern:
        return None
    name = frame_filter(raw.header) if kind in ("flat", "fringe") else ""
    name = re.sub(r"[^A-Za-z0-9+_-]+", "-", name).strip("-")
    return folder / pattern.replace("{kind}", f"{kind}_{name}" if name else kind)


def _facts(kind: str, files: Sequence[str], settings: Settings) -> dict[str, Any]:
    """Return what a master is made of; the same fingerprint means the same master."""
    names = [n for n in settings.origins if n.startswith("ISR_") and _matters(n, kind)]
    names += ["GAIN", "GAIN_KEY", "RDNOISE", "RDNOISE_KEY", "SATUR_LEVEL", "SATUR_KEY"]
    facts: dict[str, Any] = {
        "kind": kind,
        "version": __version__,
        "settings": {name: format_value(settings.value(name)) for name in sorted(names)},
        "inputs": [file_facts(name) for name in files],
        "corrected_with": {
            need: [file_facts(n) for n in expand_names(settings.value(f"ISR_{need.upper()}"), need)]
            for need in NEEDS[kind]
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
            for frame in read_raw_frames(parse_image_spec(name), settings.config, run):
                if isinstance(frame, tuple):
                    raise frame[1]
                image, variance = _prepare(
                    kind, frame, settings, folder, run, single=len(files) == 1
                )
                if frame.number == len(stacks):
                    stacks.append(opened.enter_context(FrameStack(frame.shape)))
                    first.append(replace(frame, planes=()))
                    alone.append(variance)
                _check_times(kind, frame, first[frame.number])
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
            masters.append(
                Master(
                    kind, level,
                    np.where(np.isfinite(variance), variance, np.float32(0.0)) if known else None,
                    frame.exposure_time, _master_header(kind, frame, len(files)),
                    f"master {kind}", len(files), facts,
                )
            )  # fmt: skip
    return masters


def _check_times(kind: str, frame: RawFrame, first: RawFrame) -> None:
    if kind == "dark" and not abs(frame.exposure_time - first.exposure_time) <= (
        0.01 * first.exposure_time
    ):
        raise ImageError(
            f"{frame.name} has an exposure time of {frame.exposure_time:g} s, {first.name} of "
            f"{first.exposure_time:g} s: darks of one exposure time are combined"
        )


def _prepare(
    kind: str, frame: RawFrame, settings: Settings, folder: Path, run: Run, *, single: bool
) -> tuple[F4, F4 | None]:
    """Return a raw calibration frame ready to be combined, and its variance if it is alone."""
    isr = settings.config.isr
    support = _masters(NEEDS[kind], frame, settings, folder, run)
    if kind != "bias":
        if support.bias is None and not (
            isr.isr_overscan != "NONE" and all(a.bias for a in frame.amplifiers)
        ):
            raise ImageError(f"{frame.name}: a raw {kind} needs ISR_BIAS, or an overscan")
        support = replace(
            support,
            linearity=read_linearity(isr.isr_linearity) if isr.isr_linearity else None,
            crosstalk=read_crosstalk(isr.isr_crosstalk[0]) if isr.isr_crosstalk else None,
        )
    check_sizes(frame, support)
    # Bias and dark stay as they were read out; flats are freed of the gains.
    unit = "ELECTRON" if kind in ("flat", "fringe") else "RAW"
    corrected = correct_pixels(frame, support, isr, unit, run, variance=single)
    image, variance = corrected.image, corrected.variance
    lost = corrected.mask & np.uint16(
        Mask.NO_DATA | (Mask.SAT if kind in ("flat", "fringe") else 0)
    )
    if lost.all():
        raise ImageError(f"{frame.name}: all pixels are saturated or without a value")
    if lost.any():
        image[lost != 0] = np.nan
    if kind in ("flat", "fringe"):
        level = np.float32(flat_level(image, frame.name))
        image /= level
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
