"""Reading images: one `Exposure` per image extension, or a clear error for it."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from skyextract.datamodel.card import CARD, COMMENTARY
from skyextract.datamodel.exposure import Exposure, FailedExtension
from skyextract.datamodel.flags import Mask
from skyextract.datamodel.header import (
    BLOCK,
    Header,
    extend_missing,
    is_structural,
    remove,
    repaired,
    set_cards,
)
from skyextract.datamodel.rawframe import has_overscan
from skyextract.datamodel.wcs import read_wcs
from skyextract.datamodel.wcscards import is_wcs_keyword
from skyextract.errors import ImageError, NoSuchImageError
from skyextract.io.fits.file import FitsFile, HeaderUnit
from skyextract.io.fits.pixels import (
    NO_VALUE,
    Scaling,
    has_swapped_bytes,
    n_planes,
    plane_axes,
    stored_numbers,
    to_float,
)
from skyextract.io.images.cubes import plane_filters
from skyextract.io.images.detectorcards import read_detector
from skyextract.io.images.dialects import (
    linear_pixels,
    translate,
)
from skyextract.io.images.planes import Planes, group_planes, with_planes
from skyextract.io.images.readback import is_product, read_product
from skyextract.io.names import ImageSpec, head_path
from skyextract.run import Run, return_unused_memory, take_memory_at_once
from skyextract.settings.keywords import Config
from skyextract.sky.bands import frame_filter

_COMPRESSION = re.compile(
    r"(ZIMAGE|ZCMPTYPE|ZNAME\d+|ZVAL\d+|ZTILE\d+|ZBITPIX|ZNAXIS\d*|ZQUANTIZ|ZDITHER0|ZSIMPLE"
    r"|ZEXTEND|ZTENSION|ZPCOUNT|ZGCOUNT|ZBLOCKED|ZHECKSUM|ZDATASUM|ZMASKCMP|ZBLANK|ZSCALE|ZZERO"
    r"|TFIELDS|TTYPE\d+|TFORM\d+|TDIM\d+|THEAP|CHECKSUM|DATASUM)$"
)


def read_exposures(
    spec: ImageSpec, config: Config, run: Run
) -> Iterator[Exposure | FailedExtension]:
    """Read the images of a file, one at a time.

    Parameters
    ----------
    spec : ImageSpec
        File and, maybe, the extension wanted.
    config : Config
        The `detector` group is used.
    run : Run
        Takes warnings; its threads convert the pixels.

    Yields
    ------
    Exposure, or FailedExtension for one that cannot be used.

    Raises
    ------
    ImageError
        The file as a whole cannot be read or holds no image.
    """
    with FitsFile(spec.path) as file:
        run.note_opened(spec.path)
        if file.surplus:
            run.warn(
                f"{spec.path}: the {file.surplus} bytes after the last header unit are no part "
                "of a FITS file: they are left alone"
            )
        heads = read_head_file(spec.path, config.detector.header_suffix, run)
        selected = select_units(file, spec)
        alone = len(selected) == 1 and not file.broken
        if spec.extension is None and len(heads) > len(selected) and not file.broken:
            run.warn(
                f"{spec.path}: the additional header has {len(heads)} parts for {len(selected)} "
                "images: the first are taken"
            )
        for unit, number in selected:
            name = f"{spec.path}[{unit.index}]"
            try:
                if is_product(file, unit):
                    detector = read_detector(unit.header, config.detector, run, name)
                    yield replace(read_product(file, unit, detector, run), alone=alone)
                    continue
                head = heads[number] if number < len(heads) else None
                if heads and head is None:
                    run.warn(f"{name}: the additional header has no part for it")
                planes, cube = _planes_of(file, unit), _cube_planes(unit, spec)
                common = image_header(file, unit)
                filters = plane_filters(common, n_planes(unit.shape))
                filter_name = frame_filter(common) if len(cube) > 1 else ""
                if filters and len(cube) > 1:
                    run.tell(f"{name}: the planes have the filters {', '.join(filters)}")
                elif filter_name:
                    run.warn(
                        f"{name}: FILTER {filter_name} is taken for all {len(cube)} planes; if "
                        "they are colours, take one by its number, with its PHOTREF_MAG_KEY"
                    )
                for plane in cube:
                    yield replace(  # and nothing here keeps the pixels
                        _read_exposure(file, planes, plane, head, config, run),
                        alone=alone and len(cube) == 1,
                    )
            except ImageError as error:
                yield FailedExtension(unit.index, name, error, unit.header)
        if file.broken and spec.extension is None:
            yield FailedExtension(len(file.units), spec.path, ImageError(file.broken))


def select_units(file: FitsFile, spec: ImageSpec) -> list[tuple[HeaderUnit, int]]:
    """Return the image units that a specification means.

    Returns
    -------
    list of (unit, number of the image among the images of the file, from 0)

    Raises
    ------
    ImageError
        No image in the file, no such extension, or one that is no image.
    """
    images = _images(file)
    numbers = {unit.index: k for k, unit in enumerate(images)}
    if spec.extension is None:
        products = [unit for unit in images if is_product(file, unit)]
        chosen = products or [planes.image for planes in group_planes(images)]
        numbers = {unit.index: k for k, unit in enumerate(chosen)}
        if not chosen:
            why = f" ({file.broken})" if file.broken else ""
            raise ImageError(f"{spec.path}: no image in the file{why}")
    elif isinstance(spec.extension, int):
        chosen = [u for u in file.units if u.index == spec.extension]
    else:
        chosen = [u for u in file.units if u.name == spec.extension]
        if spec.version is not None:
            chosen = [u for u in chosen if u.header.get("EXTVER", 1) == spec.version]
    if not chosen:
        known = ", ".join(f"{u.index} {u.name}".strip() for u in images[:10])
        raise NoSuchImageError(f"{spec}: no such extension; images are: {known or 'none'}")
    for unit in chosen:
        if unit.kind not in ("IMAGE", "COMPRESSED") or not unit.shape:
            raise ImageError(f"{spec}: header unit {unit.index} is no image")
    return [(unit, numbers.get(unit.index, 0)) for unit in chosen]


def _images(file: FitsFile) -> list[HeaderUnit]:
    """Return the images of a file; spectra and other 1-D data are none if there are others."""
    images = [u for u in file.units if u.kind in ("IMAGE", "COMPRESSED") and u.shape]
    # an empty primary before extensions is no image
    images = [u for u in images if 0 not in u.shape] or images
    return [u for u in images if len(u.shape) > 1] or images


def _planes_of(file: FitsFile, unit: HeaderUnit) -> Planes:
    groups = group_planes(_images(file))
    return next((planes for planes in groups if planes.image is unit), Planes(unit, {}))


def _cube_planes(unit: HeaderUnit, spec: ImageSpec) -> list[int | None]:
    """Return the planes of an image to read, from 0; None is the image that is no cube."""
    n = n_planes(unit.shape)
    if spec.plane is not None:
        if spec.plane > n:
            raise ImageError(f"no plane {spec.plane}: the image has {n}")
        return [spec.plane - 1]
    return [None] if n == 1 else list(range(n))


def image_header(file: FitsFile, unit: HeaderUnit) -> Header:
    """Return the header of an image with what it inherits from the primary.

    Cards of the compression are taken out.  Missing cards come from the primary header
    (unless INHERIT is F), the WCS only as a whole: never a mixture of two.
    """
    own = unit.header
    header = own.copy()
    if unit.kind == "COMPRESSED":
        remove(header, [k for k in own if _COMPRESSION.match(k)])
        if str(own.get("EXTNAME") or "").strip() == "COMPRESSED_IMAGE":
            remove(header, ["EXTNAME"])
        width, height = plane_axes(unit.shape, of_cube=True)
        bits = own.get("ZBITPIX", -32)
        set_cards(header, {"BITPIX": bits, "NAXIS": 2, "NAXIS1": width, "NAXIS2": height})
    if unit.index == 0 or unit.header.get("INHERIT") is False:
        return header
    primary = file.units[0].header
    own_wcs = any(is_wcs_keyword(k) and not k.startswith(("EQUINOX", "EPOCH", "RAD"))
                  for k in header)  # fmt: skip
    return extend_missing(
        header, primary, lambda k: is_structural(k) or (own_wcs and is_wcs_keyword(k))
    )


def _read_exposure(
    file: FitsFile, planes: Planes, plane: int | None, head: Header | None,
    config: Config, run: Run,
) -> Exposure:  # fmt: skip
    unit = planes.image
    name = (
        f"{file.path}[{unit.index}]" if plane is None else f"{file.path}[{unit.index},{plane + 1}]"
    )
    header = image_header(file, unit)
    if plane is not None and (filters := plane_filters(header, n_planes(unit.shape))):
        set_cards(header, {"FILTER": filters[plane]})
    if head is not None:
        apply_head(header, head)
    camera = translate(header, config.isr.camera, run, file.path)
    detector = read_detector(header, config.detector, run, name)
    n_pixels = math.prod(unit.shape)
    take_memory_at_once(n_pixels)
    return_unused_memory(n_pixels)
    numbers = stored_numbers(file, unit, plane, run)
    if has_swapped_bytes(numbers):
        run.warn(f"{name}: the bytes of the pixels are in the wrong order; they are turned round")
        numbers = numbers.byteswap()
    scaling = Scaling.from_header(header)
    if config.detector.fits_unsigned and numbers.dtype.kind == "i" and scaling.zero == 0.0:
        numbers = numbers.view(numbers.dtype.str.replace("i", "u"))
    image, mask = to_float(numbers, scaling, detector.saturation, run, NO_VALUE)
    if linear_pixels(image, header, run, file.path):
        saturated = np.where(image >= detector.saturation, np.uint16(Mask.SAT), np.uint16(0))
        mask = (mask & np.uint16(Mask.NO_DATA)) | saturated
    if mask[0, 0] & Mask.NO_DATA and np.all(mask & Mask.NO_DATA):
        raise ImageError("no pixel has a value (all NaN or BLANK)")
    if has_overscan(header, image.shape):
        run.warn(f"{name}: BIASSEC tells of an overscan, which isr has not taken away")
    exposure = Exposure(
        image=image,
        mask=mask,
        detector=detector,
        wcs=read_wcs(header, run, name),
        header=header,
        camera=camera,
        path=file.path,
        extension=unit.index,
        plane=None if plane is None else plane + 1,
        extension_name=unit.name if unit.name != "COMPRESSED_IMAGE" else "",
    )
    if beam := exposure.beam:
        run.tell(f"{name}: radio map, beam of {beam[0]:.1f} x {beam[1]:.1f} pixels, its PSF")
    return with_planes(file, exposure, planes, run, plane)


def read_head_file(path: str, suffix: str, run: Run) -> list[Header]:
    """Read the additional header of an image: one block of cards per image, each up to END.

    Returns
    -------
    list of Header
        Empty if there is no such file.

    Raises
    ------
    ImageError
        The file is no text, or cannot be read as cards.
    """
    found = head_path(path, suffix)
    if found is None:
        return []
    run.note_opened(found)
    text = Path(found).read_text("latin-1")
    if "\0" in text:
        raise ImageError(f"{found}: additional header that is no text")
    lines = text.splitlines()
    if len(lines) == 1 and len(lines[0]) >= BLOCK:  # a FITS header without line ends
        lines = [lines[0][k : k + CARD] for k in range(0, len(lines[0]), CARD)]
    blocks: list[list[str]] = [[]]
    for line in lines:
        if line.rstrip() == "END":
            blocks.append([])
        elif line.strip():
            blocks[-1].append(line[:CARD].ljust(CARD))
    if not any(line[8:9] == "=" for line in blocks[0]):
        raise ImageError(f"{found}: additional header without cards")
    heads = [repaired("".join(block)) for block in blocks if block]
    run.info(f"{path}: header cards of {found} replace its own")
    return heads


def apply_head(header: Header, head: Header) -> None:
    """Put the cards of an additional header in place of those of an image.

    A WCS in it replaces the whole WCS of the image; the structure of the image stays.
    """
    keywords = [k for k in head if not is_structural(k) and k not in COMMENTARY]
    cards = {k: (head[k], head.comments[k]) for k in keywords if head[k] is not None}
    if "CTYPE1" in cards:
        remove(header, [k for k in header if is_wcs_keyword(k)])
    set_cards(header, cards)
