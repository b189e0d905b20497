"""Which images of a file belong to another one: its errors, weights and masks.

Planes of one image share its EXTVER and its size; their names and cards are those of `roles`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from skyextract.datamodel.arrays import F4, U2, AnyArray
from skyextract.datamodel.card import COMMENTARY
from skyextract.datamodel.dataquality import ANY_NUMBER, quality_of
from skyextract.datamodel.exposure import Exposure
from skyextract.datamodel.flags import Mask
from skyextract.datamodel.header import Header
from skyextract.errors import ImageError
from skyextract.io.fits.file import FitsFile, HeaderUnit
from skyextract.io.fits.pixels import Scaling, stored_numbers, to_float
from skyextract.io.images.roles import INVERSE_ERROR, Role, card_text, kinds_of, named_owner
from skyextract.kernels.values import NO_INFORMATION
from skyextract.record import record
from skyextract.run import Run

MAX_MASKED = 0.9
"""Share of an image above which a mask of unknown meaning cannot be one of bad pixels."""


@record
class Planes:
    """An image and what belongs to it.

    Attributes
    ----------
    image : HeaderUnit
    planes : dict of Role to HeaderUnit
        ERROR, VARIANCE, WEIGHT and MASK, as far as there are any.
    others : tuple of HeaderUnit
        Planes that are not used.
    """

    image: HeaderUnit
    planes: Mapping[Role, HeaderUnit]
    others: tuple[HeaderUnit, ...] = ()

    @property
    def is_plain(self) -> bool:
        """Whether the image stands alone."""
        return not self.planes and not self.others


def group_planes(units: Sequence[HeaderUnit]) -> list[Planes]:
    """Put every image of a file together with its planes.

    A plane without an image, like one that stands beside no image of its size, is an image
    itself.

    Parameters
    ----------
    units : sequence of HeaderUnit
        The images of a file.
    """
    kinds = kinds_of(units)
    images = [k for k, (_, role) in enumerate(kinds) if role in (Role.IMAGE, None)]
    owner: dict[int, int] = {}
    for k, (group, _) in enumerate(kinds):
        if k in images:
            continue
        named = named_owner(units, units[k])
        if named in images:
            owner[k] = named
            continue
        owners = [
            i for i in images
            if kinds[i] == (group, Role.IMAGE) and _version(units[i]) == _version(units[k])
            and units[i].shape[:2] == units[k].shape[:2]
        ]  # fmt: skip
        if not owners:  # without EXTVER: the image before it
            before = [
                i for i in images
                if i < k and units[i].shape[:2] == units[k].shape[:2]
                and _version(units[k]) in (1, _version(units[i]))
            ]  # fmt: skip
            owners = before[-1:] if not group else []
        if owners:
            owner[k] = max((i for i in owners if i < k), default=owners[0])
    found = []
    for i, unit in enumerate(units):
        if i in owner:
            continue
        mine = [k for k, o in owner.items() if o == i]
        planes: dict[Role, HeaderUnit] = {}
        others = []
        for k in mine:
            role = kinds[k][1]
            if role in (None, Role.OTHER) or role in planes:
                others.append(units[k])
            else:
                planes[role] = units[k]
        found.append(Planes(unit, planes, tuple(others)))
    return found


def _version(unit: HeaderUnit) -> Any:
    return unit.header.get("EXTVER", 1)


def with_planes(
    file: FitsFile, exposure: Exposure, planes: Planes, run: Run, plane: int | None = None
) -> Exposure:
    """Return an exposure with the errors, weights and mask that its file has.

    Errors and variances become the total variance, which makes a weight map needless; a weight
    map is a relative background variance.

    Parameters
    ----------
    plane : int, optional
        Which plane of a cube, from 0.

    Raises
    ------
    ImageError
        A plane cannot be read.
    """
    if planes.is_plain:
        return exposure
    notes: list[str] = []
    taken: dict[str, str] = {}
    for role in (Role.ERROR, Role.VARIANCE, Role.WEIGHT):
        unit = planes.planes.get(role)
        if unit is None or taken:  # the first of them says it all
            continue
        noise = _read_noise(file, unit, role, run, plane)
        unknown = ~(noise < NO_INFORMATION)
        share = float(np.mean(unknown))
        if share > MAX_MASKED:
            run.warn(
                f"{file.path}[{unit.index}]: {_label(unit)} says nothing of {100 * share:.0f} % "
                "of the image: it is not used"
            )
            continue
        mask = exposure.mask | np.where(unknown, np.uint16(Mask.BAD), np.uint16(0))
        if role is Role.WEIGHT:
            exposure = replace(exposure, weight=noise, mask=mask)
        else:
            exposure = replace(exposure, variance=noise, mask=mask)
        taken[str(role)] = _label(unit)
        notes.append(f"{_label(unit)} is its {role}")
    if Role.MASK in planes.planes:
        unit = planes.planes[Role.MASK]
        found = _read_mask(file, unit, exposure, run, plane)
        if found is not None:
            exposure = replace(exposure, mask=exposure.mask | found[0])
            taken[str(Role.MASK)] = f"{_label(unit)} ({found[1]})"
            notes.append(f"{_label(unit)} is its mask ({found[1]})")
    unused = [*planes.others, *(u for r, u in planes.planes.items() if str(r) not in taken)]
    if unused:
        notes.append(f"{', '.join(map(_label, unused))} not used")
    if notes:
        run.tell(f"{file.path}: {', '.join(notes)}")
    return replace(exposure, history={**exposure.history, "planes": taken})


def _label(unit: HeaderUnit) -> str:
    return unit.name or str(unit.header.get("EXTTYPE") or unit.index)


def _numbers(file: FitsFile, unit: HeaderUnit, plane: int | None) -> AnyArray:
    return stored_numbers(file, unit, plane if len(unit.shape) > 2 else None)


def _read_noise(file: FitsFile, unit: HeaderUnit, role: Role, run: Run, plane: int | None) -> F4:
    """Return a plane as variance: 1e30 (of weights) or inf where none is known."""
    try:
        numbers = _numbers(file, unit, plane)
        values, bad = to_float(numbers, Scaling.from_header(unit.header), math.inf, run)
    except ImageError as error:
        raise ImageError(f"plane {_label(unit)}: {error}") from None
    good = (values > 0.0) & (bad == 0)
    with np.errstate(divide="ignore", over="ignore", under="ignore", invalid="ignore"):
        if role is Role.ERROR or card_text(unit, "HDUCLAS3") == INVERSE_ERROR:
            values *= values
        if role is Role.WEIGHT:
            np.divide(np.float32(1.0), values, out=values, where=good)
    values[~good] = NO_INFORMATION if role is Role.WEIGHT else np.inf
    return values


def _read_mask(
    file: FitsFile, unit: HeaderUnit, exposure: Exposure, run: Run, plane: int | None
) -> tuple[U2, str] | None:
    """Return the mask in our planes and whose convention it was; None if it is not used."""
    try:
        numbers = _numbers(file, unit, plane)
    except ImageError as error:
        raise ImageError(f"plane {_label(unit)}: {error}") from None
    scaling = Scaling.from_header(unit.header)
    integers = np.nan_to_num(numbers.astype(np.float64)) * scaling.scale + scaling.zero
    bits = integers.astype(np.int64)
    quality = quality_of(_all_cards(unit.header, exposure.header))
    if quality is not ANY_NUMBER:
        return quality.translate(bits), quality.name
    wrong, meaning = _wrong(unit, bits)
    share = float(np.mean(wrong))
    if share > MAX_MASKED:
        run.warn(
            f"{file.path}[{unit.index}]: {_label(unit)} would mask {100 * share:.0f} % of the "
            "image: it is not used"
        )
        return None
    return np.where(wrong, np.uint16(Mask.BAD), np.uint16(0)), meaning


def _wrong(unit: HeaderUnit, bits: AnyArray) -> tuple[AnyArray, str]:
    """Return which pixels a mask of no known observatory means, and how it was read.

    ESO's convention names bits (QUALMASK) or says that a mask has but two values (MASKZERO,
    MASKONE): good pixels are the more ones, whichever of the two they have.
    """
    used = unit.header.get("QUALMASK")
    if isinstance(used, int) and not isinstance(used, bool) and used > 0:
        return (bits & np.int64(used & (2**63 - 1))) != 0, f"bits {used} of QUALMASK are bad"
    wrong = bits != 0
    if card_text(unit, "HDUCLAS3") in ("MASKZERO", "MASKONE") and np.mean(wrong) > 0.5:
        return ~wrong, "0 is bad"
    return wrong, ANY_NUMBER.name


def _all_cards(own: Header, image: Header | None) -> dict[str, Any]:
    """Return the cards of a plane and those of its image that it lacks."""
    cards = {} if image is None else {k: image[k] for k in image if k not in COMMENTARY}
    cards = {k: v for k, v in cards.items() if not k.upper().startswith("MP_")}
    return cards | {k: own[k] for k in own if k not in COMMENTARY}
