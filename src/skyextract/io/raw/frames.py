"""Raw frames: the planes of a file, their amplifiers, sections, gains and read noises."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from skyextract.datamodel.arrays import F4
from skyextract.datamodel.exposure import FailedExtension
from skyextract.datamodel.header import Header, header_number
from skyextract.datamodel.rawframe import (
    Amplifier,
    RawFrame,
    Section,
    check_fits,
    parse_section,
    place_amplifiers,
    whole,
)
from skyextract.errors import ConfigError, ImageError
from skyextract.io.fits.file import FitsFile, HeaderUnit
from skyextract.io.fits.pixels import NO_VALUE, Scaling, plane_axes, stored_numbers, to_float
from skyextract.io.images.detectorcards import read_detector
from skyextract.io.images.dialects import exposure_seconds, translate
from skyextract.io.images.images import (
    apply_head,
    image_header,
    read_head_file,
    select_units,
)
from skyextract.io.names import ImageSpec
from skyextract.record import record
from skyextract.run import Run
from skyextract.settings.keywords import Config, Isr


class AlreadyCorrectedError(ImageError):
    """The frame says that isr has run on it."""


@record
class _Unit:
    """An image unit: its own header, the one with what it inherits, and its size."""

    unit: HeaderUnit
    own: Header
    header: Header
    shape: tuple[int, int]

    @property
    def name(self) -> str:
        name = self.unit.name if self.unit.name != "COMPRESSED_IMAGE" else ""
        version = self.own.get("EXTVER")
        return f"{name},{version}" if name and version else name or str(self.unit.index)


def read_raw_frames(
    spec: ImageSpec, config: Config, run: Run, *, corrected_too: bool = False, told: bool = True
) -> Iterator[RawFrame | FailedExtension]:
    """Read the raw frames of a file, one detector at a time.

    The image extensions whose DETSEC (or CCDSEC) tile a rectangle are the amplifiers of one
    detector; those with different CCDNAME never are.

    Parameters
    ----------
    spec : ImageSpec
        File and, maybe, the extension wanted.
    config : Config
        The `detector` and `isr` groups are used.
    corrected_too : bool
        Whether frames are read on which isr has run.
    told : bool
        Whether the user is told of which camera they are.

    Yields
    ------
    RawFrame, or FailedExtension for one that cannot be used.

    Raises
    ------
    ImageError
        The file as a whole cannot be read or holds no image.
    AlreadyCorrectedError
        A frame says SKYISR COMPLETE.
    """
    with FitsFile(spec.path) as file:
        selected = [unit for unit, _ in select_units(file, spec)]
        units, failures = [], []
        for unit in selected:
            try:
                axes = plane_axes(unit.shape)
                header = image_header(file, unit)
                translate(header, config.isr.camera, run, spec.path, told=told)
                own = unit.header if len(selected) > 1 else header
                units.append(_Unit(unit, own, header, (axes[1], axes[0])))
            except ImageError as error:
                failures.append(FailedExtension(unit.index, f"{spec.path}[{unit.index}]", error))
        if not corrected_too and any(u.header.get("SKYISR") == "COMPLETE" for u in units):
            raise AlreadyCorrectedError(
                f"{spec}: isr has already run on it (SKYISR COMPLETE); --steps isr on the command "
                "line forces it"
            )
        run.note_opened(spec.path)
        heads = read_head_file(spec.path, config.detector.header_suffix, run)
        detectors = list(_detectors(units, config, run, spec.path))
        number = 0
        for detector in detectors:
            if isinstance(detector, ImageError):
                yield FailedExtension(units[0].unit.index, spec.path, detector)
                continue
            amplifiers, shape, members = detector
            first = members[0]
            wcs_amplifier = 0 if len(members) == 1 or "CTYPE1" in first.own else None
            if number < len(heads):  # it describes the corrected frame
                apply_head(first.header, heads[number])
                wcs_amplifier = None if "CTYPE1" in heads[number] else wcs_amplifier
            try:
                planes = tuple(_plane(file, member, config, run) for member in members)
                yield RawFrame(
                    planes=planes,
                    amplifiers=amplifiers,
                    shape=shape,
                    header=first.header,
                    wcs_amplifier=wcs_amplifier,
                    exposure_time=exposure_time(first.header, config, run, spec.path),
                    path=spec.path,
                    extension=first.unit.index,
                    extension_name="" if len(members) > 1 else first.unit.name,
                    number=number,
                    alone=len(detectors) + len(failures) == 1,
                )
            except ImageError as error:
                name = f"{spec.path}[{first.unit.index}]"
                yield FailedExtension(first.unit.index, name, error, first.header)
            number += 1
        yield from failures


def exposure_time(header: Header, config: Config, run: Run, name: str) -> float:
    """Return the time (s) that the dark current was collected: DARKTIME, or the exposure time."""
    dark_time = exposure_seconds(header, "DARKTIME")
    if dark_time is not None and dark_time > 0.0:
        return dark_time
    return read_detector(header, config.detector, run, name).exposure_time


def _plane(file: FitsFile, member: _Unit, config: Config, run: Run) -> F4:
    """Return a raw plane, NaN where there is no value."""
    scaling = Scaling.from_header(member.header)
    numbers = stored_numbers(file, member.unit, run=run)
    if config.detector.fits_unsigned and numbers.dtype.kind == "i" and scaling.zero == 0.0:
        numbers = numbers.view(numbers.dtype.str.replace("i", "u"))
    plane, mask = to_float(numbers, scaling, math.inf, run, NO_VALUE)
    if mask.any():
        plane[mask != 0] = np.nan
    return plane


_Detector = tuple[tuple[Amplifier, ...], tuple[int, int], list[_Unit]]


def _detectors(
    units: Sequence[_Unit], config: Config, run: Run, path: str
) -> Iterator[_Detector | ImageError]:
    """Group the image units into detectors: amplifiers, shape and the units that hold them."""
    groups: dict[str, list[_Unit]] = {}
    for unit in units:
        groups.setdefault(str(unit.own.get("CCDNAME") or ""), []).append(unit)
    for members in groups.values():
        try:
            assembled = _assemble(members, config, run, path)
        except ImageError as error:
            yield ImageError(f"{path}: {error}")
            continue
        if assembled is not None:
            yield *assembled, members
            continue
        for unit in members:
            try:
                amplifiers = _amplifiers([unit], config, run, path)
                place = Section(0, amplifiers[0].data.width, 0, amplifiers[0].data.height)
                single = replace(amplifiers[0], place=place)
                yield (single,), (place.height, place.width), [unit]
            except ImageError as error:
                yield ImageError(f"{path}[{unit.unit.index}]: {error}")


def _assemble(
    members: list[_Unit], config: Config, run: Run, path: str
) -> tuple[tuple[Amplifier, ...], tuple[int, int]] | None:
    """Place the amplifiers of one detector; None if the units are separate frames."""
    n = _n_amplifiers(members, config.isr)
    if n == 1 or config.isr.isr_detsec == ("NONE",):
        return None
    if len(members) not in (1, n):
        raise ImageError(f"{n} sections are given for {len(members)} extensions")
    sources = members if len(members) == n else members * n
    detector = _detector_sections(sources, config.isr)
    if detector is None:
        if len(members) == n:
            return None
        raise ImageError("several sections, but not where they belong: set ISR_DETSEC")
    amplifiers = _amplifiers(members, config, run, path)
    placed = place_amplifiers(amplifiers, detector)
    if placed is None and config.isr.isr_detsec != ("AUTO",):
        text = ", ".join(str(section) for section in detector)
        raise ImageError(f"the sections of ISR_DETSEC do not tile a rectangle ({text})")
    return placed


def _n_amplifiers(members: Sequence[_Unit], isr: Isr) -> int:
    lists = (isr.isr_trimsec, isr.isr_biassec, isr.isr_detsec, isr.isr_gain, isr.isr_rdnoise)
    return max(len(members), *(len(values) for values in lists))


def _detector_sections(sources: Sequence[_Unit], isr: Isr) -> list[Section] | None:
    """Return where the amplifiers stand on the detector; None if the headers do not say."""
    sections = []
    if isr.isr_detsec != ("AUTO",):
        for k, source in enumerate(sources):
            section = _section(source, isr.isr_detsec, k, "DETSEC")
            if section is None:
                raise ImageError("ISR_DETSEC: every amplifier needs a section")
            sections.append(section)
        return sections
    for keyword in ("CCDSEC", "DETSEC"):
        found = [_card_section(source.own, keyword, None) for source in sources]
        known = [section for section in found if section is not None]
        if len(known) == len(sources) and len(set(known)) == len(known):
            return known
    return None


def _card_section(header: Header, keyword: str, shape: tuple[int, int] | None) -> Section | None:
    value = header.get(keyword)
    if not isinstance(value, str):
        return None
    try:
        return parse_section(value, shape)
    except ImageError as error:
        raise ImageError(f"header card {keyword}: {error}") from None


def _section(source: _Unit, values: Sequence[str], k: int, name: str) -> Section | None:
    """Return the k-th section of an ISR_* list: a section, a header keyword, or NONE."""
    word = values[k] if len(values) > 1 else values[0]
    if word.upper() == "NONE":
        return None
    shape = None if name == "DETSEC" else source.shape
    if word.startswith("["):
        try:
            section = parse_section(word, shape)
        except ImageError as error:
            raise ConfigError(f"ISR_{name}: {error}") from None
    else:
        section = _card_section(source.header, word, shape)
        if section is None:
            raise ImageError(f"ISR_{name}: no section in the header card {word}")
    return section if section is None or shape is None else check_fits(section, shape, name)


def _auto_section(source: _Unit, keywords: Sequence[str], name: str) -> Section | None:
    for keyword in keywords:
        section = _card_section(source.own, keyword, source.shape)
        if section is not None:
            return check_fits(section, source.shape, name)
    return None


def _amplifiers(members: Sequence[_Unit], config: Config, run: Run, path: str) -> list[Amplifier]:
    """Return the amplifiers of some units, not yet placed."""
    isr = config.isr
    n = len(members) if len(members) > 1 else _n_amplifiers(members, isr)
    amplifiers = []
    for k in range(n):
        source = members[k] if len(members) > 1 else members[0]
        if isr.isr_trimsec == ("AUTO",):
            data = _auto_section(source, ("TRIMSEC", "DATASEC"), "TRIMSEC")
        else:
            data = _section(source, isr.isr_trimsec, k, "TRIMSEC")
        if isr.isr_biassec == ("AUTO",):
            bias = _auto_section(source, ("BIASSEC",), "BIASSEC")
        else:
            bias = _section(source, isr.isr_biassec, k, "BIASSEC")
        data = data or whole(source.shape)
        detector = read_detector(source.header, config.detector, run, path)
        amplifiers.append(
            Amplifier(
                name=source.name if len(members) > 1 else str(k + 1),
                plane=k if len(members) > 1 else 0,
                data=data,
                bias=bias,
                place=data,
                gain=_number(source, isr.isr_gain, k, detector.gain, "ISR_GAIN"),
                read_noise=_number(source, isr.isr_rdnoise, k, detector.read_noise, "ISR_RDNOISE"),
                saturation=detector.saturation,
            )
        )
    return amplifiers


def _number(source: _Unit, values: Sequence[str], k: int, automatic: float, keyword: str) -> float:
    """Return the k-th number of ISR_GAIN or ISR_RDNOISE: a number or a header card's."""
    word = values[k] if len(values) > 1 else values[0]
    if word.upper() == "AUTO":
        return automatic
    value = header_number(word) if word[:1] in "+-.0123456789" else None
    if value is None:
        value = header_number(source.header.get(word))
    if value is None or value < 0.0:
        raise ImageError(f"{keyword}: {word} is neither a number nor a header card that holds one")
    return value
